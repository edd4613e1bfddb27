"""Sessions that are kept in this process.

A `SessionStore`, whose `set` compares before it writes, so that of
two requests at once none overwrites what the other wrote, and a session that was ended stays ended.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from time import monotonic
from typing import NamedTuple

from ..errors import ConfigurationError, SessionTooLarge

_OVERHEAD_BYTES = 370  # of an entry: its id, its record, its places in the dicts (seen: 339 to 398)


class _Entry(NamedTuple):
    data: bytes
    expires_at: float
    is_used: bool  # a later request has read it

    @property
    def size(self) -> int:
        """The memory that it takes, in bytes."""
        return len(self.data) + _OVERHEAD_BYTES


class MemoryStore:
    """Sessions in this process: gone when it ends, and no other process sees them.

    It takes at most about `max_bytes` of memory. Sessions that no request has read since they began
    make room first, then those that are in use; of both the large ones before the small ones, and
    of one size the one that was used longest ago. An eighth of the room is for the new ones, so
    that a client can log in while all the rest is in use.
    """

    def __init__(self, *, max_bytes: int = 64 * 1024 * 1024) -> None:
        if max_bytes <= 0:
            raise ConfigurationError(f"MemoryStore: expected a positive max_bytes, got {max_bytes}")
        self._max_bytes = max_bytes
        self._bytes = 0
        self._new_bytes = 0  # of these, those that no request has read
        self._entries: dict[str, _Entry] = {}
        # The ids by (is_used, size to a power of two), each queue in the order of use. A dict is
        # searched from its front, where what was removed leaves gaps: with 50,000 entries a write
        # took 45 to 60 us, not 4.
        self._queues: dict[tuple[bool, int], OrderedDict[str, None]] = {}

    def __len__(self) -> int:
        """How many sessions are kept."""
        self._drop_expired()
        return len(self._entries)

    async def get(self, id: str) -> bytes | None:
        """Return what was set, None where nothing is or it has expired."""
        entry = self._find(id)
        if entry is None:
            return None
        if entry.is_used:
            self._queues[_queue_of(entry)].move_to_end(id)
        else:
            self._remove(id)
            self._keep(id, entry._replace(is_used=True))
        return entry.data

    async def set(self, id: str, data: bytes, max_age: int, *, replacing: bytes | None) -> bool:
        """Keep `data` for `max_age` seconds where `replacing` is what is kept; say whether.

        Raises: SessionTooLarge for more than `max_bytes`.
        """
        return self._put(id, id, data, max_age, replacing)

    async def delete(self, id: str) -> None:
        """Forget it, if it is there."""
        self._remove(id)

    async def move(
        self, id: str, new_id: str, data: bytes, max_age: int, *, replacing: bytes
    ) -> bool:
        """Keep `data` under `new_id`, and nothing under `id`, if `replacing` is kept there."""
        return self._put(id, new_id, data, max_age, replacing)

    def _put(
        self, id: str, new_id: str, data: bytes, max_age: int, replacing: bytes | None
    ) -> bool:
        before = self._find(id)
        if (None if before is None else before.data) != replacing:
            return False
        entry = _Entry(data, monotonic() + max_age, before is not None)
        if entry.size > self._max_bytes:
            raise SessionTooLarge(
                f"the session would be larger than all room of the store: it is {len(data)} bytes"
            )
        self._remove(id)
        self._remove(new_id)
        self._keep(new_id, entry)
        self._drop_expired()
        self._make_room(new_id)
        return True

    def _find(self, id: str) -> _Entry | None:
        entry = self._entries.get(id)
        if entry is not None and entry.expires_at <= monotonic():
            self._remove(id)
            return None
        return entry

    def _keep(self, id: str, entry: _Entry) -> None:
        self._entries[id] = entry
        self._queues.setdefault(_queue_of(entry), OrderedDict())[id] = None
        self._count(entry, 1)

    def _remove(self, id: str) -> None:
        entry = self._entries.pop(id, None)
        if entry is not None:
            del self._queues[_queue_of(entry)][id]
            self._count(entry, -1)

    def _count(self, entry: _Entry, sign: int) -> None:
        self._bytes += sign * entry.size
        if not entry.is_used:
            self._new_bytes += sign * entry.size

    def _drop_expired(self) -> None:
        """Remove those that have expired and were used the longest ago.

        One that was used shortly before it expired waits for its turn, or for its next look.
        """
        now = monotonic()
        for queue in self._queues.values():
            while queue and self._entries[oldest := next(iter(queue))].expires_at <= now:
                self._remove(oldest)

    def _make_room(self, latest: str) -> None:
        """Remove entries until the rest fit, but not the one that was written just now."""
        while self._bytes > self._max_bytes:
            spares_new = self._new_bytes <= self._max_bytes // 8
            by_rank = sorted(self._queues, key=lambda key: (key[0] is not spares_new, -key[1]))
            found = (id for key in by_rank for id in islice(self._queues[key], 2) if id != latest)
            self._remove(next(found))


def _queue_of(entry: _Entry) -> tuple[bool, int]:
    return entry.is_used, max(entry.size.bit_length(), 10)  # all below 1 KiB are small
