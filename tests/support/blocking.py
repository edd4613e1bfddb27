"""A function that blocks the thread that runs it."""

from __future__ import annotations

import asyncio
import threading


class Blocker:
    """A function that waits in its thread until it is released."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._may_end = threading.Event()

    def __call__(self) -> str:
        self._begun.set()
        self._may_end.wait(10)
        return "done"

    async def begun(self) -> None:
        await asyncio.to_thread(self._begun.wait, 10)

    def let_go(self) -> None:
        self._may_end.set()
