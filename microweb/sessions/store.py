"""SessionStore: where sessions are kept by id."""

from __future__ import annotations

from typing import Protocol


class SessionStore(Protocol):
    """Where sessions are kept by id. See `sessions.memory` and `sessions.redis`."""

    async def get(self, id: str) -> bytes | None:
        """Return what was set, None where nothing is or it has expired."""

    async def set(self, id: str, data: bytes, max_age: int, *, replacing: bytes | None) -> bool:
        """Keep `data` for `max_age` seconds where `replacing` is what is kept; say whether.

        `replacing=None` means: where nothing is. Comparing and setting are one step for others.
        """

    async def delete(self, id: str) -> None:
        """Forget it, if it is there."""

    async def move(
        self, id: str, new_id: str, data: bytes, max_age: int, *, replacing: bytes
    ) -> bool:
        """Keep `data` under `new_id`, and nothing under `id`, if `replacing` is kept there.

        Return whether it was. Comparing and moving are one step for others.
        """
