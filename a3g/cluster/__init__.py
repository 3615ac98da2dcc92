"""Beyond one machine: batch jobs on Slurm, and training on many machines with Ray.

The top layer of the package: it uses all others, and only the commands use it.
"""
