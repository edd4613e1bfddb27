"""Detect that a client has disconnected, and cancel its handler if the route allows that.

No task reads from the socket while a handler runs. So the server's sweep checks once a second for
a lost connection and, if the exchange needs it, for the end of the client's input.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

from ..http.bytestream import LongLived
from ..http.interfaces import OnLost
from ..request import Request
from .state import ServerState

# For the head of an answer to a client that has ended its side: most have closed the connection.
HALF_CLOSED_S = 30.0

_CANCELLED_WHEN_LOST = frozenset(("GET", "HEAD", "OPTIONS"))


class Watched(Protocol):
    """The stream of a client: a `NetworkStream`, or the messages of another server."""

    state: ServerState
    task: asyncio.Task[None] | None  # runs the exchange
    request: Request | None  # the request under way
    disconnected: Request | None  # its handler has got a ClientDisconnected

    def is_gone(self) -> bool:
        """Whether the connection is lost."""

    def has_ended(self) -> bool:
        """Whether the client sends no more."""


class _Exchange:
    """The shields of one exchange, and its event for a disconnect."""

    __slots__ = ("ended_at", "left", "lost", "shields")

    def __init__(self) -> None:
        self.lost: OnLost = None
        self.ended_at: float | None = None  # when its client was first seen to send no more
        self.left: asyncio.Event | None = None  # set once the client has disconnected
        self.shields = 0  # open blocks that a disconnect must not cancel


class DisconnectWatch:
    """Checks, for the exchange under way, whether the client is still connected."""

    __slots__ = ("_network", "exchange", "is_lost", "is_streaming", "long_lived")

    def __init__(self, network: Watched) -> None:
        self._network = network
        self.exchange: _Exchange | None = None  # made when the exchange under way needs it
        self.is_streaming = False  # the answer under way has no declared length
        self.long_lived: LongLived | None = None  # the answer under way, if it is long-lived
        self.is_lost = False  # the handler was cancelled because of a disconnect

    # --- for requests and answers

    async def disconnected(self, request: object) -> None:
        """Return once the client of `request` has disconnected, or `request` is answered."""
        if request is not self._network.request:
            return  # already answered
        exchange = self._need_exchange()
        if exchange.left is None:
            exchange.left = asyncio.Event()
            if self._network.is_gone() or self._network.has_ended():
                exchange.left.set()
        await exchange.left.wait()

    @asynccontextmanager
    async def shield(self, request: object) -> AsyncIterator[None]:
        """Run a block that a disconnect of the client of `request` does not cancel."""
        if request is not self._network.request:  # already answered
            yield
            return
        exchange = self._need_exchange()
        exchange.shields += 1
        try:
            yield
        finally:
            exchange.shields -= 1
            if exchange is self.exchange:
                self.check_peer()
        if exchange is self.exchange and self.is_lost:
            await asyncio.sleep(0)  # the cancellation is raised here

    @contextmanager
    def cleaning_up(self, request: object, lost: OnLost = None) -> Iterator[None]:
        """Run a block like `shield`, but do not check for the client at its end.

        `lost()` is called once if the connection is lost before the exchange ends, also after the
        block; inside the block also if the client has sent no more for `HALF_CLOSED_S`.
        """
        if request is not self._network.request:  # already answered
            yield
            return
        exchange = self._need_exchange()
        exchange.shields += 1
        exchange.lost = lost or exchange.lost
        try:
            yield
        finally:
            exchange.shields -= 1

    @property
    def is_shielded(self) -> bool:
        """Whether the exchange is inside a block of `shield` or `cleaning_up`."""
        return self.exchange is not None and self.exchange.shields > 0

    def _need_exchange(self) -> _Exchange:
        if self.exchange is None:
            self.exchange = _Exchange()
        return self.exchange

    def end(self) -> None:
        """Forget the exchange, which is answered, and wake the tasks in `disconnected`."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None and exchange.left is not None:
            exchange.left.set()

    def set_long_lived(self, long_lived: LongLived | None) -> None:
        """Call its `tick()` once a second, and its `stop()` when the server stops."""
        self.long_lived = long_lived
        if long_lived is not None and self._network.state.is_stopping:
            long_lived.stop(is_restart=self._network.state.is_retiring)

    def interrupt(self) -> None:
        """Cancel the answer's task, unless it is shielded or already ending."""
        if self._network.task is not None and not self.is_shielded and not self.is_ending:
            self._network.task.cancel()

    # --- the state of the exchange's task

    @property
    def is_ending(self) -> bool:
        """Whether the exchange got a cancellation or ClientDisconnected, and may be cleaning up."""
        network = self._network
        if network.task is not None and network.task.cancelling() > 0:
            return True
        return network.disconnected is not None and network.disconnected is network.request

    def ends_task(self, error: BaseException) -> bool:
        """Whether an exception must end this connection's task: it is not the application's."""
        if isinstance(error, asyncio.CancelledError):
            # If this task is not cancelled, an awaitable of the handler was.
            return self._network.task is not None and self._network.task.cancelling() > 0
        # Python closes the coroutine of a task that was dropped together with its event loop.
        return isinstance(error, GeneratorExit) and not self._is_running()

    def _is_running(self) -> bool:
        try:
            return asyncio.current_task() is self._network.task
        except RuntimeError:  # there is no loop
            return False

    def forget_cancellation(self) -> None:
        """Reset the task's cancellation, so that it does not affect the next exchange."""
        while self._network.task is not None and self._network.task.cancelling():
            self._network.task.uncancel()

    # --- the sweep, once a second

    def check_peer(self) -> None:
        """Cancel the handler if its client has disconnected and the route allows that.

        The end of input alone is not a disconnect, because a half-closed client may still wait for
        its answer. For an answer without a declared length it is one, because no other event
        would end that answer.
        """
        request, is_gone = self._network.request, self._network.is_gone()
        left = None if self.exchange is None else self.exchange.left
        if self.exchange is not None and self.exchange.lost is not None:
            self._check_lost(self.exchange, is_gone=is_gone)
        needs_end = left is not None or self.is_streaming
        is_over = is_gone or (needs_end and self._network.has_ended())
        if left is not None and is_over:
            left.set()
        is_lost = is_gone or (self.is_streaming and is_over)
        if not is_lost or self.is_lost or self.is_shielded:
            return
        if request is None or self._network.task is None:
            return
        if self.is_ending:
            return  # a second cancellation would cut its `finally` short
        choice = request.match.on_disconnect if request.match is not None else None
        if self.long_lived is not None and self.is_streaming:
            choice = "cancel"  # events serve only this client
        elif choice is None:
            choice = "cancel" if request.method in _CANCELLED_WHEN_LOST else "finish"
        if choice == "cancel":
            self.is_lost = True
            self._network.task.cancel()

    def _check_lost(self, exchange: _Exchange, *, is_gone: bool) -> None:
        """Call `lost()` of an exchange if its client has left."""
        if not is_gone and exchange.shields and self._network.has_ended():
            now = self._network.state.clock()
            exchange.ended_at = now if exchange.ended_at is None else exchange.ended_at
            is_gone = now - exchange.ended_at >= HALF_CLOSED_S
        if is_gone and exchange.lost is not None:
            lost, exchange.lost = exchange.lost, None
            lost()
