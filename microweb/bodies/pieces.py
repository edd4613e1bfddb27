"""Convert any source of a stream to one asynchronous iterator, and each piece to bytes.

An asynchronous source is iterated on the event loop, a synchronous one in a thread.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing
from types import AsyncGeneratorType
from typing import Final

from ..concurrency.begun import Begun
from ..concurrency.iterated import iterate_in_thread
from ..errors import LocalProtocolError
from ..http.charsets import encode_utf8
from ..http.interfaces import Piece
from ..remedies import call_it

Pieces = AsyncIterable[Piece] | Iterable[Piece]
Source = Pieces | AbstractAsyncContextManager[Pieces] | AbstractContextManager[Pieces]

_SOURCES = (AsyncIterable, Iterable, AbstractAsyncContextManager, AbstractContextManager)
SURE_SOURCES = (AsyncGeneratorType, tuple)  # `isinstance` on the classes above takes 1 us
LABEL = "a streamed answer"


class End:
    """The type of `END`."""


END: Final = End()


def check_source(pieces: object) -> None:
    """Raise TypeError if `pieces` is not a source of pieces."""
    if isinstance(pieces, (str, bytes, bytearray, memoryview)):
        kind = type(pieces).__name__
        raise TypeError(
            f"expected an iterable of pieces, got {kind}: send a whole body by Response(body)"
        )
    if not isinstance(pieces, _SOURCES):
        text = f"expected an iterable of pieces, got {type(pieces).__name__}"
        raise TypeError(f"{text}{call_it(pieces)}")


def iterate(pieces: Pieces) -> AsyncIterator[Piece]:
    """Return an iterator of the pieces. Call it once: a second iterator may start again."""
    if type(pieces) is AsyncGeneratorType:
        return pieces
    return _each(pieces) if isinstance(pieces, AsyncIterable) else iterate_in_thread(LABEL, pieces)


async def _each(pieces: AsyncIterable[Piece]) -> AsyncGenerator[Piece, None]:
    iterator = aiter(pieces)
    try:
        async for piece in iterator:
            yield piece
    finally:
        await close_made(iterator, pieces)


async def close_made(iterator: AsyncIterator[object], source: object) -> None:
    """Close an async generator that the `__aiter__` of `source` has made.

    Otherwise the event loop would close it, in a task of its own.
    """
    if iterator is not source and isinstance(iterator, AsyncGeneratorType):
        await iterator.aclose()


async def take_next(iterator: AsyncIterator[Piece]) -> Piece | End:
    """Return the next piece, or END after the last one."""
    async for piece in iterator:
        return piece
    return END


async def resumed(
    first: Begun[Piece | End] | None, iterator: AsyncIterator[Piece]
) -> AsyncGenerator[Piece, None]:
    """Yield the first piece, which `first` has already begun to take, and then the others."""
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
    """Yield the pieces. Raises: LocalProtocolError if their total is not `length` bytes."""
    sent = 0
    async with aclosing(pieces):
        async for piece in pieces:
            sent += len(to_bytes(piece))
            if sent > length:
                raise LocalProtocolError(
                    f"expected a stream of {length} bytes, as its Content-Length says, got more"
                )
            yield piece
    if sent != length:
        raise LocalProtocolError(
            f"expected a stream of {length} bytes, as its Content-Length says, got {sent}"
        )


def to_bytes(piece: Piece) -> bytes:
    """Return a piece as bytes; encode text as UTF-8. Raises: TypeError for any other type."""
    if isinstance(piece, str):
        return encode_utf8(piece)
    if type(piece) is bytes:
        return piece
    try:
        return memoryview(piece).tobytes()  # the generator may reuse its buffer before the write
    except TypeError:
        kind = type(piece).__name__
        raise TypeError(f"expected str or bytes as a piece of a stream, got {kind}") from None
