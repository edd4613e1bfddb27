"""A connection's bytes, as they come, to another receiver than its streams.

By the streams a message of a WebSocket costs 3 us more, for a copy, a wake-up and four coroutines;
and a stream keeps bytes that nobody reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..errors import MicrowebError
from ..http.bytestream import Receiver
from ..http.framing import ChunkedDecoder
from ..parser import Parser


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


def deliver_to(transport: asyncio.WriteTransport, receiver: Receiver | None) -> None:
    """Have what comes go to `receiver`, or for None to the protocol of the streams again."""
    protocol = transport.get_protocol()
    if isinstance(protocol, Delivery):
        protocol = protocol.streams
    if isinstance(protocol, asyncio.Protocol):  # there is none once the connection is lost
        transport.set_protocol(protocol if receiver is None else Delivery(protocol, receiver))


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


class Discard:
    """A `Receiver` that keeps nothing: of the rest of a body up to its end, else of all that comes.

    `ended` is done at the end of the body, or of the peer's side; `on_data` is called before.
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
                while content := parser.next_content():
                    pass
            except MicrowebError:  # it has no end that is known
                parser.decoder = None
            else:
                if content is not None:
                    self.end_received()
                return
        parser.take_rest()


def nothing() -> None:
    """Do nothing at more data."""
