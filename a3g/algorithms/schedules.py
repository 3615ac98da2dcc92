"""How numbers change over a run's agent steps."""

from __future__ import annotations


def epsilon(agent_steps: int, start: float, end: float, steps: int, exponential: bool) -> float:
    """The chance of a random action.

    Args:
        agent_steps: of the run so far.
        start, end: at the beginning, and from `steps` on.
        steps: agent steps from one to the other.
        exponential: by the same factor in every agent step, instead of by the same amount.
    """
    share = min(agent_steps / steps, 1.0)
    if exponential:
        return float(start * (end / start) ** share) if start else 0.0
    return start + share * (end - start)


def beta(agent_steps: int, start: float, steps: int) -> float:
    """The exponent of the importance weights (Schaul et al. 2016, section 3.4): from `start` to 1 within `steps` agent steps.

    With 0 steps it stays.
    """
    return start + min(agent_steps / steps, 1.0) * (1.0 - start) if steps else start


def stepped(agent_steps: int, start: float, factor: float, steps: int) -> float:
    """A learning rate that is multiplied by `factor` after every `steps` agent steps."""
    return float(start * factor ** (agent_steps // steps))
