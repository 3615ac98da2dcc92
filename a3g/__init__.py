"""A3G: lock-free asynchronous actor-critic learning for Super Mario Bros."""

__version__ = "0.1.0"
