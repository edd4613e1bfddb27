"""The memory that is buffered for clients, within `max_buffered` bytes.

What one client can have buffered is bounded elsewhere, and small. But many slow clients together
took all memory of a machine: each held a body that was nearly whole, a message that was not, or an
answer that it did not read. Each of these has a `Share` here once it takes more than 64 KiB.

When the sum passes the limit, the address that holds most loses the shares that move slowest. So a
client never pays for the clients of another address that hold more.
"""

from __future__ import annotations

from collections.abc import Callable

FREE_BYTES = 64 * 1024  # of a share, not counted
_ROOM = 32  # make room for this part of the limit, so that not each byte looks for a share
_RECENT_S = 5.0  # how far back the speed of a share looks, at least


class Share:
    """The bytes that are buffered for one body, message or answer; `lose` gives them up."""

    __slots__ = ("_before", "_budget", "_mark", "_moved", "key", "lose", "size")

    def __init__(self, budget: Budget, key: object, lose: Callable[[], None]) -> None:
        self._budget = budget
        self.key = key  # of its address
        self.lose = lose
        self.size = 0
        self._moved = 0
        # The time, and the bytes moved up to then: the mark before the last, and the last.
        self._before = self._mark = (budget.clock(), 0)

    def hold(self, size: int, moved: int) -> None:
        """Count `size` bytes from now on; `moved` more came, or were taken, since the last time."""
        now = self._budget.clock()
        self._moved += moved
        if now - self._mark[0] >= _RECENT_S:
            self._before, self._mark = self._mark, (now, self._moved)
        self._budget.change(self, size if size > FREE_BYTES else 0)

    def release(self) -> None:
        """Count nothing from now on."""
        self._budget.change(self, 0)

    def speed(self, now: float) -> float:
        """Return how many bytes moved per second, of late."""
        since, moved = self._before
        return (self._moved - moved) / max(now - since, 0.001)


class Budget:
    """The shares of one server."""

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._limit = limit
        self._total = 0
        self._shares: dict[object, set[Share]] = {}  # that are counted, by the key of the address
        self._totals: dict[object, int] = {}

    @property
    def total(self) -> int:
        """The bytes that are counted."""
        return self._total

    def change(self, share: Share, size: int) -> None:
        """Count `size` bytes for `share` in place of those before."""
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
        """Have the address that holds most lose its slowest shares, until there is room."""
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
