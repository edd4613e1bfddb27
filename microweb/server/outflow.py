"""Measure how fast a peer reads the bytes of its answers.

A peer must read some bytes within `write_timeout_s`, and after that time at least
`min_write_rate` bytes a second. Time counts only while bytes wait. Bytes in the kernel count too:
a slow peer may need minutes to read enough of them for the event loop to write more.
"""

from __future__ import annotations

from ..http.bytestream import Share
from .config import ServerConfig

MAX_CREDIT_S = 60.0  # a peer that was faster than the minimum rate earns at most this


class Outflow:
    """The sent bytes that a peer has not read yet, as long as there are any."""

    __slots__ = ("_credit_s", "_encrypted", "_measured_at", "_moved_at", "_sent", "_taken", "share")

    def __init__(self, unsent: int, now: float, encrypted: int | None = None) -> None:
        self._encrypted = encrypted  # over TLS: all bytes of the connection, as encrypted
        self._sent = unsent  # bytes, with those that waited when this object was made
        self._taken = 0  # bytes of `_sent` that the peer has read
        self._credit_s = 0.0  # earned by bytes that the peer read, minus the waiting time
        self._measured_at = self._moved_at = now
        self.share: Share | None = None  # of the buffer memory, once the answer needs much

    def add(self, size: int, encrypted: int | None = None) -> None:
        """Count `size` sent bytes. Over TLS they are more: `encrypted` counts all up to now."""
        if encrypted is not None and self._encrypted is not None:
            size, self._encrypted = encrypted - self._encrypted, encrypted
        self._sent += size

    def measure(self, unsent: int, now: float, config: ServerConfig) -> int:
        """Record that `unsent` bytes wait; return how many the peer read since the last call."""
        taken = self._sent - unsent
        moved, self._taken = taken - self._taken, taken
        if moved > 0:
            self._moved_at = now
            rate = config.min_write_rate
            earned = moved / rate if rate else MAX_CREDIT_S
            self._credit_s = min(self._credit_s + earned, MAX_CREDIT_S)
        self._credit_s -= now - self._measured_at
        self._measured_at = now
        return max(moved, 0)

    def excuse(self, now: float) -> None:
        """Do not count the time up to `now`: the delay was not the peer's."""
        self._measured_at = self._moved_at = now

    def is_silent(self, now: float, seconds: float) -> bool:
        """Whether the peer has read nothing for `seconds`."""
        return now - self._moved_at >= seconds

    def is_too_slow(self, now: float, config: ServerConfig) -> bool:
        """Whether the peer stalls or reads too slowly, according to the last `measure`."""
        patience_s = config.write_timeout_s
        return self.is_silent(now, patience_s) or self._credit_s <= -patience_s
