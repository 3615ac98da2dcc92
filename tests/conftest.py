"""Settings of all tests."""

from __future__ import annotations

import torch

# As in the program: one process, one core.
torch.set_num_threads(1)
