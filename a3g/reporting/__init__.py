"""What people look at: the live table, TensorBoard and CSV, videos, a window, pictures. Anyone may use it."""
