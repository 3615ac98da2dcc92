"""The GPUs that Slurm granted to this job, as an option of the training command: `python -m a3g.cluster.slurm.granted`.

Prints such as `--gpu-ids 0 1`, and nothing if it granted none: presets decide then. The default of --workers is what Slurm
granted anyway, see `a3g.cores`. Imports neither PyTorch nor the engines.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

# Slurm sets the first for `--gpus` and its kin, older versions only the second, for `--gres`. See sbatch(1).
_GPU_VARIABLES = ("SLURM_GPUS_ON_NODE", "SLURM_JOB_GPUS")
_NO_DEVICES = "NoDevFiles"  # what older versions put into CUDA_VISIBLE_DEVICES for jobs without a GPU


def granted_gpus(environment: Mapping[str, str]) -> int:
    """How many GPUs Slurm granted to the job on this machine; CUDA counts them from 0.

    Args:
        environment: the process's environment variables.
    """
    if not any(environment.get(name) for name in _GPU_VARIABLES):
        return 0  # none was asked for: those that can be seen belong to others
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name and name != _NO_DEVICES])
    on_node = environment.get("SLURM_GPUS_ON_NODE", "")
    return int(on_node) if on_node.isdecimal() else 0


def gpu_option(environment: Mapping[str, str]) -> list[str]:
    """`--gpu-ids` with every GPU granted; nothing without one."""
    gpus = range(granted_gpus(environment))
    return ["--gpu-ids", *map(str, gpus)] if gpus else []


if __name__ == "__main__":
    print(*gpu_option(os.environ))
