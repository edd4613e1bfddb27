"""The pieces of a stream: from any source to one iterator, and each piece to bytes.

An asynchronous source is iterated on the event loop, a plain one in a thread.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing
from types import AsyncGeneratorType
from typing import Final

from ..concurrency.begun import Begun
from ..concurrency.threads import iterate_in_thread
from ..errors import LocalProtocolError
from ..http.charsets import encode_utf8
from ..http.interfaces import Piece

Pieces = AsyncIterable[Piece] | Iterable[Piece]
Source = Pieces | AbstractAsyncContextManager[Pieces] | AbstractContextManager[Pieces]

_SOURCES = (AsyncIterable, Iterable, AbstractAsyncContextManager, AbstractContextManager)
SURE_SOURCES = (AsyncGeneratorType, tuple)  # to ask the classes above takes a microsecond
LABEL = "a streamed answer"


class End:
    """Stands for the end of the pieces."""


END: Final = End()


def check_source(pieces: object) -> None:
    """Raise TypeError for an object that gives no pieces."""
    if isinstance(pieces, (str, bytes, bytearray, memoryview)):
        raise TypeError("expected an iterable of pieces, got one piece: return it by itself")
    if not isinstance(pieces, _SOURCES):
        raise TypeError(f"expected an iterable of pieces, got {type(pieces).__name__}")


def iterate(pieces: Pieces) -> AsyncIterator[Piece]:
    """Return the one iterator of the pieces: to ask for another may begin them anew."""
    if isinstance(pieces, AsyncGeneratorType):
        return pieces
    return _each(pieces) if isinstance(pieces, AsyncIterable) else iterate_in_thread(LABEL, pieces)


async def _each(pieces: AsyncIterable[Piece]) -> AsyncGenerator[Piece, None]:
    async for piece in pieces:
        yield piece


async def take_next(iterator: AsyncIterator[Piece]) -> Piece | End:
    """Return the next piece, or END behind the last one."""
    async for piece in iterator:
        return piece
    return END


async def resumed(
    first: Begun[Piece | End] | None, iterator: AsyncIterator[Piece]
) -> AsyncGenerator[Piece, None]:
    """Yield the first piece, which was taken or waited for already, and then the others."""
    if first is not None:
        piece = await first.finish()
        if isinstance(piece, End):
            return
        yield piece
    async for piece in iterator:
        yield piece


async def of_length(
    pieces: AsyncGenerator[Piece, None], length: int
) -> AsyncGenerator[Piece, None]:
    """Yield the pieces. Raises: LocalProtocolError where they are not of that length in all."""
    sent = 0
    async with aclosing(pieces):
        async for piece in pieces:
            sent += len(to_bytes(piece))
            if sent > length:
                raise LocalProtocolError(f"a stream longer than its Content-Length {length}")
            yield piece
    if sent != length:
        raise LocalProtocolError(f"a stream of {sent} bytes with Content-Length {length}")


def to_bytes(piece: Piece) -> bytes:
    """Return a piece as bytes, text in UTF-8. Raises: TypeError for any other type."""
    if isinstance(piece, str):
        return encode_utf8(piece)
    if type(piece) is bytes:
        return piece
    try:
        return memoryview(piece).tobytes()  # a buffer may be filled again before it is sent
    except TypeError:
        kind = type(piece).__name__
        raise TypeError(f"a stream yielded {kind}: expected str or bytes as its pieces") from None
