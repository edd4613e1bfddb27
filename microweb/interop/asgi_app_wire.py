"""The messages of one request under another ASGI server: `receive` and `send`, with deadlines.

Most requests end within a second, and nobody waits for their client to leave. So no task waits for
`http.disconnect` at first. The server's sweep, once a second, starts one for a request that still
runs then. It keeps the one message of the body that may come first, and leaves the rest to the
reader of the body, because more would be unbounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..errors import BodyTimeout, ClientDisconnected, MicrowebError
from ..http.interfaces import Address
from ..request import Request
from ..server.addresses import network_of
from ..server.buffered import Share
from ..server.state import ServerState
from .asgi_types import Message, Receive, Send

NEVER = float("inf")
_GONE = frozenset(("http.disconnect", "websocket.disconnect"))


class Wire:
    """The messages of one request: a stream that a `DisconnectWatch` watches."""

    def __init__(self, state: ServerState, receive: Receive, send: Send) -> None:
        self.state = state
        self.task: asyncio.Task[None] | None = asyncio.current_task()
        self.request: Request | None = None
        self.disconnected: Request | None = None  # its handler has got a ClientDisconnected
        self.client: Address | None = None
        self.on_left: Callable[[], None] = _do_nothing  # called when the client has left
        self.last: Message | None = None  # the message that told that the client has left
        self._receive = receive
        self._send = send
        self._kept: Message | None = None  # a message that `_look` got
        self._is_whole = False  # no more of the body comes
        self._looking: asyncio.Task[None] | None = None
        self._news = asyncio.Event()  # set when `_look` has got a message, or has ended
        self._reading: _Wait | None = None
        self._sending: _Wait | None = None
        self._is_cut = False

    # --- the client

    def is_gone(self) -> bool:
        """Whether the client has left, or was cut off."""
        return self.last is not None or self._is_cut

    def has_ended(self) -> bool:
        """Whether the client has left. ASGI does not tell the end of its side alone."""
        return self.is_gone()

    def left(self, message: str = "the client left") -> ClientDisconnected:
        """Return the error to raise, and record that the exchange gets it."""
        if asyncio.current_task() is self.task:
            self.disconnected = self.request
        return ClientDisconnected(message)

    def share(self, lose: Callable[[], None]) -> Share:
        """Return a share of the buffer memory for this client; `lose` frees it early."""
        key = "" if self.client is None else network_of(self.client.host)
        return Share(self.state.budget, key, lose)

    # --- receiving

    async def receive(self, within_s: float | None = None) -> Message:
        """Return the next message, after the last one an `http.disconnect` again.

        Raises: the error of `interrupt_reading`.
        """
        until = NEVER if within_s is None else self.state.clock() + within_s
        reading = self._reading = _Wait(until)
        try:
            while self._kept is None and self.last is None and self._looking is not None:
                self._news.clear()
                await self._news.wait()
            if self._kept is not None:
                message, self._kept = self._kept, None
                return message
            return await self._next() if self.last is None else self.last
        except asyncio.CancelledError:
            reading.raise_error()
            raise
        finally:
            self._reading = None

    async def _next(self) -> Message:
        message = await self._receive()  # of any awaitable type
        if message["type"] in _GONE:
            self.last = message
        elif message["type"] == "http.request":
            self._is_whole = not message.get("more_body", False)
        return message

    def end_reading(self, error: MicrowebError) -> None:
        """Raise `error` in the task that waits in `receive`."""
        if self._reading is not None:
            self._reading.interrupt(error)

    def look(self) -> None:
        """Wait for the disconnect of the client, in a task, unless the body is still to be read."""
        is_full = self._kept is not None and not self._is_whole
        if self._looking is None and self._reading is None and not (is_full or self.is_gone()):
            self._looking = asyncio.get_running_loop().create_task(self._look(), name="asgi look")

    async def _look(self) -> None:
        try:
            message = await self._next()
            while self.last is None and self._is_whole and self._kept is None:
                self._kept = message
                self._news.set()
                message = await self._next()
            if self.last is None:
                self._kept = message
        finally:
            self._looking = None
            self._news.set()
            if self.last is not None:
                self.on_left()

    # --- sending

    async def send(self, message: Message) -> None:
        """Send a message. Raises: ClientDisconnected; all errors of the server."""
        if self.is_gone():
            raise self.left("the client left before the answer was sent")
        sending = _Wait(self.state.clock() + self.state.config.write_timeout_s)
        self._sending = sending
        try:
            await self._send(message)
        except OSError as error:  # ASGI 2.4
            self._is_cut = True
            raise self.left("the client left before the answer was sent") from error
        except asyncio.CancelledError:
            sending.raise_error()
            raise
        finally:
            self._sending = None

    def cut(self) -> None:
        """Cut the client off: a task that waits for it continues immediately."""
        self._is_cut = True
        for waiting in (self._sending, self._reading):
            if waiting is not None:
                waiting.interrupt(ClientDisconnected("the client was cut off"))
        self.on_left()

    def check(self, now: float) -> None:
        """End a read of the body that is overdue; cut off a client that takes no message."""
        if self._reading is not None and self._reading.until <= now:
            self.end_reading(BodyTimeout("the request body stalled or came too slowly"))
        if self._sending is not None and self._sending.until <= now:
            self.cut()

    async def close(self) -> None:
        """End the task that waits for the client. The request is over."""
        looking = self._looking
        self.on_left = _do_nothing
        if looking is not None:
            looking.cancel()
            await asyncio.wait((looking,))


class _Wait:
    """A task that waits for the client until a time, unless `interrupt` ends the wait.

    The other server's awaitables have no method for that, so the task is cancelled.
    """

    __slots__ = ("_cancelling", "_error", "_task", "until")

    def __init__(self, until: float) -> None:
        self._task = asyncio.current_task()
        self._cancelling = 0 if self._task is None else self._task.cancelling()
        self._error: MicrowebError | None = None
        self.until = until

    def interrupt(self, error: MicrowebError) -> None:
        """Raise `error` in the task that waits."""
        if self._error is None and self._task is not None:
            self._error = error
            self._task.cancel()

    def raise_error(self) -> None:
        """Raise the error of `interrupt`, unless the task was cancelled for another reason."""
        if self._error is None or self._task is None:
            return
        if self._task.uncancel() <= self._cancelling:
            raise self._error from None


def _do_nothing() -> None:
    pass
