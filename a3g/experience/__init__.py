"""Experience: rollouts, what collects them, episodes, advantages.

May import `networks`, `accelerator`, `game`, `reporting` and the options.
"""
