"""Room for a new connection of a full server: an idle one of the most crowded address closes.

One peer that fills `max_connections` with idle connections would keep all others out.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from .connection import Connection

# A look at all connections costs 2 ms of 10,000: as often as this, whatever connects.
_LOOK_EVERY_S = 0.1

# A connection idles once it was silent for this long. The request of a new one, or the next one of
# a client that has just got its answer, may be on the way: a round trip takes 0.3 s at most.
_IDLE_S = 1.0


class _Idle(NamedTuple):
    since: float
    connection: Connection


class Eviction:
    """Chooses among `connections`, by the time of `clock`."""

    def __init__(self, connections: Iterable[Connection], clock: Callable[[], float]) -> None:
        self._connections = connections
        self._clock = clock
        self._chosen: deque[_Idle] = deque()
        self._looks_at = float("-inf")

    def make_room(self) -> bool:
        """Close the connection that idles longest; return whether there is one.

        It is one of the peer address with most connections. A connection on which bytes wait is
        not idle; one that never sent a byte is, after a second. Times are those of the sweep, a
        second apart.
        """
        if not self._chosen and self._clock() >= self._looks_at:
            self._looks_at = self._clock() + _LOOK_EVERY_S
            self._chosen.extend(self._choose())
        while self._chosen:
            since, connection = self._chosen.popleft()
            if connection.network.idle_since() == since and connection.network.end_if_silent():
                return True
        return False

    def _choose(self) -> list[_Idle]:
        """Return those to close, in order, until another address has most connections."""
        counts = Counter(map(_host_of, self._connections))
        most = max(counts.values(), default=0)
        surplus = most - max((count for count in counts.values() if count < most), default=0)
        idle: dict[str | None, list[_Idle]] = {}
        before = self._clock() - _IDLE_S
        for connection in self._connections:
            host = _host_of(connection)
            since = connection.network.idle_since() if counts[host] == most else None
            if since is not None and since <= before:
                idle.setdefault(host, []).append(_Idle(since, connection))
        chosen = [each for found in idle.values() for each in sorted(found, key=_since)[:surplus]]
        return sorted(chosen, key=_since)


def _host_of(connection: Connection) -> str | None:
    return connection.address.host if connection.address is not None else None


def _since(idle: _Idle) -> float:
    return idle.since
