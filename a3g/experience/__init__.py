"""Experience: rollouts, what collects them, episodes, advantages."""
