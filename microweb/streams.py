"""The answer that is sent as its pieces come: in chunks, by length, or up to the close.

Its head goes out with the first piece, so that a stream that fails at once is a 500 like any other
fault; later the connection is cut, so that a part is never taken for the whole.

RFC 9112 sections 6 and 7.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing, suppress
from functools import partial

from .errors import ClientDisconnected, LocalProtocolError
from .framing import CLOSE, LAST_CHUNK, encode_chunk
from .grammar import CONTENT_LENGTH
from .headers import MutableHeaders
from .heads import HeadCache
from .request import Request
from .response import OCTETS, TEXT, WITHOUT_CONTENT, ByteStream, Fields, Piece, Response
from .threads import iterate_in_thread, run_in_thread

_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_HEAD_WAIT_S = 0.5  # for a stream's first piece, or its fault: a query that fails takes less


class StreamResponse(Response):
    """An answer that is sent as its pieces come."""

    __slots__ = ("_pieces",)

    def __init__(
        self,
        pieces: AsyncIterable[Piece] | Iterable[Piece],
        status: int = 200,
        headers: Fields | None = None,
        *,
        content_type: str | None = None,
    ) -> None:
        if isinstance(pieces, (str, bytes)):
            raise TypeError("expected an iterable of pieces, got one piece: return it by itself")
        super().__init__(b"", status, headers, content_type=content_type)
        self._pieces = pieces

    @property
    def body(self) -> bytes:
        """Raises LocalProtocolError: a stream has no whole body."""
        raise LocalProtocolError("a stream has no whole body: see `pieces`")

    @body.setter
    def body(self, body: bytes) -> None:
        raise LocalProtocolError("a stream has no whole body: see `pieces`")

    @property
    def pieces(self) -> AsyncIterable[Piece]:
        """The pieces, for middleware that changes them."""
        pieces = self._pieces
        if isinstance(pieces, AsyncIterable):
            return pieces
        return iterate_in_thread("a streamed answer", pieces)

    @pieces.setter
    def pieces(self, pieces: AsyncIterable[Piece] | Iterable[Piece]) -> None:
        self._touch()
        self._pieces = pieces

    def persistence(self, request: Request, connection: bytes) -> bytes:
        ends_by_close = request.section.minor_version == 0 and "content-length" not in self.headers
        return super().persistence(request, CLOSE if ends_by_close else connection)

    def encode(self, request: Request, heads: HeadCache, connection: bytes) -> bytes | None:
        return None

    async def send_to(
        self, stream: ByteStream, request: Request, heads: HeadCache, connection: bytes
    ) -> None:
        """Write the pieces. Raises: LocalProtocolError where a declared length is wrong."""
        length = self.headers.get("content-length")
        framing = self._framing(request, length)
        is_chunked = framing is _CHUNKED
        encode_head = partial(self._encode_head, request, heads, connection, framing)
        if request.line.method == "HEAD" or self._status in WITHOUT_CONTENT:
            await self._discard()
            stream.write(encode_head())
            return
        head = _StreamHead(stream, self.headers, encode_head)
        try:
            await self._send_pieces(stream, head, length, is_chunked)
        finally:
            head.cancel()
        end = LAST_CHUNK if is_chunked else b""
        end = end if head.is_out else head.take(None) + end
        if end:
            stream.write(end)

    async def _send_pieces(
        self, stream: ByteStream, head: _StreamHead, length: str | None, is_chunked: bool
    ) -> None:
        sent = 0
        async with aclosing(_closable(self.pieces)) as pieces:
            async for piece in pieces:
                data = piece.encode() if isinstance(piece, str) else piece
                sent += len(data)
                if length is not None and sent > int(length):
                    raise LocalProtocolError(f"a stream longer than its Content-Length {length}")
                data = encode_chunk(data) if is_chunked else data
                data = data if head.is_out else head.take(piece) + data
                if data and stream.write(data):
                    await stream.drain()
        if length is not None and sent != int(length):
            raise LocalProtocolError(f"a stream of {sent} bytes with Content-Length {length}")

    def _framing(self, request: Request, length: str | None) -> bytes:
        """Return the field line that says where the content ends, where no other line does."""
        status = self._status
        if length is not None:
            is_right = CONTENT_LENGTH.fullmatch(length) and (status != 205 or int(length) == 0)
            if status == 204 or not is_right:
                raise LocalProtocolError(f"Content-Length {length[:80]!r} on a {status}")
            return b""
        if status == 205:
            return b"Content-Length: 0\r\n"
        if status in WITHOUT_CONTENT or request.section.minor_version == 0:
            return b""
        return _CHUNKED

    async def _discard(self) -> None:
        """Close the pieces without having started them."""
        pieces = self._pieces
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()
        elif (close := getattr(pieces, "close", None)) is not None:  # a file, a generator
            await run_in_thread("a streamed answer", close)


class _StreamHead:
    """A stream's head: goes out with the first piece, or by itself where that is late.

    A stream that fails before is so a 500, and one whose content type is not given has that of its
    first piece, however late. An event stream's client waits for the head alone.
    """

    def __init__(
        self, stream: ByteStream, headers: MutableHeaders, encode: Callable[[], bytes]
    ) -> None:
        self._stream = stream
        self._headers = headers
        self._encode = encode
        self._head: bytes | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.is_out = False
        content_type = headers.get("content-type")
        if content_type is None:
            return
        self._head = encode()
        if content_type.startswith("text/event-stream"):
            self._write()
        else:
            self._timer = asyncio.get_running_loop().call_later(_HEAD_WAIT_S, self._write_late)

    def take(self, piece: Piece | None) -> bytes:
        """Return the head, to be sent with its first piece, or without one."""
        self.is_out = True
        self.cancel()
        if self._head is None:
            if piece is not None:  # what makes the pieces may have said what they are
                content_type = TEXT if isinstance(piece, str) else OCTETS
                self._headers.setdefault("Content-Type", content_type)
            self._head = self._encode()
        return self._head

    def cancel(self) -> None:
        """Wait no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _write(self) -> None:
        self._stream.write(self.take(None))

    def _write_late(self) -> None:
        with suppress(ClientDisconnected):  # which the first piece meets as well
            self._write()


async def _closable(pieces: AsyncIterable[Piece]) -> AsyncGenerator[Piece, None]:
    if isinstance(pieces, AsyncGenerator):
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece
    else:
        async for piece in pieces:
            yield piece
