"""Who runs when: the launcher, the workers, the test process and what they share.

May import every other folder and the options; only the commands import it.
"""
