"""Deliver the bytes of a connection directly to a receiver, without its `StreamReader`.

With the `StreamReader` a WebSocket message costs 3 us more: a copy, a wake-up and four coroutines.
A `StreamReader` also stores bytes that no task reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..errors import MicrowebError
from ..http.bytestream import Receiver
from ..http.framing import ChunkedDecoder
from ..parser import Parser


class Delivery(asyncio.Protocol):
    """A protocol that gives bytes to `receiver`, writability to `streams`, the end to both."""

    def __init__(self, streams: asyncio.Protocol, receiver: Receiver) -> None:
        self.streams = streams
        self._receiver = receiver
        self.data_received = receiver.data_received  # type: ignore[method-assign]  # saves a call

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


def deliver_to(transport: asyncio.WriteTransport, receiver: Receiver | None) -> None:
    """Deliver received bytes to `receiver`; with None, to the stream protocol again."""
    protocol = transport.get_protocol()
    if isinstance(protocol, Delivery):
        protocol = protocol.streams
    if isinstance(protocol, asyncio.Protocol):  # a lost connection has no protocol
        transport.set_protocol(protocol if receiver is None else Delivery(protocol, receiver))


def take_buffered(reader: asyncio.StreamReader, size: int) -> bytes:
    """Return the bytes that a reader holds, without waiting for more."""
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
            reading.close()  # the read would wait
            return b"".join(pieces)


class Discard:
    """A `Receiver` that discards the rest of a body; without a body, all received bytes.

    The future `ended` is done at the end of the body or of the peer's input. `on_data` is called
    for each piece before that.
    """

    def __init__(self, parser: Parser, ended: asyncio.Future[None]) -> None:
        self._parser = parser
        self.ended = ended
        self.on_data: Callable[[], None] = nothing
        if isinstance(parser.decoder, ChunkedDecoder):
            parser.decoder.max_content = None  # the limit may be the reason for the answer
        self._decode()

    def data_received(self, data: bytes) -> None:
        self.on_data()
        if self._parser.decoder is not None:
            self._parser.feed(data)
            self._decode()

    def end_received(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def _decode(self) -> None:
        parser = self._parser
        if parser.decoder is not None:
            try:
                while (content := parser.next_content()) and not parser.has_small_chunks:
                    pass
            except MicrowebError:  # the body is malformed: its end is unknown
                parser.decoder = None
            else:
                if content == b"":
                    self.end_received()
                if not content:
                    return
                parser.decoder = None  # to find the end behind small chunks would take too long
        parser.take_rest()


def nothing() -> None:
    """Do nothing: the default of `Discard.on_data`."""
