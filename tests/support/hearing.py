"""A `Receiver` that records its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from support.processes import DEADLINE_S

from microweb.channels.message import Entry


class Heard:
    """A `Receiver` that records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def begin(self, name: str, entries: Sequence[Entry]) -> None:
        self.calls.append(("begin", name, [entry.payload for entry in entries]))

    def receive(self, name: str, entry: Entry) -> None:
        self.calls.append(("receive", name, entry.payload))

    def miss(self, name: str) -> None:
        self.calls.append(("miss", name))

    def end(self, name: str) -> None:
        self.calls.append(("end", name))

    def is_full(self, name: str) -> bool:
        return False

    def begun(self) -> list[Any]:
        """Return the payloads of the last `begin` call."""
        return next(call[2] for call in reversed(self.calls) if call[0] == "begin")

    async def until(self, call: tuple[Any, ...]) -> None:
        """Wait until `call` was recorded."""
        async with asyncio.timeout(DEADLINE_S):
            while call not in self.calls:
                await asyncio.sleep(0.001)
