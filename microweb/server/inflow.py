"""Received bytes go straight to the task of their connection, past the buffer of its reader.

`StreamReader.read` costs about 1 us a request: two coroutines, and two copies through a buffer. If
the task waits for a request, none of that is needed. So each connection of `asyncio.start_server`
gets an `Inflow` in front of its stream protocol. It wakes the task with the bytes. All other bytes
go to the `StreamReader`: those of bodies, and those that no task waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

READ_BYTES = 64 * 1024


class Inflow(asyncio.Protocol):
    """A protocol in front of a connection's stream protocol, which gets all calls but some bytes.

    Only the task of the connection calls `receive`, which gets the first bytes.
    """

    __slots__ = ("_early", "_is_buffered", "_loop", "_reader", "_streams", "_waiter")

    _early: asyncio.Future[bytes | None] | None

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        reader: asyncio.StreamReader,
        transport: asyncio.WriteTransport,
    ) -> None:
        self._loop = loop
        self._reader = reader
        self._streams: asyncio.Protocol = transport.get_protocol()  # type: ignore[assignment]
        self._waiter: asyncio.Future[bytes | None] | None  # of the task in `receive`
        # For the first bytes, which usually arrive before the task has begun.
        self._waiter = self._early = self._loop.create_future()
        self._is_buffered = True  # the reader may hold bytes, an error or the end of input
        transport.set_protocol(self)

    def receive(self) -> Awaitable[bytes | None]:
        """Return the next bytes, nothing at the end of input. Raises: the error of the reader.

        A cancelled call may have taken bytes, so the connection must end then.
        """
        if self._is_buffered:
            return self._receive_buffered()
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def _receive_buffered(self) -> Awaitable[bytes | None]:
        early, self._early = self._early, None
        if early is not None:
            self._is_buffered = early.done()
            return early
        received: asyncio.Future[bytes | None] = self._loop.create_future()
        reading = self._reader.read(READ_BYTES)
        try:
            reading.send(None)
        except StopIteration as stop:
            received.set_result(stop.value)
            return received
        reading.close()  # it would wait
        self._is_buffered = False
        return self.receive()

    @property
    def is_awaited(self) -> bool:
        """Whether the task has got all bytes, and waits for more."""
        return self._waiter is not None and not self._waiter.done()

    def fail(self, error: Exception) -> None:
        """Raise `error` in the task that reads, at each read from now on."""
        self._reader.set_exception(error)
        self._wake(error)

    def end(self) -> None:
        """End the input."""
        self._reader.feed_eof()
        self._wake(None)

    def _wake(self, error: Exception | None) -> None:
        waiter, self._waiter, self._is_buffered = self._waiter, None, True
        if waiter is None or waiter.done():
            return
        if waiter is self._early:
            self._early = None  # no task awaits it
        elif error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)

    # --- the protocol of the transport

    def data_received(self, data: bytes) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():  # done: the task was cancelled
            self._waiter = None
            waiter.set_result(data[:READ_BYTES])
            if len(data) <= READ_BYTES:
                return
            data = data[READ_BYTES:]  # counts for the limit of the reader
        self._is_buffered = True
        self._streams.data_received(data)

    def eof_received(self) -> bool | None:
        stays_open = self._streams.eof_received()
        self._wake(None)
        return stays_open

    def connection_lost(self, error: Exception | None) -> None:
        self._streams.connection_lost(error)
        self._wake(error)

    def pause_writing(self) -> None:
        self._streams.pause_writing()

    def resume_writing(self) -> None:
        self._streams.resume_writing()
