"""Whether the client is still there, and what becomes of its exchange where it is not.

While a handler runs nobody reads, so the server's sweep looks once a second: for a connection that
is lost, and, where something asks for it, for the end of the client's input. README has the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from ..errors import ClientDisconnected
from ..http.bytestream import Lasting
from ..request import Request
from .state import ServerState
from .upgrade import Handover

_CANCELLED_WHEN_LOST = frozenset(("GET", "HEAD", "OPTIONS"))


class Watch:
    """What one exchange asks about its client."""

    __slots__ = ("left", "shields")

    def __init__(self) -> None:
        self.left: asyncio.Event | None = None  # set once the client has left
        self.shields = 0  # blocks under way that its leaving must not cancel


class Presence(Handover):
    """A connection that knows which exchange its client waits for."""

    __slots__ = ("_is_lost", "_is_streaming", "_lasting", "_request", "_told", "_watch", "task")

    def __init__(
        self, state: ServerState, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        super().__init__(state, reader, writer)
        self.task: asyncio.Task[None] | None = None
        self._request: Request | None = None  # the one under way: not answered yet
        self._watch: Watch | None = None  # of its exchange, if that asked for anything
        self._is_streaming = False  # its answer, which has no declared length
        self._lasting: Lasting | None = None  # its answer, where it is one
        self._is_lost = False  # its handler was cancelled, for nobody waits for it
        self._told: Request | None = None  # whose handler has got a ClientDisconnected

    # --- what requests and answers ask of it

    async def disconnected(self, request: object) -> None:
        if request is not self._request:
            return  # it is answered
        watch = self._watch_of_exchange()
        if watch.left is None:
            watch.left = asyncio.Event()
            if self._is_gone() or self.has_ended():
                watch.left.set()
        await watch.left.wait()

    @asynccontextmanager
    async def shield(self, request: object) -> AsyncIterator[None]:
        if request is not self._request:  # it is answered
            yield
            return
        watch = self._watch_of_exchange()
        watch.shields += 1
        try:
            yield
        finally:
            watch.shields -= 1
            if watch is self._watch:
                self._check_peer()
        if watch is self._watch and self._is_lost:
            await asyncio.sleep(0)  # where the cancellation is raised

    @contextmanager
    def cleaning_up(self, request: object) -> Iterator[None]:
        if request is not self._request:  # it is answered
            yield
            return
        watch = self._watch_of_exchange()
        watch.shields += 1
        try:
            yield
        finally:
            watch.shields -= 1

    @property
    def is_shielded(self) -> bool:
        return self._watch is not None and self._watch.shields > 0

    def _watch_of_exchange(self) -> Watch:
        if self._watch is None:
            self._watch = Watch()
        return self._watch

    def _end_watch(self) -> None:
        """Forget what an exchange asks about its client: it is answered."""
        watch, self._watch = self._watch, None
        if watch is not None and watch.left is not None:
            watch.left.set()

    def inform(self, lasting: Lasting | None) -> None:
        self._lasting = lasting
        if lasting is not None and self._state.is_stopping:
            lasting.stop()

    def interrupt(self) -> None:
        if self.task is not None and not self.is_shielded and not self.is_ending:
            self.task.cancel()

    # --- what the exchange's task was told

    def left(self, message: str = "the peer left") -> ClientDisconnected:
        if asyncio.current_task() is self.task:  # not a write at the end of a turn of the loop
            self._told = self._request
        return super().left(message)

    @property
    def is_ending(self) -> bool:
        """Whether the exchange was told to end, once: it may be cleaning up."""
        is_cancelled = self.task is not None and self.task.cancelling() > 0
        return is_cancelled or (self._told is not None and self._told is self._request)

    def _ends_task(self, error: BaseException) -> bool:
        """Whether an exception ends this connection's task, and is not the application's own."""
        if isinstance(error, asyncio.CancelledError):  # else something awaited was cancelled
            return self.task is not None and self.task.cancelling() > 0
        # Python closes the coroutine of a task that was dropped with its loop.
        return isinstance(error, GeneratorExit) and not self._is_running()

    def _is_running(self) -> bool:
        try:
            return asyncio.current_task() is self.task
        except RuntimeError:  # there is no loop
            return False

    def _forget_cancellation(self) -> None:
        """Have the next exchange begin uncancelled, where this one outlived a cancellation."""
        while self.task is not None and self.task.cancelling():
            self.task.uncancel()

    # --- the sweep, once a second

    def _check_peer(self) -> None:
        """Cancel a handler that works for nobody.

        While it runs nobody reads, so a lost connection shows only here. The end of input alone is
        no loss, a half-closed client waits for its answer; but for an answer of undeclared length
        it counts as one, since nothing else would ever end it.
        """
        request, is_gone = self._request, self._is_gone()
        left = None if self._watch is None else self._watch.left
        asks = left is not None or self._is_streaming
        is_over = is_gone or (asks and self.has_ended())
        if left is not None and is_over:
            left.set()
        is_lost = is_gone or (self._is_streaming and is_over)
        if not is_lost or self._is_lost or self.is_shielded:
            return
        if request is None or self.task is None:
            return
        if self.is_ending:
            return  # a second cancellation would cut its `finally` short
        choice = request.match.on_disconnect if request.match is not None else None
        if self._lasting is not None and self._is_streaming:
            choice = "cancel"  # events are for their client alone
        elif choice is None:
            choice = "cancel" if request.method in _CANCELLED_WHEN_LOST else "finish"
        if choice == "cancel":
            self._is_lost = True
            self.task.cancel()

    def _is_gone(self) -> bool:
        """Whether the peer can no longer be spoken to."""
        return self.transport.is_closing() or self._reader.exception() is not None
