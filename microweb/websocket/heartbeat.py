"""When a silent peer is pinged, and when it is given up. RFC 6455 section 5.5.2

It is asked about once a second, with the loop's time, so that no timer runs.
"""

from __future__ import annotations

_CLOSE_TIMEOUT_S = 5.0  # for the peer to answer a close
_NEVER = float("inf")


class Heartbeat:
    """The peer of one connection: when it was heard, and pinged. An interval of 0: no pings."""

    __slots__ = ("_closes_at", "_heard_at", "_interval_s", "_pinged_at", "_timeout_s")

    def __init__(self, interval_s: float, timeout_s: float) -> None:
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._heard_at = self._pinged_at = 0.0
        self._closes_at = _NEVER  # then the peer has had its time to answer a close

    def hear(self, now: float) -> None:
        """Note that the peer was heard, which answers a ping."""
        self._heard_at, self._pinged_at = now, 0.0

    def postpone(self, now: float) -> None:
        """Count the silence from now on: the peer cannot be heard, because it is not read from."""
        self._heard_at = now

    def is_ping_due(self, now: float) -> bool:
        """Return whether to ping; the ping then waits for its answer."""
        if self._pinged_at or not self.is_silent(now):
            return False
        self._pinged_at = now
        return True

    def is_ping_overdue(self, now: float) -> bool:
        """Whether a ping was not answered in time."""
        return bool(self._pinged_at) and now - self._pinged_at >= self._timeout_s

    def is_silent(self, now: float) -> bool:
        """Whether the peer was silent for the interval."""
        return bool(self._interval_s) and now - self._heard_at >= self._interval_s

    def is_close_overdue(self, now: float) -> bool:
        """Whether a close was not answered in time, counted from the first call."""
        if self._closes_at is _NEVER:
            self._closes_at = now + _CLOSE_TIMEOUT_S
        return now >= self._closes_at
