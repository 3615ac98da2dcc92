"""A run's folder: the files in it, checkpoints, snapshots, saving, and the barrier that checkpoints need."""
