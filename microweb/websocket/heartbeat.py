"""When to ping a silent peer, and when to end its connection. RFC 6455 section 5.5.2

The connection calls it once a second with the event loop's time, so that no timer runs.
"""

from __future__ import annotations

_CLOSE_TIMEOUT_S = 5.0  # for the peer to answer a close
_NEVER = float("inf")


class Heartbeat:
    """The times of a peer's last bytes and of the last ping. An interval of 0 sends no pings."""

    __slots__ = ("_active_at", "_closes_at", "_interval_s", "_pinged_at", "_timeout_s")

    def __init__(self, interval_s: float, timeout_s: float) -> None:
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._active_at = self._pinged_at = 0.0
        self._closes_at = _NEVER  # the deadline of the peer's close

    def reset(self, now: float) -> None:
        """Record that bytes of the peer arrived; they also answer a ping."""
        self._active_at, self._pinged_at = now, 0.0

    def postpone(self, now: float) -> None:
        """Count the silence from now on, because the peer's bytes are not read."""
        self._active_at = now

    def is_ping_due(self, now: float) -> bool:
        """Return whether to send a ping; if so, count the time until its pong."""
        if self._pinged_at or not self.is_silent(now):
            return False
        self._pinged_at = now
        return True

    def is_ping_overdue(self, now: float) -> bool:
        """Whether a ping was not answered within the timeout."""
        return bool(self._pinged_at) and now - self._pinged_at >= self._timeout_s

    def is_silent(self, now: float) -> bool:
        """Whether no bytes of the peer arrived for the interval."""
        return bool(self._interval_s) and now - self._active_at >= self._interval_s

    def is_close_overdue(self, now: float) -> bool:
        """Whether the peer has not answered a close within 5 s of the first call."""
        if self._closes_at is _NEVER:
            self._closes_at = now + _CLOSE_TIMEOUT_S
        return now >= self._closes_at
