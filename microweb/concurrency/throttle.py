"""A bound on how often something is said: a log line that clients can cause, once a minute."""

from __future__ import annotations

from time import monotonic


class Throttle:
    """Permits one thing at most once in `seconds`."""

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._due_at = 0.0

    def permits(self) -> bool:
        """Return whether it may happen now; then not again for the given time."""
        now = monotonic()
        if now < self._due_at:
            return False
        self._due_at = now + self._seconds
        return True
