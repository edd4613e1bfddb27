"""Whether the client is still there, and what becomes of its exchange where it is not.

While a handler runs nobody reads, so the server's sweep looks once a second: for a connection that
is lost, and, where something asks for it, for the end of the client's input. README has the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from ..http.bytestream import LongLived
from .network import NetworkStream

_CANCELLED_WHEN_LOST = frozenset(("GET", "HEAD", "OPTIONS"))


class _Asked:
    """What one exchange asks about its client."""

    __slots__ = ("left", "shields")

    def __init__(self) -> None:
        self.left: asyncio.Event | None = None  # set once the client has left
        self.shields = 0  # blocks under way that its leaving must not cancel


class DisconnectWatch:
    """Watches, for the exchange under way, whether the client of one connection is still there."""

    __slots__ = ("_network", "asked", "is_lost", "is_streaming", "long_lived")

    def __init__(self, network: NetworkStream) -> None:
        self._network = network
        self.asked: _Asked | None = None  # by the exchange under way, if it asked for anything
        self.is_streaming = False  # its answer, which has no declared length
        self.long_lived: LongLived | None = None  # its answer, if it lasts
        self.is_lost = False  # its handler was cancelled, for nobody waits for it

    # --- what requests and answers ask of it

    async def disconnected(self, request: object) -> None:
        """Return once the client of `request` has left, or `request` is answered."""
        if request is not self._network.request:
            return  # it is answered
        asked = self._ask()
        if asked.left is None:
            asked.left = asyncio.Event()
            if self._is_gone() or self._network.has_ended():
                asked.left.set()
        await asked.left.wait()

    @asynccontextmanager
    async def shield(self, request: object) -> AsyncIterator[None]:
        """Return a block that is not cancelled because the client of `request` leaves."""
        if request is not self._network.request:  # it is answered
            yield
            return
        asked = self._ask()
        asked.shields += 1
        try:
            yield
        finally:
            asked.shields -= 1
            if asked is self.asked:
                self.check_peer()
        if asked is self.asked and self.is_lost:
            await asyncio.sleep(0)  # where the cancellation is raised

    @contextmanager
    def cleaning_up(self, request: object) -> Iterator[None]:
        """Return a block as `shield` does, but do not look for the client at its end."""
        if request is not self._network.request:  # it is answered
            yield
            return
        asked = self._ask()
        asked.shields += 1
        try:
            yield
        finally:
            asked.shields -= 1

    @property
    def is_shielded(self) -> bool:
        """Whether the exchange is inside such a block."""
        return self.asked is not None and self.asked.shields > 0

    def _ask(self) -> _Asked:
        if self.asked is None:
            self.asked = _Asked()
        return self.asked

    def end(self) -> None:
        """Forget what an exchange asks about its client: it is answered."""
        asked, self.asked = self.asked, None
        if asked is not None and asked.left is not None:
            asked.left.set()

    def set_long_lived(self, long_lived: LongLived | None) -> None:
        """Call its `tick()` once a second, and its `stop()` when the server stops."""
        self.long_lived = long_lived
        if long_lived is not None and self._network.state.is_stopping:
            long_lived.stop()

    def interrupt(self) -> None:
        """Cancel the wait of the answer, unless that is shielded."""
        if self._network.task is not None and not self.is_shielded and not self.is_ending:
            self._network.task.cancel()

    # --- what the exchange's task was told

    @property
    def is_ending(self) -> bool:
        """Whether the exchange was told to end, once: it may be cleaning up."""
        network = self._network
        if network.task is not None and network.task.cancelling() > 0:
            return True
        return network.told is not None and network.told is network.request

    def ends_task(self, error: BaseException) -> bool:
        """Whether an exception ends this connection's task, and is not the application's own."""
        if isinstance(error, asyncio.CancelledError):  # else something awaited was cancelled
            return self._network.task is not None and self._network.task.cancelling() > 0
        # Python closes the coroutine of a task that was dropped with its loop.
        return isinstance(error, GeneratorExit) and not self._is_running()

    def _is_running(self) -> bool:
        try:
            return asyncio.current_task() is self._network.task
        except RuntimeError:  # there is no loop
            return False

    def forget_cancellation(self) -> None:
        """Have the next exchange begin uncancelled, where this one outlived a cancellation."""
        while self._network.task is not None and self._network.task.cancelling():
            self._network.task.uncancel()

    # --- the sweep, once a second

    def check_peer(self) -> None:
        """Cancel a handler that works for nobody.

        While it runs nobody reads, so a lost connection shows only here. The end of input alone is
        no loss, a half-closed client waits for its answer; but for an answer of undeclared length
        it counts as one, since nothing else would ever end it.
        """
        request, is_gone = self._network.request, self._is_gone()
        left = None if self.asked is None else self.asked.left
        asks = left is not None or self.is_streaming
        is_over = is_gone or (asks and self._network.has_ended())
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
            choice = "cancel"  # events are for their client alone
        elif choice is None:
            choice = "cancel" if request.method in _CANCELLED_WHEN_LOST else "finish"
        if choice == "cancel":
            self.is_lost = True
            self._network.task.cancel()

    def _is_gone(self) -> bool:
        """Whether the peer can no longer be spoken to."""
        return self._network.transport.is_closing() or self._network.reader.exception() is not None
