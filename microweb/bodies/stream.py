"""The body that is sent as its pieces come: in chunks, by length, or up to the close.

The first piece is taken while the answer is made, inside the middleware, so that a stream that
fails at once is an error like any other. If the piece takes longer than half a second, the head
goes out before it. A stream that fails behind its head cuts the connection, so that a part is never
taken for the whole.

A stream closes what it holds, on the task of its connection: after its last piece, when it fails or
its client leaves, and when it is dropped unsent (HEAD, 304, replaced by middleware).

RFC 9112 sections 6 and 7.1.
"""

from __future__ import annotations

import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
)
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
)
from functools import partial
from types import AsyncGeneratorType
from typing import Any, cast

from ..concurrency.begun import Begun
from ..concurrency.threads import run_in_thread
from ..errors import LocalProtocolError
from ..http.bytestream import ResponseStream
from ..http.grammar import CONTENT_LENGTH
from ..http.headers import MutableHeaders, refuse_touch
from ..http.interfaces import Piece
from ..http.mediatypes import OCTETS, TEXT
from ..http.response_head import WITHOUT_CONTENT
from .body import Body, EncodeHead, Head, RequestInfo, WrittenBody
from .outlet import JOINED_BYTES, Outlet
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

Leave = Callable[..., Awaitable[bool | None]]
Opened = tuple["Begun[Piece | End] | None", AsyncIterator[Piece] | None, object]

_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_HEAD_WAIT_S = 0.5  # for a stream's first piece, or its fault: a query that fails takes less


