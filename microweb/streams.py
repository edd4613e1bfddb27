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

from .bytestream import ByteStream
from .charsets import encode_utf8
from .errors import ClientDisconnected, LocalProtocolError
from .framing import CLOSE, LAST_CHUNK
from .grammar import CONTENT_LENGTH
from .headers import MutableHeaders
from .heads import HeadCache
from .request import Request
from .response import OCTETS, TEXT, WITHOUT_CONTENT, Fields, Piece, Response
from .threads import iterate_in_thread, run_in_thread

_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_JOINED_BYTES = 64 * 1024
_HEAD_WAIT_S = 0.5  # for a stream's first piece, or its fault: a query that fails takes less


class StreamResponse(Response):
    """An answer that is sent as its pieces come. It answers one request: the pieces come once."""

    __slots__ = ("_exchange", "_pieces")

    needs_prepare = True

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
        self._exchange: Request | None = None  # the request that it answers

    async def prepare(self, request: Request) -> Response:
        self._claim(request)
        return self

    def hand_on(self) -> Response:
        """Return itself: the pieces can't be had twice."""
        return self

    def _claim(self, request: Request) -> None:
        """Answer this request. Raises: LocalProtocolError if it has answered another."""
        if self._is_used or self._exchange not in (None, request):
            raise LocalProtocolError(
                f"this {type(self).__name__} was sent, or is in use for another request, and can "
                "be sent once: make a new one for each request, inside the endpoint"
            )
        self._exchange = request

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
        ends_by_close = (
            request.section.minor_version == 0 and "content-length" not in self.headers.lines
        )
        return super().persistence(request, CLOSE if ends_by_close else connection)

    def encode(self, request: Request, heads: HeadCache, connection: bytes) -> bytes | None:
        return None

    async def send_to(
        self, stream: ByteStream, request: Request, heads: HeadCache, connection: bytes
    ) -> None:
        """Write the pieces. Raises: LocalProtocolError where a declared length is wrong."""
        self._claim(request)
        fields = self.headers.lines  # looked into as they are: `get` costs a microsecond each
        length = self.headers["content-length"] if "content-length" in fields else None
        framing = self._framing(request, length)
        is_chunked = framing is _CHUNKED
        encode_head = partial(self._encode_head, request, heads, connection, framing)
        if request.line.method == "HEAD" or self._status in WITHOUT_CONTENT:
            await self._discard()
            stream.write(encode_head())
            return
        pieces = self.pieces if length is None else _of_length(self.pieces, int(length))
        outlet = _Outlet(stream, _StreamHead(stream, self.headers, encode_head), is_chunked)
        try:
            outlet.end(await _send_pieces(pieces, outlet))
        finally:
            outlet.close()

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
    """Where a stream's pieces leave: those of one turn of the loop by one write, as one chunk.

    So what is made without a wait in between is joined, and is on its way by the time that
    something is waited for. 100 pieces of 1 KiB cost a fifth of what they did by a write each.
    """

    __slots__ = ("_head", "_is_chunked", "_is_due", "_is_full", "_stream", "joined")

    def __init__(self, stream: ByteStream, head: _StreamHead, is_chunked: bool) -> None:
        self.joined: list[bytes] = []  # the same list always: empty where a turn begins
        self._stream = stream
        self._head = head
        self._is_chunked = is_chunked
        self._is_full = False  # the connection holds more than the peer takes
        self._is_due = True  # to be written at the end of this turn
        asyncio.get_running_loop().call_soon(self._write_due)

    async def begin(self, piece: Piece) -> None:
        """Take note of a turn's first piece. Raises: ClientDisconnected."""
        if self._is_full:
            await self._drain()
        self._head.decide(piece)
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
        """Write what is left, and the end of the stream. Raises: ClientDisconnected."""
        self._write(size, LAST_CHUNK if self._is_chunked else b"")

    def close(self) -> None:
        """Write what was made before a fault. Raises nothing."""
        if self.joined:
            self._write_due()
        self._head.close()

    def _write_due(self) -> None:
        self._is_due = False
        if not self.joined:
            self._head.wait()
            return
        try:
            self._write(sum(map(len, self.joined)), b"")
        except ClientDisconnected:
            self._is_full = True  # the next piece will meet it

    def _write(self, size: int, end: bytes) -> None:
        """Write what is joined, `size` bytes, and the end."""
        joined, start = self.joined, self._head.take()
        if self._is_chunked and size:
            start += b"%x\r\n" % size
            end = b"\r\n" + end
        data = b"".join((start, *joined, end))
        joined.clear()
        if data:
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
        content_type = headers.lines.get("content-type")
        if content_type is None:
            return
        self._head = encode()
        if "text/event-stream" in content_type:
            self._write()

    def wait(self) -> None:
        """Take note that the first piece is not there yet: a timer for each head costs 2 us."""
        if self._head is not None and not self.is_out and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_HEAD_WAIT_S, self._write_late)

    def decide(self, piece: Piece) -> None:
        """Have the first piece say what the pieces are, where nobody has."""
        if self._head is None and not self.is_out:  # what makes them may have said it by now
            content_type = TEXT if isinstance(piece, str) else OCTETS
            self._headers.setdefault("Content-Type", content_type)

    def take(self) -> bytes:
        """Return the head, to be sent with what comes first; later nothing."""
        if self.is_out:
            return b""
        self.close()
        return self._encode() if self._head is None else self._head

    def close(self) -> None:
        """Wait no more."""
        self.is_out = True
        if self._timer is not None:
            self._timer.cancel()

    def _write(self) -> None:
        self._stream.write(self.take())

    def _write_late(self) -> None:
        with suppress(ClientDisconnected):  # which the first piece meets as well
            self._write()


async def _send_pieces(pieces: AsyncIterable[Piece], outlet: _Outlet) -> int:
    """Hand the pieces to the outlet; return how many bytes it still has.

    What is done here for each piece is most of what it costs.
    """
    joined, room = outlet.joined, 0
    if not isinstance(pieces, AsyncGenerator):
        pieces = _closable(pieces)
    async with aclosing(pieces):
        async for piece in pieces:
            if not joined:
                await outlet.begin(piece)
                room = _JOINED_BYTES
            data = piece if type(piece) is bytes else _to_bytes(piece)
            joined.append(data)
            room -= len(data)
            if room <= 0:
                await outlet.write(_JOINED_BYTES - room)
    return _JOINED_BYTES - room if joined else 0


async def _of_length(pieces: AsyncIterable[Piece], length: int) -> AsyncGenerator[Piece, None]:
    """Yield the pieces. Raises: LocalProtocolError where they are not of that length in all."""
    sent = 0
    async with aclosing(_closable(pieces)) as pieces:
        async for piece in pieces:
            sent += len(_to_bytes(piece))
            if sent > length:
                raise LocalProtocolError(f"a stream longer than its Content-Length {length}")
            yield piece
    if sent != length:
        raise LocalProtocolError(f"a stream of {sent} bytes with Content-Length {length}")


def _to_bytes(piece: Piece) -> bytes:
    if isinstance(piece, str):
        return encode_utf8(piece)
    if type(piece) is bytes:
        return piece
    try:
        return memoryview(piece).tobytes()  # a buffer may be filled again before it is sent
    except TypeError:
        kind = type(piece).__name__
        raise TypeError(f"a stream yielded {kind}: expected str or bytes as its pieces") from None


async def _closable(pieces: AsyncIterable[Piece]) -> AsyncGenerator[Piece, None]:
    if isinstance(pieces, AsyncGenerator):
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece
    else:
        async for piece in pieces:
            yield piece
