"""Make room for a new connection when `max_connections` is reached.

An idle connection of the address with the most connections closes. Otherwise one peer could fill
the server with idle connections and keep all others out.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from .connection import Connection

# To examine 10,000 connections costs 2 ms, so do it at most this often.
_EXAMINE_EVERY_S = 0.1

# A connection is idle once it was silent for this long. Before that, a request may be on the way:
# a round trip takes 0.3 s at most.
_IDLE_S = 1.0


class _Idle(NamedTuple):
    since: float
    connection: Connection


class Eviction:
    """Chooses idle connections to close among `connections`."""

    def __init__(self, connections: Iterable[Connection], clock: Callable[[], float]) -> None:
        self._connections = connections
        self._clock = clock
        self._chosen: deque[_Idle] = deque()
        self._next_examination = float("-inf")

    def make_room(self) -> bool:
        """Close the connection that has been idle longest; return whether there is one.

        Only connections of the address with the most connections are candidates. A connection
        with unread bytes is not idle. One that never sent a byte is idle after a second. Idle
        times are accurate to the second of the sweep.
        """
        if self._clock() >= self._next_examination:
            self._next_examination = self._clock() + _EXAMINE_EVERY_S
            self._chosen = deque(self._choose())
        while self._chosen:
            since, connection = self._chosen.popleft()
            if connection.network.idle_since() == since and connection.network.end_if_silent():
                return True
        return False

    def _choose(self) -> list[_Idle]:
        """Return the connections to close, in order, until another address has the most."""
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