class StreamBody(WrittenBody):
    """A body that is sent as its pieces come. It answers one request: the pieces come once.

    Raises: TypeError for what gives no pieces.
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
    )

    is_compressible = True
    has_own_conditions = False

    def __init__(self, pieces: Source) -> None:
        if type(pieces) not in SURE_SOURCES:
            check_source(pieces)
        self._pieces = pieces
        self._request: RequestInfo | None = None  # the request that it answers
        self._is_used = False  # it was sent, or closed
        self._is_entered = False  # `_pieces` was a context manager, or is none
        self._leave: Leave | None = None  # that context manager
        self._open: list[Opened] = []  # to be closed, the last one first
        self._iterator: AsyncIterator[Piece] | None = None  # of the pieces, once it has begun
        self._first: Begun[Piece | End] | None = None  # its first piece, taken or not
        self._is_late = False  # the first piece was not there in time

    # --- the pieces

    @property
    def pieces(self) -> AsyncIterable[Piece]:
        """The pieces, for middleware that changes them; the response closes what they come from."""
        if self._iterator is not None:
            return resumed(self._first, self._iterator)
        return self._opened(self._pieces)

    def replace(self, pieces: Pieces, headers: MutableHeaders) -> None:
        """Send `pieces` in place of its own. Raises: LocalProtocolError once it was sent."""
        if self._is_used:
            refuse_touch()
        self._is_entered = True  # there is nothing to enter any more
        if self._iterator is None:
            self._open.append((None, None, self._pieces))
        self._pieces = pieces
        self._iterator = self._first = None

    async def _opened(self, source: Source) -> AsyncGenerator[Piece, None]:
        """Yield the pieces of a body that no exchange has prepared."""
        async with AsyncExitStack() as resources:
            if isinstance(source, AbstractAsyncContextManager):
                source = await resources.enter_async_context(source)
            pieces = self._as_pieces(cast(Pieces, source))
            iterator = iterate(pieces)
            resources.push_async_callback(_close_opened, None, iterator, pieces)
            async for piece in iterator:
                yield piece

    def _as_pieces(self, value: Pieces) -> Pieces:
        """Return what gives the pieces; `value` may come out of a context manager."""
        return value

    # --- inside the middleware

    async def prepare(self, request: RequestInfo, head: Head) -> None:
        """Enter a context manager, and wait for the first piece. Raises: whatever these raise."""
        self._claim(request)
        if self._iterator is not None:
            return
        end_begin = None
        try:
            if not self._is_entered:
                self._is_entered = True
                if type(self._pieces) is not AsyncGeneratorType:
                    await self._enter()
                self._pieces = self._as_pieces(cast(Pieces, self._pieces))
            if request.line.method != "HEAD" and head.status not in WITHOUT_CONTENT:
                wait_s = self._head_wait_s(head.headers)
                if wait_s is None:
                    self._is_late = True
                if not self._is_late:
                    end_begin = request.exchange.begin_stream()
                    await self._take_first(wait_s or 0.0, head.headers)
        except BaseException:
            await self.discard()
            raise
        finally:
            if end_begin is not None:
                end_begin()

    def check_unclaimed(self) -> None:
        if self._is_used or self._request is not None:
            raise LocalProtocolError(
                "this stream was sent, or is in use for another request, and can be sent once: "
                "make a new one for each request, inside the endpoint"
            )

    def _claim(self, request: RequestInfo) -> None:
        """Answer this request. Raises: LocalProtocolError if it has answered another."""
        if self._request is not request:
            self.check_unclaimed()
            self._request = request
            request.exchange.hold(self)

    def _release(self) -> None:
        """Let go of the request: the pieces have come."""
        request, self._request = self._request, None
        self._is_used = True
        if request is not None:
            request.exchange.release(self)

    async def _enter(self) -> None:
        """Enter the context manager, if there is one: its value gives the pieces."""
        source = self._pieces
        if isinstance(source, AbstractAsyncContextManager):
            self._pieces = await source.__aenter__()
            self._leave = source.__aexit__
        elif not isinstance(source, (AsyncIterable, Iterable)):
            self._pieces = await run_in_thread(LABEL, source.__enter__)
            self._leave = _leaving_in_thread(source)

    def _head_wait_s(self, headers: MutableHeaders) -> float | None:
        """Return how long the head waits for the first piece; for None it goes out before."""
        # The client of an event stream waits for the head alone.
        is_events = "text/event-stream" in headers.lines.get("content-type", "")
        return None if is_events else _HEAD_WAIT_S

    async def _take_first(self, wait_s: float, headers: MutableHeaders) -> None:
        """Wait for the first piece, and have it say what the pieces are, if nobody has."""
        _, first = self._begin()
        await first.run_for(wait_s)
        content_type = TEXT
        if not first.is_done:
            self._is_late = True
        elif isinstance(piece := first.result, End):
            return
        else:
            to_bytes(piece)  # one that can't be sent fails here
            content_type = TEXT if isinstance(piece, str) else OCTETS
        if "content-type" not in headers.lines:
            headers["Content-Type"] = content_type

    def _begin(self) -> tuple[AsyncIterator[Piece], Begun[Piece | End]]:
        pieces = cast(Pieces, self._pieces)  # it is entered
        self._iterator = iterator = iterate(pieces)
        self._first = first = Begun(take_next(iterator))
        self._open.append((first, iterator, pieces))
        return iterator, first

    async def discard(self) -> None:
        """Close what it holds: it is not sent."""
        request = self._request
        self._release()
        await self._clean_up(request, sys.exc_info()[1])

    async def _clean_up(self, request: RequestInfo | None, error: BaseException | None) -> bool:
        """Close what was opened, as `with` does; return whether `error` ends there.

        A client that leaves meanwhile does not cancel this, so that no resource leaks.
        """
        opened = self._open
        if self._iterator is None:
            opened.append((None, None, self._pieces))
        if self._leave is None and all(map(_has_ended, opened)):
            opened.clear()
            return False
        if request is None:
            return await self._close_all(error)
        with request.transport.cleaning_up(request):
            return await self._close_all(error)

    async def _close_all(self, error: BaseException | None) -> bool:
        try:
            while self._open:
                await _close_opened(*self._open.pop())
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
        """Write the pieces. Raises: LocalProtocolError where a declared length is wrong."""
        if self._request is not request or self._iterator is None:
            await self.prepare(request, head)
        encoded, outlet, size, status = b"", None, 0, head.status
        try:
            try:
                headers = head.headers
                lines = headers.lines  # looked into as they are: `get` costs a microsecond
                length = headers["content-length"] if "content-length" in lines else None
                framing = _framing(status, request.section.minor_version, length)
                encoded = encode_head(framing)
                if request.line.method != "HEAD" and status not in WITHOUT_CONTENT:
                    outlet = Outlet(stream, encoded, is_chunked=framing is _CHUNKED)
                    size = await self._send_pieces(outlet, length)
            except BaseException as error:
                if not await self._clean_up(request, error) or not encoded:
                    raise  # no context manager ends a fault of the head: there is no answer
            else:
                await self._clean_up(request, None)
            if outlet is None:
                stream.write(encoded)
            else:
                outlet.end(size)
        finally:
            self._release()
            if outlet is not None:
                outlet.close()

    async def _send_pieces(self, outlet: Outlet, length: str | None) -> int:
        """Hand the pieces to the outlet; return the bytes of this turn.

        What is done here for each piece is most of what it costs.
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
        await outlet.begin()
        joined.append(to_bytes(piece))
        room = JOINED_BYTES - len(joined[0])
        if room <= 0:
            await outlet.write(JOINED_BYTES - room)
        async for piece in iterator:
            if not joined:
                await outlet.begin()
                room = JOINED_BYTES
            data = piece if type(piece) is bytes else to_bytes(piece)
            joined.append(data)
            room -= len(data)
            if room <= 0:
                await outlet.write(JOINED_BYTES - room)
        return JOINED_BYTES - room


