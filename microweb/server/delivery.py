"""A connection whose bytes are handed over as they come, for protocols that HTTP was upgraded to.

By the streams a message of a WebSocket costs 3 us more: a copy, a wake-up, four coroutines.
"""

from __future__ import annotations

import asyncio

from ..response import Receiver


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
