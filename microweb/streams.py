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
_JOINED_BYTES = 64 * 1024
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
        outlet = _Outlet(stream, _StreamHead(stream, self.headers, encode_head), is_chunked)
        try:
            await self._send_pieces(outlet, length)
            outlet.end()
        finally:
            outlet.close()

    async def _send_pieces(self, outlet: _Outlet, length: str | None) -> None:
        sent = 0
        pieces = self.pieces
        if not isinstance(pieces, AsyncGenerator):
            pieces = _closable(pieces)
        async with aclosing(pieces):
            async for piece in pieces:
                data = _to_bytes(piece)
                sent += len(data)
                if length is not None and sent > int(length):
                    raise LocalProtocolError(f"a stream longer than its Content-Length {length}")
                if outlet.put(data, piece):
                    await outlet.rest()
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


class _Outlet:
    """Where a stream's pieces leave: those of one turn of the loop by one write.

    So what is made without a wait in between is joined, and is on its way by the time that
    something is waited for. 100 pieces of 1 KiB cost a quarter of what as many writes do.
    """

    __slots__ = (
        "_call_soon",
        "_head",
        "_is_chunked",
        "_is_due",
        "_is_full",
        "_joined",
        "_parts",
        "_stream",
    )

    def __init__(self, stream: ByteStream, head: _StreamHead, is_chunked: bool) -> None:
        self._stream = stream
        self._head = head
        self._is_chunked = is_chunked
        self._call_soon = asyncio.get_running_loop().call_soon
        self._is_due = False  # at the end of this turn
        self._is_full = False  # the connection holds more than the peer takes
        self._parts: list[bytes] = []
        self._joined = 0  # bytes of content in them

    def put(self, data: bytes, piece: Piece) -> bool:
        """Take a piece, as bytes and as it was; return whether to `rest()` before the next.

        Raises: ClientDisconnected.
        """
        parts = self._parts
        if not self._head.is_out:
            parts.append(self._head.take(piece))
        if data:
            parts.append(encode_chunk(data) if self._is_chunked else data)
            self._joined += len(data)
        if self._joined >= _JOINED_BYTES:
            self._write()
            return True
        if not self._is_due and parts:
            self._is_due = True
            self._call_soon(self._write_due)
        return self._is_full

    async def rest(self) -> None:
        """Let others run, and the peer read. Raises: ClientDisconnected."""
        if self._is_full:
            self._is_full = False
            await self._stream.drain()
        else:
            await asyncio.sleep(0)

    def end(self) -> None:
        """Write what is left, and the end of the stream. Raises: ClientDisconnected."""
        if not self._head.is_out:
            self._parts.append(self._head.take(None))
        if self._is_chunked:
            self._parts.append(LAST_CHUNK)
        self._write()

    def close(self) -> None:
        """Write what was made before a fault. Raises nothing."""
        self._head.cancel()
        self._write_due()

    def _write_due(self) -> None:
        self._is_due = False
        try:
            self._write()
        except ClientDisconnected:
            self._is_full = True  # the next piece will meet it

    def _write(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            self._joined = 0
            self._is_full = self._stream.write(data)


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


def _to_bytes(piece: Piece) -> bytes:
    if isinstance(piece, str):
        return piece.encode()
    # A buffer may be filled again before it is sent.
    return piece if type(piece) is bytes else memoryview(piece).tobytes()


async def _closable(pieces: AsyncIterable[Piece]) -> AsyncGenerator[Piece, None]:
    async for piece in pieces:
        yield piece
