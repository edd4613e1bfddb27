"""Wait for a fact of the tested program, beside its tasks and threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .processes import DEADLINE_S


async def until(is_true: Callable[[], object]) -> None:
    """Wait until a fact is true; fail if it is not within `DEADLINE_S`."""
    async with asyncio.timeout(DEADLINE_S):
        while not is_true():
            await asyncio.sleep(0.001)
