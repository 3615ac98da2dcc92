"""The memory of a replay buffer: TorchRL's storage, in RAM or in a file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torchrl.data import TensorStorage

# Names, types and shapes of what each agent step leaves, beside the picture.
_COLUMNS = {"actions": torch.uint8, "rewards": torch.float32, "dones": torch.bool, "episode_starts": torch.bool}


def bytes_per_step(height: int, width: int) -> int:
    """What one agent step in one lane takes: its newest picture, once, and a few numbers."""
    return height * width + sum(dtype.itemsize for dtype in _COLUMNS.values())


def make_storage(steps: int, height: int, width: int, folder: Path | None) -> tuple[TensorStorage, dict[str, Tensor]]:
    """TorchRL's storage for so many agent steps.

    TorchRL is imported only here: that takes a second and 100 MB, and only who replays needs it.

    Args:
        steps: how many.
        height, width: of the pictures.
        folder: for a file that the memory is mapped to; it has no name there, so that nothing stays when the process ends.
            None: in RAM.

    Returns:
        the storage, and its columns, (steps, ...) each: pictures uint8 (steps, height, width), actions uint8 (steps,),
        rewards float32 (steps,), dones and episode_starts bool (steps,)

    Raises:
        OSError: if there is no room for the file.
    """
    from tensordict import TensorDict
    from torchrl.data import TensorStorage

    pictures = _empty(steps * height * width, folder).view(steps, height, width)
    columns = {name: torch.zeros(steps, dtype=dtype) for name, dtype in _COLUMNS.items()}
    content = TensorDict({"pictures": pictures, **columns}, batch_size=[steps])
    # compilable: without a lock for several processes, of which there is one.
    storage = TensorStorage(content, compilable=True)
    return storage, {name: content.get(name) for name in ("pictures", *columns)}


def _empty(size: int, folder: Path | None) -> Tensor:
    """uint8 (size,)."""
    if folder is None:
        return torch.empty(size, dtype=torch.uint8)
    from tensordict import MemoryMappedTensor

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".replay.") as file:
        # Now, not when the disk turns out to be full in the middle of a write to memory, which ends the process.
        os.posix_fallocate(file.fileno(), 0, size)
        mapped: Tensor = MemoryMappedTensor.from_filename(file.name, torch.uint8, torch.Size([size]))
        return mapped
