"""The broker of one process: messages stay within one event loop."""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from itertools import count
from time import monotonic
from typing import NamedTuple

from ..errors import ConfigurationError
from .broker import Link, Receiver
from .message import Entry


class MemoryBroker:
    """Messages within one event loop: no other process sees them, and they end with it.

    The history of a channel without subscribers is kept until nothing was published there for
    `expire_s`, or more than `max_channels` such channels are kept: then the one that was used
    longest ago goes. Without a history a channel is gone with its last subscriber.
    """

    is_local = True

    def __init__(self, *, max_channels: int = 10_000, expire_s: float = 3600.0) -> None:
        if max_channels < 0 or expire_s < 0:
            raise ConfigurationError(
                "MemoryBroker: expected max_channels and expire_s of at least 0, "
                f"got {max_channels} and {expire_s}"
            )
        self._max_channels = max_channels
        self._expire_s = expire_s

    def connect(self, receiver: Receiver, history: int) -> Link:
        """Return a link for the running loop."""
        return MemoryLink(receiver, history, self._max_channels, self._expire_s)


class _Idle(NamedTuple):
    entries: deque[Entry]
    expires_at: float


class MemoryLink:
    """The channels of one loop. It never waits, so that all of this happens in one order."""

    def __init__(
        self, receiver: Receiver, history: int, max_channels: int, expire_s: float
    ) -> None:
        self._receiver = receiver
        self._history = history
        self._max_channels = max_channels
        self._expire_s = expire_s
        self._run = secrets.token_hex(4)  # what an earlier run has numbered is unknown to this one
        self._numbers = count(1)
        self._live: dict[str, deque[Entry]] = {}  # channels that are open
        self._idle: OrderedDict[str, _Idle] = OrderedDict()  # others, used longest ago first

    def __len__(self) -> int:
        """How many channels have something here."""
        self._forget()
        return len(self._live) + len(self._idle)

    async def start(self) -> None:
        """There is nothing to do."""

    async def aclose(self) -> None:
        """Forget everything."""
        self._live.clear()
        self._idle.clear()

    async def publish(self, name: str, payload: bytes) -> str:
        """Publish, and return the id."""
        entry = Entry(self._new_id(), payload)
        if name in self._live:
            self._live[name].append(entry)
        elif self._history:
            idle = self._idle.get(name)
            entries = self._new_entries() if idle is None else idle.entries
            entries.append(entry)
            self._rest(name, entries)
        self._receiver.receive(name, entry)
        return entry.id

    async def open(self, name: str) -> None:
        """Receive a channel."""
        if name in self._live:
            return
        self._forget()
        idle = self._idle.pop(name, None)
        entries = self._new_entries() if idle is None else idle.entries
        if not entries:
            entries.append(Entry(self._new_id(), None))
        self._live[name] = entries
        self._receiver.begin(name, tuple(entries))

    async def close(self, name: str) -> None:
        """Receive it no longer."""
        entries = self._live.pop(name, None)
        if entries is not None and self._history:
            self._rest(name, entries)

    async def end(self, name: str) -> None:
        """Have the receiver hear `end(name)`."""
        self._receiver.end(name)

    def _new_id(self) -> str:
        return f"{self._run}-{next(self._numbers)}"

    def _new_entries(self) -> deque[Entry]:
        return deque(maxlen=self._history + 1)

    def _rest(self, name: str, entries: deque[Entry]) -> None:
        """Keep what nobody is subscribed to."""
        self._idle[name] = _Idle(entries, monotonic() + self._expire_s)
        self._idle.move_to_end(name)
        self._forget()

    def _forget(self) -> None:
        now = monotonic()
        while self._idle:
            oldest = next(iter(self._idle))
            if self._idle[oldest].expires_at > now and len(self._idle) <= self._max_channels:
                return
            del self._idle[oldest]
