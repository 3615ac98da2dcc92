"""Notices that training has diverged: the weights are damaged again as often as they are restored, or nothing can be learnt."""

from __future__ import annotations

# Damage after fewer updates than these since the last restoration is the same trouble again; an accident does not come back
# so soon. Not seconds: after damage every worker may have to be started again, which takes long on a busy machine.
SERIES_UPDATES = 200
MAX_RESTORATIONS = 3
# So many updates in a row with gradients that are not finite, over so long, and no other update in between.
MAX_SKIPPED = 50
SKIPPED_SECONDS = 20.0


class DivergenceMonitor:
    """The launcher's view of restorations and skipped updates, by the launcher's own clock."""

    def __init__(self, learning_rate: float, now: float, updates: int, skipped_updates: int) -> None:
        """
        Args:
            learning_rate: the run's, for the message.
            now: a monotonic clock, in seconds, as in `check`.
            updates, skipped_updates: of the run so far.
        """
        self._learning_rate = learning_rate
        self._restored = self._series = 0
        self._updates_when_restored = updates
        self._updates, self._skipped, self._updated_at = updates, skipped_updates, now

    def check(self, now: float, updates: int, skipped_updates: int, restored: int) -> str | None:
        """
        Args:
            now: a monotonic clock, in seconds.
            updates: optimizer steps of the run so far.
            skipped_updates: those left out so far because their gradients were not finite.
            restored: how often the shared weights were damaged and restored in this start of the run.

        Returns:
            why training goes nowhere, or None
        """
        if restored > self._restored:
            if updates - self._updates_when_restored >= SERIES_UPDATES:
                self._series = 0
            self._series += restored - self._restored
            self._restored, self._updates_when_restored = restored, updates
        if updates != self._updates:
            self._updates, self._skipped, self._updated_at = updates, skipped_updates, now
        advice = f"lower --lr (now {self._learning_rate:g})"
        if self._series >= MAX_RESTORATIONS:
            return f"training diverged: the weights were damaged {self._series} times, soon after each restoration; {advice}"
        skipped = skipped_updates - self._skipped
        if skipped >= MAX_SKIPPED and now - self._updated_at >= SKIPPED_SECONDS:
            return f"training diverged: the gradients of the last {skipped:,} updates were not finite; {advice}"
        return None
