"""The memory that is buffered for all clients, limited to `max_buffered` bytes.

Other limits bound the memory for one client. But many slow clients together took all memory of a
machine: each held an incomplete body, an incomplete message, or an answer that it did not read.
Each of these gets a `Share` of the `Budget` once it needs more than 64 KiB.

When the total passes the limit, the address with the largest total loses its slowest shares. So a
client never loses a share because clients of another address hold more.
"""

from __future__ import annotations

from collections.abc import Callable

FREE_BYTES = 64 * 1024  # a share up to this size is not counted
_ROOM = 32  # free 1/32 of the limit each time, so that the search is rare
_RECENT_S = 5.0  # the speed of a share is measured over at least this time


class Share:
    """The bytes that are buffered for one body, message or answer. `lose` drops them."""

    __slots__ = ("_before", "_budget", "_mark", "_moved", "key", "lose", "size")

    def __init__(self, budget: Budget, key: object, lose: Callable[[], None]) -> None:
        self._budget = budget
        self.key = key  # of the client's address
        self.lose = lose
        self.size = 0
        self._moved = 0
        # Two marks, the last but one and the last: a time, and the bytes moved until then.
        self._before = self._mark = (budget.clock(), 0)

    def hold(self, size: int, moved: int) -> None:
        """Set the size to `size` bytes. `moved` bytes arrived or left since the last call."""
        now = self._budget.clock()
        self._moved += moved
        if now - self._mark[0] >= _RECENT_S:
            self._before, self._mark = self._mark, (now, self._moved)
        self._budget.change(self, size if size > FREE_BYTES else 0)

    def release(self) -> None:
        """Set the size to 0."""
        self._budget.change(self, 0)

    def speed(self, now: float) -> float:
        """Return the recent speed in bytes per second."""
        since, moved = self._before
        return (self._moved - moved) / max(now - since, 0.001)


class Budget:
    """All shares of one server, and their limit."""

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._limit = limit
        self._total = 0
        self._shares: dict[object, set[Share]] = {}  # counted shares, by `Share.key`
        self._totals: dict[object, int] = {}

    @property
    def total(self) -> int:
        """The counted bytes of all shares."""
        return self._total

    def change(self, share: Share, size: int) -> None:
        """Set the counted size of `share` to `size` bytes; make room if the limit is passed."""
        added, key = size - share.size, share.key
        if not added:
            return
        share.size = size
        self._total += added
        self._totals[key] = self._totals.get(key, 0) + added
        shares = self._shares.setdefault(key, set())
        if size:
            shares.add(share)
        else:
            shares.discard(share)
            if not shares:
                del self._shares[key], self._totals[key]
        if added > 0 and self._total > self._limit:
            self._make_room()

    def _make_room(self) -> None:
        """Drop the slowest shares of the address with the largest total, until there is room."""
        target, now = self._limit - self._limit // _ROOM, self.clock()
        while self._total > target:
            key = max(self._totals, key=self._totals.__getitem__)
            others = max(
                (total for other, total in self._totals.items() if other != key), default=0
            )
            for share in sorted(self._shares[key], key=lambda share: share.speed(now)):
                self.change(share, 0)
                share.lose()
                if self._total <= target or self._totals.get(key, 0) < others:
                    break
