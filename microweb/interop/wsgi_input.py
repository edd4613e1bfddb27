"""`wsgi.input`: the body of a request as a binary file that a thread reads.

The first part is read on the event loop, before a thread is taken. If the body is complete by then,
which most are, the file is in memory. Else a read of the thread waits for the client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
from io import BufferedReader, BytesIO, RawIOBase
from typing import Any

from ..concurrency.threads import from_thread
from ..errors import MicrowebError
from ..request import Request

AHEAD_BYTES = 1024 * 1024  # of a body, read before a thread is taken
_BUFFERED_BYTES = 64 * 1024


async def read_ahead(request: Request) -> Input:
    """Read up to 1 MiB of a body, and return all of it as a file. Raises: as `request.body()`.

    A body that waits for a 100 Continue is not read. The first read of the application asks for it,
    so an application can refuse an upload before it is sent.
    """
    if request.source is None:
        return Input(None, b"", is_whole=True)
    pieces: list[bytes] = []
    size, stream = 0, request.stream()
    if not (request.section.expects_continue and request.waits_for_body):
        async for piece in stream:
            pieces.append(piece)
            size += len(piece)
            if size >= AHEAD_BYTES:
                break
            request.source.keep(size)
        else:
            return Input(None, b"".join(pieces), is_whole=True)
    return Input(stream, b"".join(pieces), is_whole=False)


class Input:
    """The body of a request for an application.

    `stream` is the file, and `length` the size of the body if it is known to be complete.
    """

    __slots__ = ("_rest", "length", "stream")

    def __init__(self, rest: AsyncIterator[bytes] | None, begun: bytes, *, is_whole: bool) -> None:
        self.stream: BytesIO | BufferedReader
        self.length = len(begun) if is_whole else None
        self._rest: _Rest | None = None
        if rest is None:
            self.stream = BytesIO(begun)
        else:
            self._rest = _Rest(rest, begun)
            self.stream = BufferedReader(self._rest, _BUFFERED_BYTES)

    @property
    def waits_for_peer(self) -> bool:
        """Whether a read may have to wait for the client."""
        return self._rest is not None

    def check(self) -> None:
        """Raise the error of the body, if a read has failed: it decides the answer."""
        if self._rest is not None and self._rest.error is not None:
            raise self._rest.error


class _Rest(RawIOBase):
    """A body that is not complete. A thread reads it, and waits for each piece.

    Raises: OSError if the client fails, or the body is larger than its limit: the exception that
    frameworks expect of a file.
    """

    def __init__(self, pieces: AsyncIterator[bytes], begun: bytes) -> None:
        self._pieces = pieces
        self._piece = memoryview(begun)
        self.error: MicrowebError | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` with the next bytes; return how many, 0 at the end."""
        if not self._piece:
            self._piece = memoryview(self._next_piece())
        target = memoryview(buffer)
        count = min(len(target), len(self._piece))
        target[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def _next_piece(self) -> bytes:
        try:
            return from_thread(self._take())
        except MicrowebError as error:
            self.error = error
            raise OSError(f"the body of the request can't be read: {error}") from error
        except CancelledError as error:  # the event loop has ended
            raise OSError("the server has stopped") from error

    async def _take(self) -> bytes:
        """Return the next piece, `b""` at the end. This runs on the event loop."""
        return await anext(self._pieces, b"")
