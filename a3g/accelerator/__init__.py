"""What makes networks fast on a device: precision, CUDA graphs, page-locked memory, transfers.

Imports no other folder of the package.
"""
