"""Who runs when: the launcher, the workers, the test process and what they share."""
