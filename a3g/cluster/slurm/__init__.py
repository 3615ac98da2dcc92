"""Batch jobs on Slurm: the scripts to submit, and what Slurm granted to a job."""
