"""Limit how often a log line is written that clients can cause."""

from __future__ import annotations

from time import monotonic


class Throttle:
    """Permits an action at most `times` in `seconds`. `skipped` counts those that it refused."""

    def __init__(self, seconds: float = 60.0, times: int = 1) -> None:
        self._seconds = seconds
        self._times = times
        self._left = 0
        self._ends_at = 0.0  # of the present period
        self.skipped = 0

    def permits(self) -> bool:
        """Return whether the action may happen now, and count it."""
        now = monotonic()
        if now >= self._ends_at:
            self._left, self._ends_at = self._times, now + self._seconds
        if not self._left:
            self.skipped += 1
            return False
        self._left -= 1
        return True

    def take_skipped(self) -> int:
        """Return how many were refused since the last call."""
        skipped, self.skipped = self.skipped, 0
        return skipped
