"""Where the pieces of a streamed answer leave: joined, as chunks, behind their head."""

from __future__ import annotations

import asyncio

from ..errors import ClientDisconnected
from ..http.bytestream import ResponseStream
from ..http.framing import LAST_CHUNK

JOINED_BYTES = 64 * 1024  # of pieces, from which on they are written before the turn ends


class Outlet:
    """Where a stream's pieces leave: those of one turn of the loop by one write, as one chunk.

    So what is made without a wait in between is joined, and is on its way by the time that
    something is waited for. 100 pieces of 1 KiB cost a fifth of what they did by a write each.
    The head goes out with the first of them.
    """

    __slots__ = ("_head", "_is_chunked", "_is_due", "_is_full", "_stream", "joined")

    def __init__(self, stream: ResponseStream, head: bytes, *, is_chunked: bool) -> None:
        self.joined: list[bytes] = []  # the same list always: empty where a turn begins
        self._stream = stream
        self._head = head
        self._is_chunked = is_chunked
        self._is_full = False  # the connection holds more than the peer takes
        self._is_due = False  # to be written at the end of this turn

    def write_head(self) -> None:
        """Write the head, before the first piece. Raises: ClientDisconnected."""
        head, self._head = self._head, b""
        self._stream.write(head)

    async def begin(self) -> None:
        """Take note of a turn's first piece. Raises: ClientDisconnected."""
        if self._is_full:
            await self._drain()
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._write_due)

    async def write(self, size: int) -> None:
        """Write what is joined, and let others have their turn. Raises: ClientDisconnected."""
        self._write(size, b"")
        if self._is_full:
            await self._drain()
        else:
            await asyncio.sleep(0)

    async def _drain(self) -> None:
        self._is_full = False
        await self._stream.drain()

    def end(self, size: int) -> None:
        """Write the end of the stream, behind the `size` bytes that are left of this turn.

        Raises: ClientDisconnected.
        """
        self._write(size if self.joined else 0, LAST_CHUNK if self._is_chunked else b"")

    def close(self) -> None:
        """Write what was made before a fault. Raises nothing."""
        if self.joined:
            self._write_due()

    def _write_due(self) -> None:
        self._is_due = False
        if self.joined:
            try:
                self._write(sum(map(len, self.joined)), b"")
            except ClientDisconnected:
                self._is_full = True  # the next piece will meet it

    def _write(self, size: int, end: bytes) -> None:
        """Write what is joined, `size` bytes, and the end."""
        joined, start = self.joined, self._head
        self._head = b""
        if self._is_chunked and size:
            start += b"%x\r\n" % size
            end = b"\r\n" + end
        data = b"".join((start, *joined, end))
        joined.clear()
        if data:
            self._is_full = self._stream.write(data)
