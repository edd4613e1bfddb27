"""Limit how often a log line is written that clients can cause."""

from __future__ import annotations

from time import monotonic


class Throttle:
    """Permits an action at most once in `seconds`."""

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._due_at = 0.0

    def permits(self) -> bool:
        """Return whether the action may happen now. If so, refuse it for the next `seconds`."""
        now = monotonic()
        if now < self._due_at:
            return False
        self._due_at = now + self._seconds
        return True
