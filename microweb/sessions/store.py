"""SessionStore: the protocol of stores that keep sessions by id."""

from __future__ import annotations

from typing import Protocol


class SessionStore(Protocol):
    """A store that keeps sessions by id. See `sessions.memory` and `sessions.redis`."""

    async def get(self, id: str) -> bytes | None:
        """Return the data of a session, None if there is none or it has expired."""

    async def set(self, id: str, data: bytes, max_age: int, *, replacing: bytes | None) -> bool:
        """Store `data` for `max_age` seconds if `replacing` is stored; return whether it was.

        `replacing=None` means that no session is stored. The comparison and the write are atomic.
        """

    async def delete(self, id: str) -> None:
        """Remove a session, if it exists."""

    async def move(
        self, id: str, new_id: str, data: bytes, max_age: int, *, replacing: bytes
    ) -> bool:
        """Move a session to `new_id`, with new `data`, if `id` has `replacing`.

        Return whether it was moved. The comparison and the move are atomic.
        """
