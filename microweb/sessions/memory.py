"""Sessions in the memory of this process: a `SessionStore`.

`set` compares before it writes. So two concurrent requests never overwrite each other's changes,
and a session that was ended stays ended.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from time import monotonic
from typing import NamedTuple

from ..concurrency.per_process import note_per_process
from ..errors import ConfigurationError, SessionTooLarge

_OVERHEAD_BYTES = 370  # of an entry: its id, its record, its dict entries (measured: 339 to 398)


class _Entry(NamedTuple):
    data: bytes
    expires_at: float
    is_used: bool  # a later request has read it

    @property
    def size(self) -> int:
        """The memory of the entry, in bytes."""
        return len(self.data) + _OVERHEAD_BYTES


class MemoryStore:
    """Sessions in the memory of this process: they end with it, and no other process sees them.

    The store takes at most about `max_bytes` of memory. When it is full, it first removes new
    sessions (no later request has read them), then sessions in use. Of both it removes large ones
    before small ones, and of one size the one that was used longest ago. An eighth of the memory is
    for new sessions, so that a client can log in while all the rest is in use.
    """

    def __init__(self, *, max_bytes: int = 64 * 1024 * 1024) -> None:
        if max_bytes <= 0:
            raise ConfigurationError(f"MemoryStore: expected a positive max_bytes, got {max_bytes}")
        note_per_process(
            self,
            "each worker keeps its own sessions, so the next request finds none in another: use "
            "RedisStore of microweb.sessions.redis",
            is_wrong=True,
        )
        self._max_bytes = max_bytes
        self._bytes = 0
        self._new_bytes = 0  # of these, the bytes of new sessions
        self._entries: dict[str, _Entry] = {}
        # The ids by (is_used, size to a power of two), each queue in the order of use. Removed
        # entries leave gaps at the front of a plain dict, which is searched from there: with 50,000
        # entries a write took 45 to 60 us, not 4.
        self._queues: dict[tuple[bool, int], OrderedDict[str, None]] = {}

    def __len__(self) -> int:
        """The number of sessions in the store."""
        self._drop_expired()
        return len(self._entries)

    async def get(self, id: str) -> bytes | None:
        """Return the data of a session, None if there is none or it has expired."""
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
        """Store `data` for `max_age` seconds if `replacing` is stored; return whether it was.

        Raises: SessionTooLarge for more than `max_bytes`.
        """
        return self._put(id, id, data, max_age, replacing)

    async def delete(self, id: str) -> None:
        """Remove a session, if it exists."""
        self._remove(id)

    async def move(
        self, id: str, new_id: str, data: bytes, max_age: int, *, replacing: bytes
    ) -> bool:
        """Move a session to `new_id`, with new `data`, if `id` has `replacing`."""
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
                f"the session has {len(data)} bytes, which is more than the whole store can hold"
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
        """Remove expired sessions from the front of each queue, where the longest unused are.

        An expired session behind a valid one stays until it is at the front, or is read.
        """
        now = monotonic()
        for queue in self._queues.values():
            while queue and self._entries[oldest := next(iter(queue))].expires_at <= now:
                self._remove(oldest)

    def _make_room(self, latest: str) -> None:
        """Remove entries until the rest fit, but never the one that was just written."""
        while self._bytes > self._max_bytes:
            spares_new = self._new_bytes <= self._max_bytes // 8
            by_rank = sorted(self._queues, key=lambda key: (key[0] is not spares_new, -key[1]))
            found = (id for key in by_rank for id in islice(self._queues[key], 2) if id != latest)
            self._remove(next(found))


def _queue_of(entry: _Entry) -> tuple[bool, int]:
    return entry.is_used, max(entry.size.bit_length(), 10)  # all below 1 KiB count as small
