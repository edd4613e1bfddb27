"""What a connection offers the protocol that HTTP was upgraded to.

Its bytes can be read, or handed over as they come: by the streams a message of a WebSocket costs
3 us more, for a copy, a wake-up and four coroutines. RFC 9110 section 7.8
"""

from __future__ import annotations

import asyncio
from typing import cast

from ..bytestream import Receiver
from ..errors import ClientDisconnected
from ..parser import Parser
from .wire import READ_BYTES, Wire

_JOINED_BYTES = 64 * 1024


class Handover(Wire):
    """A wire whose bytes may go to another protocol."""

    __slots__ = ("parser",)

    parser: Parser

    async def read(self) -> bytes:
        """Return what the peer sent next, `b""` at its end: for upgrades.

        Raises: ClientDisconnected.
        """
        try:
            if not self.parser.is_empty:
                return self.parser.take_rest()
            return await self._reader.read(READ_BYTES)
        except OSError as error:
            raise ClientDisconnected("the peer left") from error

    def write_soon(self, data: bytes) -> bool:
        """Send `data` at the end of this turn of the loop, else as `write`.

        An echo to each of 100 clients costs 6 % less by it: see `Server.flush_soon`.
        """
        if self.transport.is_closing():
            raise ClientDisconnected("the peer left before the answer was out")
        self.written += len(data)
        if self.unflushed:
            self.unflushed += data
        else:
            self.unflushed = data
            if not self._server.unflushed:
                self._server.flush_soon()
            self._server.unflushed.append(self)
        if len(self.unflushed) > _JOINED_BYTES:
            self.flush()
        return self._is_full

    def hand_over(self, receiver: Receiver | None) -> None:
        """Hand to `receiver` what comes, in place of `read`, until None takes its place."""
        protocol, transport = self.transport.get_protocol(), self.transport
        if isinstance(protocol, Delivery):
            protocol = protocol.streams
        if isinstance(protocol, asyncio.Protocol):  # there is none once the connection is lost
            transport.set_protocol(protocol if receiver is None else Delivery(protocol, receiver))
        if receiver is None:
            self.resume_reading()
            return
        reader, data = self._reader, self.parser.take_rest()
        if reader.exception() is None:
            data += take_buffered(reader, READ_BYTES)
        if data:
            receiver.data_received(data)
        if transport.is_closing() or reader.exception() is not None or reader.at_eof():
            receiver.end_received()

    def pause_reading(self) -> None:
        """Leave what comes to the kernel: the peer has to wait."""
        if not self.transport.is_closing():
            cast(asyncio.Transport, self.transport).pause_reading()

    def resume_reading(self) -> None:
        """Go on after `pause_reading`."""
        if not self.transport.is_closing():
            cast(asyncio.Transport, self.transport).resume_reading()


class Delivery(asyncio.Protocol):
    """Stands between a transport and the protocol of its streams, which learn all but the bytes."""

    def __init__(self, streams: asyncio.Protocol, receiver: Receiver) -> None:
        self.streams = streams
        self._receiver = receiver
        self.data_received = receiver.data_received  # type: ignore[method-assign]  # no call more

    def eof_received(self) -> bool | None:
        goes_on = self.streams.eof_received()
        self._receiver.end_received()
        return goes_on

    def connection_lost(self, error: Exception | None) -> None:
        self.streams.connection_lost(error)
        self._receiver.end_received()

    def pause_writing(self) -> None:
        self.streams.pause_writing()

    def resume_writing(self) -> None:
        self.streams.resume_writing()


def take_buffered(reader: asyncio.StreamReader, size: int) -> bytes:
    """Return what a reader holds, without waiting for more."""
    pieces: list[bytes] = []
    while True:
        reading = reader.read(size)
        try:
            reading.send(None)
        except StopIteration as stop:
            if not stop.value:
                return b"".join(pieces)
            pieces.append(stop.value)
        else:
            reading.close()  # it would wait
            return b"".join(pieces)
