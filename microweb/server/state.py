"""The state that all connections of one server share.

A connection uses this object, not the `Server` that owns it. Connections with answers to write
collect in `unflushed`. They are written together at the end of the event loop's iteration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Protocol

from ..concurrency.background import Background
from ..errors import ProtocolError
from ..http.request_head import RequestLines
from ..http.response_head import HeadCache, phrase_of
from ..request import Handler
from ..response import Response
from .buffered import Budget
from .config import ServerConfig
from .proxies import TrustedProxies
from .records import Observer

Refuse = Callable[[ProtocolError], Awaitable[Response]]


class Flushing(Protocol):
    """A connection with bytes to write at the end of the event loop's iteration."""

    def flush(self) -> None:
        """Write the bytes."""


async def refuse_plainly(error: ProtocolError) -> Response:
    """Answer an invalid request with a plain text that names the status."""
    return Response(f"{phrase_of(error.status)}\n", error.status)


class ServerState:
    """The handler, the settings, the clock, the memos and the counters of one server."""

    def __init__(
        self,
        handler: Handler,
        config: ServerConfig,
        *,
        refuse: Refuse = refuse_plainly,
        observers: tuple[Observer, ...] = (),
    ) -> None:
        self.proxies = TrustedProxies(
            config.trusted_proxies, config.trust_headers, config.root_path
        )
        self.handler = self.proxies.guard(handler)
        self.config = config
        self.refuse = refuse
        self.observers = observers  # called once for each exchange; without one none is measured
        self.limits = config.limits
        self.head_limits = config.head_limits
        self.lines = RequestLines()
        self.head_cache = HeadCache()
        self.background = Background(config.max_background_tasks)
        self.loop: asyncio.AbstractEventLoop  # that serves the connections, after `open()`
        self.clock: Callable[[], float] = lambda: 0.0  # the event loop's time after `open()`
        self.precise_clock = monotonic  # the time of uvloop stands still within an iteration
        self.budget = Budget(config.max_buffered, lambda: self.clock())
        self.requests = 0  # that were answered
        self.is_draining = False  # it is about to stop, or stops, and no worker takes over
        self.is_stopping = False
        self.is_retiring = False  # it stops, and other workers go on
        self.idle_deadline = 0.0  # the deadline of a connection that becomes idle now
        self.lingering = 0  # connections whose last answer is sent and that wait for the peer
        self.has_users = False  # peers over Unix sockets: their user is known while they are there
        self.isolates = False  # whether each exchange has a context of its own
        self.unflushed: list[Flushing] = []  # connections with answers to write

    def open(self) -> None:
        """Use the clock and the callbacks of the running event loop."""
        self.loop = asyncio.get_running_loop()
        self.clock, self._call_soon = self.loop.time, self.loop.call_soon

    def flush_soon(self) -> None:
        """Write the answers in `unflushed` at the end of the event loop's iteration.

        All writes of one iteration happen together. When each answer was written immediately,
        each write woke a client on the other core, which cost 9 us of 30 per request.
        """
        self._call_soon(self._flush)

    def _flush(self) -> None:
        unflushed, self.unflushed = self.unflushed, []
        for stream in unflushed:
            stream.flush()
