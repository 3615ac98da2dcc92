"""Super Mario Bros as a game: emulators, RAM, stages, rules and reward, start sources, environments.

Knows nothing of learning; of the other folders it may import the window of `reporting` only.
"""
