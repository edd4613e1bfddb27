"""The broker of one process: messages stay within one event loop."""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from itertools import count
from time import monotonic
from typing import NamedTuple

from ..concurrency.per_process import note_per_process
from ..errors import ConfigurationError
from .broker import Link, Receiver
from .message import Entry


class MemoryBroker:
    """The broker of one event loop: no other process gets its messages, and none is stored.

    A channel without subscribers keeps its history until it gets no message for `expire_s`. If more
    than `max_channels` such channels are kept, the least recently used one is dropped. Without a
    history, a channel is dropped with its last subscriber.
    """

    is_local = True

    def __init__(self, *, max_channels: int = 10_000, expire_s: float = 3600.0) -> None:
        if max_channels < 0 or expire_s < 0:
            raise ConfigurationError(
                "MemoryBroker: expected max_channels and expire_s of at least 0, "
                f"got {max_channels} and {expire_s}"
            )
        note_per_process(
            self,
            "subscribers in other workers get no messages: use Channels(broker=RedisBroker(...)) "
            "of microweb.channels.redis",
            is_wrong=True,
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
    """The channels of one event loop. It never waits, so that its calls happen in one order."""

    def __init__(
        self, receiver: Receiver, history: int, max_channels: int, expire_s: float
    ) -> None:
        self._receiver = receiver
        self._history = history
        self._max_channels = max_channels
        self._expire_s = expire_s
        self._run = secrets.token_hex(4)  # so that ids of an earlier run are unknown in this one
        self._numbers = count(1)
        self._live: dict[str, deque[Entry]] = {}  # open channels
        self._idle: OrderedDict[str, _Idle] = OrderedDict()  # others, least recently used first

    def __len__(self) -> int:
        """Return the number of channels that are kept."""
        self._drop_idle()
        return len(self._live) + len(self._idle)

    async def start(self) -> None:
        """Do nothing."""

    async def aclose(self) -> None:
        """Drop all channels."""
        self._live.clear()
        self._idle.clear()

    async def publish(self, name: str, payload: bytes) -> str:
        """Publish a payload and return its id."""
        entry = Entry(self._new_id(), payload)
        if name in self._live:
            self._live[name].append(entry)
        elif self._history:
            idle = self._idle.get(name)
            entries = self._new_entries() if idle is None else idle.entries
            entries.append(entry)
            self._keep_idle(name, entries)
        self._receiver.receive(name, entry)
        return entry.id

    async def open(self, name: str) -> None:
        """Start to receive a channel."""
        if name in self._live:
            return
        self._drop_idle()
        idle = self._idle.pop(name, None)
        entries = self._new_entries() if idle is None else idle.entries
        if not entries:
            entries.append(Entry(self._new_id(), None))
        self._live[name] = entries
        self._receiver.begin(name, tuple(entries))

    async def close(self, name: str) -> None:
        """Stop receiving a channel."""
        entries = self._live.pop(name, None)
        if entries is not None and self._history:
            self._keep_idle(name, entries)

    async def end(self, name: str) -> None:
        """Call `end(name)` of the receiver."""
        self._receiver.end(name)

    def _new_id(self) -> str:
        return f"{self._run}-{next(self._numbers)}"

    def _new_entries(self) -> deque[Entry]:
        return deque(maxlen=self._history + 1)

    def _keep_idle(self, name: str, entries: deque[Entry]) -> None:
        """Keep the entries of a channel without subscribers."""
        self._idle[name] = _Idle(entries, monotonic() + self._expire_s)
        self._idle.move_to_end(name)
        self._drop_idle()

    def _drop_idle(self) -> None:
        now = monotonic()
        while self._idle:
            oldest = next(iter(self._idle))
            if self._idle[oldest].expires_at > now and len(self._idle) <= self._max_channels:
                return
            del self._idle[oldest]
