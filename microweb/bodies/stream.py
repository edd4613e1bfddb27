"""A body that is sent piece by piece: in chunks, with a Content-Length, or until the close.

The first piece is taken before the head is sent, inside the middleware stack. So a generator that
fails immediately causes an ordinary error response. If the first piece takes longer than half a
second, the head is sent before it. If the generator fails after the head was sent, the connection
is aborted, because a client must not take a cut answer for a whole one.

A stream closes its generator, context manager or file on the task of its connection: after the last
piece, when the stream fails, when its client disconnects, and when the body is not sent (HEAD, 304,
replaced by middleware).

RFC 9112 sections 6 and 7.1.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from types import AsyncGeneratorType
from typing import cast

from ..concurrency.begun import Begun
from ..concurrency.threads import run_in_thread
from ..errors import LocalProtocolError
from ..http.bytestream import ResponseStream
from ..http.exchange import Exchange
from ..http.framing import LAST_CHUNK
from ..http.grammar import CONTENT_LENGTH
from ..http.headers import MutableHeaders, refuse_touch
from ..http.interfaces import Piece
from ..http.mediatypes import OCTETS, TEXT
from ..http.response_head import WITHOUT_CONTENT
from ..http.trailers import Trailers, announce, refuse_length
from .body import Body, EncodeHead, Head, Leave, RequestInfo, WrittenBody
from .closing import Opened, close_opened, has_ended, leave_both, leaving_in_thread
from .outlet import JOINED_BYTES, MANY_SMALL, SMALL_BYTES, Outlet
from .pieces import (
    LABEL,
    SURE_SOURCES,
    End,
    Pieces,
    Source,
    check_source,
    iterate,
    of_length,
    resumed,
    take_next,
    to_bytes,
)

_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_HEAD_WAIT_S = 0.5  # for the first piece, or an error in its place: a query that fails takes less


class StreamBody(WrittenBody):
    """A body that is sent piece by piece. It answers one request, because it is iterated once.

    Raises: TypeError if `pieces` is not a source of pieces.
    """

    __slots__ = (
        "_first",
        "_is_entered",
        "_is_late",
        "_is_used",
        "_iterator",
        "_leave",
        "_open",
        "_pieces",
        "_request",
        "_trailers",
    )

    is_compressible = True
    has_own_conditions = False

    def __init__(self, pieces: Source) -> None:
        if type(pieces) not in SURE_SOURCES:
            check_source(pieces)
        self._pieces = pieces
        self._request: RequestInfo | None = None  # the request that it answers
        self._is_used = False  # it was sent, or closed
        self._is_entered = False  # `_pieces` is no longer a context manager
        self._leave: Leave | None = None  # `__aexit__` of the context manager
        self._open: list[Opened] = []  # to close, in reverse order
        self._iterator: AsyncIterator[Piece] | None = None  # of the pieces, after it was begun
        self._first: Begun[Piece | End] | None = None  # the first piece, taken or waited for
        self._is_late = False  # the head is sent before the first piece
        self._trailers: Trailers | None = None  # made at the first use

    # --- the pieces

    @property
    def pieces(self) -> AsyncIterable[Piece]:
        """The pieces, for middleware that changes them. The response closes their source."""
        if self._iterator is not None:
            return self._rest(resumed(self._first, self._iterator))
        return self._opened(self._pieces)

    async def _rest(self, pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece, None]:
        """Yield `pieces`, which `discard` would end early without an error."""
        async for piece in pieces:
            yield piece
        if self._is_used:
            raise LocalProtocolError(
                "expected the response of these pieces, got another one, so its pieces were "
                "closed: set response.pieces in place of a new Response"
            )

    def replace(self, pieces: Pieces, headers: MutableHeaders) -> None:
        """Send `pieces` in place of the present ones. Raises: LocalProtocolError after `send`."""
        if self._is_used:
            refuse_touch()
        self._is_entered = True  # the new pieces are no context manager
        if self._iterator is None:
            self._open.append((None, None, self._pieces))
        self._pieces = pieces
        self._iterator = self._first = None

    @property
    def trailers(self) -> Trailers | None:
        """The fields behind the last chunk, which a generator sets before its end."""
        if self._trailers is None:
            self._trailers = Trailers()
        return self._trailers

    def _last_chunk(self, length: str | None) -> bytes:
        if self._trailers is None:
            return LAST_CHUNK
        if self._trailers and length is not None:
            refuse_length()
        return self._trailers.last_chunk()

    async def _opened(self, source: Source) -> AsyncGenerator[Piece, None]:
        """Yield the pieces of a body that was not prepared for an exchange."""
        async with AsyncExitStack() as resources:
            if isinstance(source, AbstractAsyncContextManager):
                source = await resources.enter_async_context(source)
            pieces = self._as_pieces(cast(Pieces, source))
            iterator = iterate(pieces)
            resources.push_async_callback(close_opened, None, iterator, pieces)
            async for piece in iterator:
                yield piece

    def _as_pieces(self, value: Pieces) -> Pieces:
        """Return the pieces of `value`, which may be the value of a context manager."""
        return value

    def keep_until_end(self, leave: Leave) -> bool:
        """Await `leave` like an `__aexit__` after the source is closed, before the body's end.

        It can't suppress an error. If it raises, the connection is cut.
        """
        self._leave = partial(leave_both, self._leave, leave)
        return True

    # --- inside the middleware

    async def prepare(self, request: RequestInfo, head: Head) -> None:
        """Enter the context manager, if any, and wait for the first piece.

        Raises: every error of the context manager and of the pieces.
        """
        exchange = self._claim(request)
        if self._iterator is not None:
            return
        end_begin, headers = None, head.headers
        try:
            if not self._is_entered:
                self._is_entered = True
                if type(self._pieces) is not AsyncGeneratorType:
                    await self._enter()
                self._pieces = self._as_pieces(self._pieces)  # type: ignore[arg-type]
            if request.line.method != "HEAD" and head.status not in WITHOUT_CONTENT:
                wait_s = self._head_wait_s(headers)
                if wait_s is None:
                    self._is_late = True
                if not self._is_late:
                    end_begin = exchange.begin_stream()
                    _, first = self._begin()
                    if not first.start():  # most sources have a piece at once
                        await first.run_for(wait_s or 0.0)
                    self._set_type(first, headers)
        except BaseException:
            await self.discard()
            raise
        finally:
            if end_begin is not None:
                end_begin()

    def check_unclaimed(self) -> None:
        if self._is_used or self._request is not None:
            raise LocalProtocolError(
                "expected a new stream for each request, got one that was sent or is in use for "
                "another request: make the Response inside the endpoint"
            )

    def _claim(self, request: RequestInfo) -> Exchange:
        """Reserve the body for `request`, and return the exchange of that request.

        Raises: LocalProtocolError if another request has it.
        """
        exchange = request.exchange
        if self._request is not request:
            if self._is_used or self._request is not None:
                self.check_unclaimed()
            self._request = request
            exchange.hold(self)
        return exchange

    def _release(self) -> None:
        """Mark the body as used, and drop the reference to the request."""
        request, self._request = self._request, None
        self._is_used = True
        if request is not None:
            request.exchange.release(self)

    async def _enter(self) -> None:
        """Enter the source if it is a context manager. Its value then gives the pieces."""
        source = self._pieces
        if isinstance(source, AbstractAsyncContextManager):
            self._pieces = await source.__aenter__()
            self._leave = source.__aexit__
        elif not isinstance(source, (AsyncIterable, Iterable)):
            self._pieces = await run_in_thread(LABEL, source.__enter__)
            self._leave = leaving_in_thread(source)

    def _head_wait_s(self, headers: MutableHeaders) -> float | None:
        """Return how many seconds the head waits for the first piece; None: it does not wait."""
        # The client of an event stream waits for the head, and the first event may take hours.
        is_events = "text/event-stream" in headers.lines.get("content-type", "")
        return None if is_events else _HEAD_WAIT_S

    def _set_type(self, first: Begun[Piece | End], headers: MutableHeaders) -> None:
        """Set a Content-Type by the type of the first piece if none is set."""
        content_type = TEXT
        if not first.is_done:
            self._is_late = True
        elif isinstance(piece := first.result, End):
            return
        else:
            content_type = TEXT if isinstance(piece, str) else OCTETS
            if type(piece) is not bytes:
                to_bytes(piece)  # a piece of a wrong type raises here, before the head is sent
        if "content-type" not in headers.lines:
            headers["Content-Type"] = content_type

    def _begin(self) -> tuple[AsyncIterator[Piece], Begun[Piece | End]]:
        pieces: Pieces = self._pieces  # type: ignore[assignment]  # a context manager was entered
        self._iterator = iterator = iterate(pieces)
        self._first = first = Begun(take_next(iterator))
        self._open.append((first, iterator, pieces))
        return iterator, first

    async def discard(self) -> None:
        """Close the source, because the body is not sent."""
        request = self._request
        self._release()
        await self._clean_up(request, sys.exc_info()[1])

    def _has_ended(self) -> bool:
        """Return whether everything that was opened has ended by itself."""
        iterator, opened = self._iterator, self._open
        if self._leave is not None or iterator is None:
            return False
        if type(iterator) is AsyncGeneratorType and iterator is self._pieces and len(opened) == 1:
            return iterator.ag_frame is None  # `has_ended` for each of them costs 2 us
        return all(map(has_ended, opened))

    async def _clean_up(self, request: RequestInfo | None, error: BaseException | None) -> bool:
        """Close everything that was opened; return whether a context manager suppresses `error`.

        A disconnect during this call does not cancel it, so that no resource leaks.
        """
        opened = self._open
        if self._iterator is None:
            opened.append((None, None, self._pieces))
        if self._leave is None and all(map(has_ended, opened)):
            opened.clear()
            return False
        if request is None:
            return await self._close_all(error)
        with request.transport.cleaning_up(request):
            return await self._close_all(error)

    async def _close_all(self, error: BaseException | None) -> bool:
        try:
            while self._open:
                await close_opened(*self._open.pop())
        except BaseException as failure:
            await self._close_all(failure)  # the others
            raise
        leave, self._leave = self._leave, None
        if leave is None:
            return False
        if error is None:
            return bool(await leave(None, None, None))
        return bool(await leave(type(error), error, error.__traceback__))

    # --- how it is sent

    def ends_by_close(self, minor_version: int, headers: MutableHeaders) -> bool:
        return minor_version == 0 and "content-length" not in headers.lines

    async def send(
        self,
        stream: ResponseStream,
        request: RequestInfo,
        head: Head,
        encode_head: EncodeHead,
    ) -> None:
        """Write the head and the pieces. Raises: LocalProtocolError for a wrong Content-Length."""
        if self._request is not request or self._iterator is None:
            await self.prepare(request, head)
        encoded, outlet, size, status = b"", None, 0, head.status
        try:
            try:
                headers = head.headers
                lines = headers.lines  # read directly, because `headers.get` costs 1 us
                length = headers["content-length"] if "content-length" in lines else None
                framing = _CHUNKED
                takes_chunks = request.section.takes_chunks
                if status != 200 or length is not None or not takes_chunks:
                    framing = _framing(status, length, takes_chunks=takes_chunks)
                if self._trailers is not None or "trailer" in lines:
                    announce(headers, self._trailers, is_chunked=framing is _CHUNKED)
                encoded = encode_head(framing)
                if request.line.method != "HEAD" and status not in WITHOUT_CONTENT:
                    outlet = Outlet(stream, encoded, is_chunked=framing is _CHUNKED)
                    size = await outlet.run(self._send_pieces(outlet, length))
            except BaseException as error:
                if outlet is not None:
                    outlet.close()
                if not await self._clean_up(request, error) or not encoded:
                    raise  # an error of the head is never suppressed: no head was written
            else:
                if not self._has_ended():
                    cleaning = self._clean_up(request, None)
                    await (cleaning if outlet is None else outlet.run(cleaning))
            if outlet is None:
                stream.write(encoded)
            else:
                outlet.end(size, self._last_chunk(length))
        finally:
            self._release()

    async def _send_pieces(self, outlet: Outlet, length: str | None) -> int:
        """Pass the pieces to the outlet; return how many bytes of the last turn are unwritten.

        This loop is most of the cost of a piece.
        """
        if self._is_late:
            outlet.write_head()
        if self._iterator is None or self._first is None:
            iterator, first = self._begin()
            await first.run_for(0.0)
        else:
            iterator, first = self._iterator, self._first
        if length is not None:
            iterator = of_length(resumed(first, iterator), int(length))
            piece = await take_next(iterator)
        else:
            piece = first.result if first.is_done else await first.finish()
        if isinstance(piece, End):
            return 0
        joined = outlet.joined
        if outlet.is_full:
            await outlet.drain()
        joined.append(piece if type(piece) is bytes else to_bytes(piece))
        room = JOINED_BYTES - len(joined[0])
        if room <= 0:
            await outlet.write(JOINED_BYTES - room)
        async for piece in iterator:
            if not joined:
                if outlet.is_full:
                    await outlet.drain()
                room = JOINED_BYTES
            if type(piece) is not bytes:
                piece = to_bytes(piece)
            joined.append(piece)
            if len(piece) > SMALL_BYTES:
                room -= len(piece)
                if room <= 0:
                    await outlet.write(sum(map(len, joined)))
            elif len(joined) >= MANY_SMALL:
                await outlet.compact()
        return sum(map(len, joined))


def stream_of(source: Body | None, owner: object) -> StreamBody:
    """Return `source` if it is a stream. Raises: AttributeError, for the object `owner`."""
    if not isinstance(source, StreamBody):
        raise AttributeError(
            "this response has no pieces, because it is not a stream: use response.body",
            name="pieces",
            obj=owner,
        )
    return source


def check_whole(source: Body | None) -> None:
    """Raise LocalProtocolError if `source` is a stream."""
    if isinstance(source, StreamBody):
        raise LocalProtocolError("a stream has no whole body: use response.pieces")


def _framing(status: int, length: str | None, *, takes_chunks: bool) -> bytes:
    """Return the field line that frames the content, or nothing if `length` does already."""
    if length is not None:
        is_right = CONTENT_LENGTH.fullmatch(length) and (status != 205 or int(length) == 0)
        if status == 204 or not is_right:
            rules = {204: "no Content-Length", 205: "Content-Length 0"}
            expected = rules.get(status, "1*DIGIT as Content-Length")
            raise LocalProtocolError(f"expected {expected} on a {status}, got {length[:80]!r}")
        return b""
    if status == 205:
        return b"Content-Length: 0\r\n"
    if status in WITHOUT_CONTENT or not takes_chunks:
        return b""
    return _CHUNKED
