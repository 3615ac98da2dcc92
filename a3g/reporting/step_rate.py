"""Agent steps per second, over the last half minute."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 30.0
# Steps are counted at the end of each rollout: over a shorter time the rate is that of the counting.
SHORTEST_SECONDS = 3.0


class StepRate:
    """Measures on the run's own clock, which starts with the first worker's first step."""

    def __init__(self, seconds: float = 0.0, agent_steps: int = 0) -> None:
        """
        Args:
            seconds: the run's seconds when this start of it began; more than 0 if it was resumed.
            agent_steps: the run's agent steps then.
        """
        self._points = deque([(seconds, agent_steps)])

    def update(self, seconds: float, agent_steps: int) -> float | None:
        """Add where the run stands now.

        Returns:
            agent steps per second over the last WINDOW_SECONDS, or since the start if that is less; None as long as
            nothing has been counted or less than SHORTEST_SECONDS have passed
        """
        if seconds > self._points[-1][0]:
            self._points.append((seconds, agent_steps))
        while len(self._points) > 2 and self._points[1][0] <= seconds - WINDOW_SECONDS:
            self._points.popleft()
        then, steps_then = self._points[0]
        if seconds - then < SHORTEST_SECONDS or agent_steps == steps_then:
            return None
        return (agent_steps - steps_then) / (seconds - then)
