"""The state that all connections of one server share.

A connection depends on this and not on `Server`, which owns it. Answers of one turn of the event
loop wait in `unflushed` and are written together at its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from ..concurrency.background import Background
from ..errors import ProtocolError
from ..http.response_head import HeadCache, phrase_of
from ..parser import RequestLines
from ..request import Handler, Request
from ..response import Response
from .buffered import Budget
from .config import ServerConfig
from .proxies import TrustedProxies

Refuse = Callable[[ProtocolError], Awaitable[Response]]
AccessLog = Callable[[Request, int, int, float], None]


class Flushing(Protocol):
    """A connection's bytes, some of which wait for the end of this turn of the loop."""

    def flush(self) -> None:
        """Write them."""


async def refuse_plainly(error: ProtocolError) -> Response:
    """Answer what was no request with its status and nothing else."""
    return Response(f"{phrase_of(error.status)}\n", error.status)


class ServerState:
    """The handler, the settings, the clock, the memos and the counters of one server."""

    def __init__(
        self,
        handler: Handler,
        config: ServerConfig,
        *,
        refuse: Refuse = refuse_plainly,
        access_log: AccessLog | None = None,
    ) -> None:
        self.handler = handler
        self.config = config
        self.refuse = refuse
        self.access_log = access_log
        self.limits = config.limits
        self.head_limits = config.head_limits
        self.proxies = TrustedProxies(config.trusted_proxies)
        self.lines = RequestLines()
        self.heads = HeadCache()
        self.background = Background(config.max_background_tasks)
        self.clock: Callable[[], float] = lambda: 0.0  # the loop's, from `open()` on
        self.budget = Budget(config.max_buffered, lambda: self.clock())
        self.is_stopping = False
        self.idle_deadline = 0.0  # of a connection that begins to idle
        self.lingering = 0  # connections that wait for their peers to close, after the last answer
        self.isolates = False  # whether each exchange has a context of its own
        self.unflushed: list[Flushing] = []  # with answers of this turn of the loop

    def open(self) -> None:
        """Take the clock of the running loop, and its end of a turn."""
        loop = asyncio.get_running_loop()
        self.clock, self._call_soon = loop.time, loop.call_soon

    def flush_soon(self) -> None:
        """Have the connections in `unflushed` write their answers at the end of this turn.

        The writes of one turn stand together: done in between, each woke a client on the other
        core, which cost 9 us of 30 a request.
        """
        self._call_soon(self._flush)

    def _flush(self) -> None:
        unflushed, self.unflushed = self.unflushed, []
        for stream in unflushed:
            stream.flush()
