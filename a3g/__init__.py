"""A3G: lock-free asynchronous actor-critic learning for Super Mario Bros."""
