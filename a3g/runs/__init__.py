"""A run's folder: the files in it, checkpoints, snapshots, saving, scores, and the barrier that checkpoints need.

May import `algorithms`, all that those may import, and `reporting`.
"""
