"""A3G: lock-free asynchronous actor-critic learning for Super Mario Bros."""

from a3g.gymnasium_ids import register_with_gymnasium

__version__ = "0.1.0"

register_with_gymnasium()
