"""The pieces of an ASGI answer, on their way from the task of the application to the connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

_WAITING_BYTES = 64 * 1024  # then the application waits until the client has taken some
# Of an answer without content. Nothing slows an application there, so an endless stream for a HEAD
# request would run forever.
_UNREAD_PIECES = 1000


class AnswerPieces(AsyncIterator[bytes]):
    """The pieces that an application sends, for the answer to iterate.

    `put` waits while much is buffered. After `aclose`, it raises OSError. If `is_unread`, it
    drops the first 1000 pieces, and then raises OSError.
    """

    def __init__(self, *, is_unread: bool = False) -> None:
        self.is_unread = is_unread  # HEAD, 304: the answer has no content
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._unread = 0
        self._error: BaseException | None = None
        self._is_complete = False
        self.is_closed = False  # by the connection: the client has left, or needs no content
        self._waiting: list[asyncio.Future[None]] = []  # of each task that waits for a change

    # --- the application's side

    async def put(self, piece: bytes) -> None:
        """Add a piece; wait while 64 KiB are buffered. Raises: OSError if the client has left."""
        if self.is_unread:
            self._unread += 1
            if self._unread > _UNREAD_PIECES:
                raise gone()
            return
        if self.is_closed:
            raise gone()
        if piece:
            self._pieces.append(piece)
            self._size += len(piece)
            self._wake()
        while self._size >= _WAITING_BYTES and not self.is_closed:
            await self._wait()
        if self.is_closed:
            raise gone()

    def end(self, error: BaseException | None = None) -> None:
        """End the pieces; with `error`, the answer is cut."""
        self._is_complete = True
        self._error = None if self.is_closed else error  # it may refer to this object
        self._wake()

    # --- the answer's side

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._is_complete:
                raise StopAsyncIteration
            await self._wait()
        piece = self._pieces.popleft()
        was_full = self._size >= _WAITING_BYTES
        self._size -= len(piece)
        if was_full:
            self._wake()
        return piece

    async def aclose(self) -> None:
        """Drop the pieces: no more are taken."""
        self.is_closed = True
        self._pieces.clear()
        self._size = 0
        self._wake()

    # --- both

    async def _wait(self) -> None:
        """Wait for the other side. Several tasks may send, and one of them may be cancelled."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def _wake(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)


def gone() -> OSError:
    """Return the error of `send` after the client has left, as ASGI 2.4 asks for."""
    return ConnectionResetError("the client has left: stop sending")