def stream_of(source: Body | None, owner: object) -> StreamBody:
    """Return the source of `owner` if it is a stream. Raises: AttributeError."""
    if not isinstance(source, StreamBody):
        raise AttributeError("this answer has no pieces: see `body`", name="pieces", obj=owner)
    return source


def check_whole(source: Body | None) -> None:
    """Raise LocalProtocolError for a stream."""
    if isinstance(source, StreamBody):
        raise LocalProtocolError("a stream has no whole body: see `pieces`")


def _framing(status: int, minor_version: int, length: str | None) -> bytes:
    """Return the field line that says where the content ends, if no other line does."""
    if length is not None:
        is_right = CONTENT_LENGTH.fullmatch(length) and (status != 205 or int(length) == 0)
        if status == 204 or not is_right:
            raise LocalProtocolError(f"Content-Length {length[:80]!r} on a {status}")
        return b""
    if status == 205:
        return b"Content-Length: 0\r\n"
    if status in WITHOUT_CONTENT or minor_version == 0:
        return b""
    return _CHUNKED


# --- closing


def _has_ended(opened: Opened) -> bool:
    """Whether what was opened is a generator that has ended: to close it takes no time."""
    _, iterator, source = opened
    if iterator is not source or not isinstance(iterator, AsyncGeneratorType):
        return False
    return iterator.ag_frame is None


async def _close_opened(
    first: Begun[Piece | End] | None, iterator: AsyncIterator[Piece] | None, source: object
) -> None:
    """Close what was iterated, if it was, and what it came from, if that can be closed."""
    if first is not None and not first.is_done:
        await first.abandon()
    if isinstance(iterator, AsyncGeneratorType):
        await iterator.aclose()
    if iterator is source or (iterator is not None and isinstance(source, Iterator)):
        return  # it is closed with that
    if isinstance(source, AsyncIterable):
        if (aclose := getattr(source, "aclose", None)) is not None:
            await aclose()
    elif isinstance(source, Iterable) and (close := getattr(source, "close", None)) is not None:
        await run_in_thread(LABEL, close)  # a file, a generator


def _leaving_in_thread(manager: Any) -> Leave:
    async def leave(*error: Any) -> bool | None:
        left: bool | None = await run_in_thread(LABEL, partial(manager.__exit__, *error))
        return left

    return leave
