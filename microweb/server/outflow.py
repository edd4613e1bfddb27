"""The bytes of answers that wait for their peer, and how fast it takes them.

A peer must take some of them within `write_timeout_s`, and `min_write_rate` bytes a second once
that is over. Time counts only while bytes wait. Bytes in the kernel count too: a slow peer may need
minutes to read so many of these that the loop can write more.
"""

from __future__ import annotations

from ..http.bytestream import Share
from .config import ServerConfig

MAX_CREDIT_S = 60.0  # of a peer that was faster than the minimum rate


class Outflow:
    """What one connection has not got rid of, from the first byte that waits to the last."""

    __slots__ = ("_credit_s", "_given", "_looked_at", "_moved_at", "_taken", "share")

    def __init__(self, unsent: int, now: float) -> None:
        self._given = unsent  # bytes, since this began; those that waited then too
        self._taken = 0  # of these
        self._credit_s = 0.0  # earned by bytes that were taken, less the time that bytes waited
        self._looked_at = self._moved_at = now
        self.share: Share | None = None  # of the memory for clients, once it takes much

    def give(self, size: int) -> None:
        """Count bytes that were sent, whether they wait or not."""
        self._given += size

    def look(self, unsent: int, now: float, config: ServerConfig) -> int:
        """Take note that `unsent` bytes wait at `now`; return how many the peer has taken."""
        taken = self._given - unsent
        moved, self._taken = taken - self._taken, taken
        if moved > 0:
            self._moved_at = now
            rate = config.min_write_rate
            earned = moved / rate if rate else MAX_CREDIT_S
            self._credit_s = min(self._credit_s + earned, MAX_CREDIT_S)
        self._credit_s -= now - self._looked_at
        self._looked_at = now
        return max(moved, 0)

    def excuse(self, now: float) -> None:
        """Count no time up to now: it was not the peer that waited."""
        self._looked_at = self._moved_at = now

    def is_silent(self, now: float, seconds: float) -> bool:
        """Whether the peer has taken nothing for so long."""
        return now - self._moved_at >= seconds

    def is_too_slow(self, now: float, config: ServerConfig) -> bool:
        """Whether the peer stalls, or takes the bytes too slowly, by the last look."""
        patience_s = config.write_timeout_s
        return self.is_silent(now, patience_s) or self._credit_s <= -patience_s
