"""A fast, exact core for Super Mario Bros: one console (`Emulator`) or many games at once (`Batch`).

`interleave` makes the pictures that a `Batch` gives ready for a network, `max_pool` is a layer of one. `write_maps` draws games as maps.
"""

from a3g_native._core import REWARDS, VARIABLES, Batch, Emulator, interleave, max_pool, max_pool_gradient, write_maps

OUTCOMES = (None, "cleared", "died", "warped", "timeout")
"""What the numbers in the variable ``outcome`` stand for."""

STATUSES = ("small", "tall", "fireball")
"""What the numbers in the variable ``status`` stand for."""

__all__ = [
    "OUTCOMES",
    "REWARDS",
    "STATUSES",
    "VARIABLES",
    "Batch",
    "Emulator",
    "interleave",
    "max_pool",
    "max_pool_gradient",
    "write_maps",
]
