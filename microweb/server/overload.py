"""Limit how many handlers run at the same time, let a few requests wait, and refuse the rest.

Without a limit, all requests under overload share the capacity, so that each takes longer than its
client waits, and the work is lost. With `max_concurrent`, at most so many handlers run. Up to
`max_queued` further requests wait for a place, each at most `queue_timeout_s`. All others get a 503
with `Retry-After` before any work: no middleware runs, and no body is read.

The place of a request is free again once its handler has returned a response. So a stream, events
and a WebSocket that is open do not count. A request whose client has closed its side while it
waited is not worth a place any more: it gets the 503 too.

The queue is in the order of arrival. If it was not empty for 0.1 s, the newest request is served
first, and a full queue refuses the oldest one ("adaptive LIFO"). The number of served requests and
the slowest hundredth are those of the order of arrival if the queue has the right size. If it is
longer than the clients wait, the oldest request is the one whose client gives up next. Then the
order of arrival served 41 % of the peak, and this order 90 % (`benchmarks/README.md`).

One timer serves the whole queue, because all requests wait for the same time.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from ..request import Handler, Request
from ..response import Response
from .config import ServerConfig
from .connection import Connection

RETRY_AFTER_S = 5
_BURST_S = 0.1  # a queue that stands for longer is no burst
_SWEEP_S = 0.1  # between two looks for clients that have left a full queue

_REFUSAL = "Service Unavailable: too many requests are under way\n"


@runtime_checkable
class AnswersProbes(Protocol):
    """Middleware that answers some paths itself, at once, also under overload."""

    probe_paths: Iterable[str]


@runtime_checkable
class _HasMiddleware(Protocol):
    def all_middleware(self) -> Iterable[object]: ...


def limited(handler: Handler, app: object, config: ServerConfig) -> Handler:
    """Return `handler`, behind a limit if `config` has one. The app must be frozen."""
    if not config.max_concurrent:
        return handler
    middleware = app.all_middleware() if isinstance(app, _HasMiddleware) else ()
    probes = (each.probe_paths for each in middleware if isinstance(each, AnswersProbes))
    return ConcurrencyLimit(handler, config, frozenset(path for paths in probes for path in paths))


class ConcurrencyLimit:
    """A handler that calls another one for at most `max_concurrent` requests at the same time.

    Requests for the paths in `exempt` do not count, and never wait.
    """

    def __init__(
        self, handler: Handler, config: ServerConfig, exempt: frozenset[str] = frozenset()
    ) -> None:
        self._handler = handler
        self._exempt = exempt
        self._free = config.max_concurrent
        self._max_queued = config.max_queued if config.queue_timeout_s else 0
        self._timeout_s = config.queue_timeout_s
        # In the order of arrival. The value of a future is whether its request gets a place.
        self._queue: OrderedDict[asyncio.Future[bool], _Waiting] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._swept_at = 0.0
        self._standing_since = 0.0  # since when the queue is not empty

    @property
    def free(self) -> int:
        """The number of free places."""
        return self._free

    @property
    def waiting(self) -> int:
        """The number of requests that wait for a place."""
        return len(self._queue)

    async def __call__(self, request: Request) -> Response:
        line = request.line
        if line.raw_path in self._exempt and line.method in ("GET", "HEAD"):
            return await self._handler(request)
        if self._free:
            self._free -= 1
        elif not self._max_queued or not await self._has_turn(request):
            return Response(_REFUSAL, 503, {"Retry-After": str(RETRY_AFTER_S)})
        try:
            return await self._handler(request)
        finally:
            self._pass_on()

    # --- the queue

    async def _has_turn(self, request: Request) -> bool:
        """Wait for a place; return whether the request has it."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if len(self._queue) >= self._max_queued:
            self._refuse_abandoned(now)
            if len(self._queue) >= self._max_queued:
                self._refuse(next(iter(self._queue)))
        if not self._queue:
            self._standing_since = now
        waiting = _Waiting(request, now + self._timeout_s)
        turn: asyncio.Future[bool] = loop.create_future()
        self._queue[turn] = waiting
        if self._timer is None:
            self._timer = loop.call_at(waiting.until, self._expire)
        try:
            return await turn
        except asyncio.CancelledError:
            left_queue = self._queue.pop(turn, None) is None
            if left_queue and not turn.cancelled() and turn.result():
                self._pass_on()  # cancelled in the moment in which it got its place
            if waiting.is_stopped():
                return False
            raise

    def _pass_on(self) -> None:
        """Give a free place to the oldest request, or under overload to the newest."""
        is_overloaded = False
        if self._queue:
            now = asyncio.get_running_loop().time()
            is_overloaded = now > self._standing_since + _BURST_S
        while self._queue:
            turn, waiting = self._queue.popitem(last=is_overloaded)
            is_wanted = not waiting.is_abandoned()
            if not turn.done():
                turn.set_result(is_wanted)
                if is_wanted:
                    return
        self._free += 1

    def _expire(self) -> None:
        """Refuse the requests that have waited for too long."""
        loop = asyncio.get_running_loop()
        self._timer, now = None, loop.time()
        while self._queue:
            turn = next(iter(self._queue))
            until = self._queue[turn].until
            if until > now:
                self._timer = loop.call_at(until, self._expire)
                return
            self._refuse(turn)

    def _refuse_abandoned(self, now: float) -> None:
        """Refuse the requests whose clients have left."""
        if now < self._swept_at + _SWEEP_S:
            return
        self._swept_at = now
        for turn, waiting in tuple(self._queue.items()):
            if waiting.is_abandoned():
                self._refuse(turn)

    def _refuse(self, turn: asyncio.Future[bool]) -> None:
        del self._queue[turn]
        if not turn.done():
            turn.set_result(False)


class _Waiting:
    """A request in the queue."""

    __slots__ = ("_connection", "until")

    def __init__(self, request: Request, until: float) -> None:
        peer = request.transport
        self._connection = peer if isinstance(peer, Connection) else None
        self.until = until

    def is_abandoned(self) -> bool:
        """Whether the client has left, or at least sends no more.

        A client that has ended only its own side still gets the refusal.
        """
        if self._connection is None:
            return False
        network = self._connection.network
        return network.is_gone() or network.has_ended()

    def is_stopped(self) -> bool:
        """Whether the request is cancelled by the end of a stop, and its client still waits."""
        if self._connection is None:
            return False
        network = self._connection.network
        return network.state.is_stopping and not network.is_gone()
