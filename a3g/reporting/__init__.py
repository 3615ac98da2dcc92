"""What people look at: the live table, TensorBoard and CSV, videos, a window.

May import the options only.
"""
