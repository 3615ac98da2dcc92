"""The optimizers with shared state, under the name that users import: see `a3g.networks.shared_optim`."""

from a3g.networks.shared_optim import SharedAdam, SharedRMSprop, to_shared_memory

__all__ = ["SharedAdam", "SharedRMSprop", "to_shared_memory"]
