"""Write the pieces of a stream to the connection: after the head, joined, and as chunks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

from ..http.bytestream import ResponseStream
from ..http.framing import LAST_CHUNK

JOINED_BYTES = 64 * 1024  # of joined pieces: at this size they are written before the turn ends
# Pieces up to this size are counted, not measured: to subtract each size cost 4 % of a stream of
# 100 pieces of 1 KiB. A turn joins 112 KiB of them at most: malloc makes a mapping for 128 KiB.
SMALL_BYTES = 1024
MANY_SMALL = 112
_MOST_SMALL = 1000  # in a turn: 64 KiB of pieces of one byte took 30 ms

T = TypeVar("T")


class Outlet:
    """Writes the pieces of one turn of the event loop in one write, as one chunk.

    Pieces that a generator yields without waiting are joined. `run` writes them before each wait,
    so a generator that waits holds nothing back. 100 pieces of 1 KiB cost a fifth of 100 single
    writes. The head is written together with the first pieces.
    """

    __slots__ = ("_head", "_is_chunked", "_small", "_stream", "is_full", "joined")

    def __init__(self, stream: ResponseStream, head: bytes, *, is_chunked: bool) -> None:
        self.joined: list[bytes] = []  # never replaced by another list; empty after each wait
        self._stream = stream
        self._head = head
        self._is_chunked = is_chunked
        self._small = 0  # pieces that `compact` has made one
        self.is_full = False  # the write buffer is full: drain before more

    def write_head(self) -> None:
        """Write the head before the first piece is known. Raises: ClientDisconnected."""
        head, self._head = self._head, b""
        self._stream.write(head)

    @coroutine
    def run(self, joining: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        """Run a coroutine that joins pieces, and write them each time before it waits.

        A callback for the end of each turn cost 3 us more.
        """
        try:
            waited_for = joining.send(None)
            while True:
                self.close()
                try:
                    yield waited_for
                except BaseException as error:
                    waited_for = joining.throw(error)
                else:
                    waited_for = joining.send(None)
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def write(self, size: int) -> None:
        """Write the joined pieces, `size` bytes, and let other tasks run.

        Raises: ClientDisconnected.
        """
        self._write(size, b"")
        if self.is_full:
            await self.drain()
        else:
            await asyncio.sleep(0)

    async def compact(self) -> None:
        """Make `MANY_SMALL` pieces one, or write them if that is enough for a turn.

        Raises: ClientDisconnected.
        """
        self._small += len(self.joined)
        size = sum(map(len, self.joined))
        if self._small >= _MOST_SMALL or size >= JOINED_BYTES // 2:
            await self.write(size)
        else:
            self.joined[:] = (b"".join(self.joined),)

    async def drain(self) -> None:
        """Wait until the peer has taken most of the written bytes. Raises: ClientDisconnected."""
        self.is_full = False
        await self._stream.drain()

    def end(self, size: int, last_chunk: bytes = LAST_CHUNK) -> None:
        """Write the `size` bytes that are left of this turn, and the end of the stream.

        `last_chunk` may have trailers behind it. Raises: ClientDisconnected.
        """
        self._write(size if self.joined else 0, last_chunk if self._is_chunked else b"")

    def close(self) -> None:
        """Write the pieces that were made before a wait or an error. Never raises."""
        if self.joined:
            size = sum(map(len, self.joined))
            self.is_full = self._stream.write_early(self._take(size, b""))

    def _write(self, size: int, end: bytes) -> None:
        """Write the joined pieces, `size` bytes, and then `end`."""
        if data := self._take(size, end):
            self.is_full = self._stream.write(data)

    def _take(self, size: int, end: bytes) -> bytes:
        """Return the head, if it is not written, the joined pieces, `size` bytes, and `end`."""
        joined, start = self.joined, self._head
        self._head, self._small = b"", 0
        if self._is_chunked and size:
            start += b"%x\r\n" % size
            end = b"\r\n" + end
        data = b"".join((start, *joined, end))
        joined.clear()
        return data
