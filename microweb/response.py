"""Response and its kinds: what goes back.

Framing belongs here and not to the endpoint: `Content-Length`, chunks, `Date`, no body for HEAD,
204, 205 and 304. A small answer that nobody touched goes out by a head that is made once a second;
the first touch of `headers` gives it a mapping of its own. A response is for one exchange, but an
untouched one may be shared. RFC 9110 sections 6, 8, 15; RFC 9112 sections 4, 6, 7.

What a response needs of the connection it names as a protocol, `ByteStream`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from datetime import datetime
from functools import partial
from html import escape
from http import HTTPStatus
from typing import Literal, Protocol
from urllib.parse import quote, urlsplit

from .cookies import SetCookie
from .dates import format_http_date
from .elsewhere import point_to_ours
from .errors import BadRequest, ClientDisconnected, LocalProtocolError
from .framing import CLOSE, LAST_CHUNK, encode_chunk
from .grammar import CONTENT_LENGTH
from .headers import MutableHeaders, check_value, list_members
from .jsoncodec import encode_json
from .request import Request
from .threads import iterate_in_thread, run_in_thread

Fields = Mapping[str, str] | Iterable[tuple[str, str]]
Piece = str | bytes

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
JSON = "application/json"
OCTETS = "application/octet-stream"

_CHECKED_TYPES = frozenset((None, TEXT, HTML, JSON, OCTETS))

_JOINED_BYTES = 64 * 1024  # a larger body is written by itself: joining it would copy it (1.4 x)
_CACHED_HEADS = 1024
_HEAD_WAIT_S = 0.5  # for a stream's first piece, or its fault: a query that fails takes less
_SLICE_BYTES = 256 * 1024  # the transport keeps a copy of what the peer has not taken yet
_DECIDING = frozenset(("connection", "content-length", "date", "transfer-encoding"))
_WITHOUT_CONTENT = frozenset((101, 204, 205, 304))
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
_ESCAPED_SLASHES = frozenset(("%2f", "%5c", "%09", "%0a", "%0d"))
_URL_SAFE = "!#$%&'()*+,/:;=?@[]~"


class ByteStream(Protocol):
    """The connection, as far as a response writes to it."""

    def write(self, data: bytes | memoryview) -> bool:
        """Send `data`; return whether to `drain()` before more. Raises: ClientDisconnected."""

    async def drain(self) -> None:
        """Wait until the peer has taken what was written. Raises: ClientDisconnected."""

    async def read(self) -> bytes:
        """Return what the peer sent next, `b""` at its end: for upgrades."""


class HeadCache(dict[tuple[int, str | None, int], bytes]):
    """(status, media type, length) -> the whole head of an untouched answer.

    Formatting a head costs 1.1 us, finding it 0.2. The heads hold the date, so the server calls
    `refresh()` once a second; a server that sends many lengths begins anew before that.
    """

    def __init__(self) -> None:
        self._second = -1
        self._starts: dict[int, bytes] = {}
        self.date = b""
        self.refresh()

    def refresh(self) -> None:
        """Begin anew where the second has changed."""
        now = time.time()
        if int(now) != self._second:
            self._second = int(now)
            self.date = f"Date: {format_http_date(now)}\r\n".encode("ascii")
            self.clear()
            self._starts.clear()

    def start(self, status: int) -> bytes:
        """Return the status line and the date."""
        start = self._starts.get(status)
        if start is None:
            start = self._starts[status] = status_line(status) + self.date
        return start

    def __missing__(self, key: tuple[int, str | None, int]) -> bytes:
        status, content_type, length = key
        field = "" if content_type is None else f"Content-Type: {content_type}\r\n"
        fields = f"{field}Content-Length: {length}\r\n\r\n".encode("latin-1")
        if len(self) >= _CACHED_HEADS:
            self.clear()
        head = self[key] = status_line(status) + self.date + fields
        return head


def status_line(status: int) -> bytes:
    """Return `HTTP/1.1 200 OK` with its CRLF. RFC 9112 section 4"""
    return f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n".encode("ascii")


def phrase_of(status: int) -> str:
    """Return a status's reason phrase, `Error` for one that RFC 9110 does not name."""
    return _PHRASES.get(status, "Error")


class Response:
    """An answer whose body is whole.

    `body` is bytes, or a str that is sent as UTF-8; `content_type` is by default that of text for a
    str, `application/octet-stream` for bytes.

    Raises: LocalProtocolError for a status, name or value that HTTP can't carry.
    """

    __slots__ = ("_body", "_content_type", "_cookies", "_headers", "_is_sent", "_status")

    def __init__(
        self,
        body: Piece = b"",
        status: int = 200,
        headers: Fields | None = None,
        *,
        content_type: str | None = None,
    ) -> None:
        if isinstance(body, str):
            body = body.encode()
            content_type = content_type or TEXT
        if content_type not in _CHECKED_TYPES:
            _check_content_type(str(content_type))
        elif content_type is None and body:
            content_type = OCTETS
        self._body = body
        self._status = status if status == 200 else _check_status(status)
        self._content_type = content_type
        self._headers: MutableHeaders | None = None
        self._cookies: list[SetCookie] | None = None
        self._is_sent = False
        if headers is not None:
            for name, value in headers.items() if isinstance(headers, Mapping) else headers:
                if name.lower() == "content-type":
                    self.headers[name] = value
                else:
                    self.headers.add(name, value)

    # --- shorthands

    @staticmethod
    def text(text: str, status: int = 200, headers: Fields | None = None) -> Response:
        """Answer with plain text."""
        return Response(text.encode(), status, headers, content_type=TEXT)

    @staticmethod
    def html(text: str, status: int = 200, headers: Fields | None = None) -> Response:
        """Answer with a page; `text` is sent as it is: escape what is in it with `html()`."""
        return Response(text.encode(), status, headers, content_type=HTML)

    @staticmethod
    def json(value: object, status: int = 200, headers: Fields | None = None) -> Response:
        """Answer with JSON; what the encoder does not know goes to `app.json_default`."""
        return JSONResponse(value, status, headers)

    @staticmethod
    def redirect(url: str, status: int = 303, *, local: bool = False) -> Response:
        """Send the client to `url`; with `local`, only within this origin, else to `/`.

        What a URL can't hold is percent-encoded, so that a value from the peer splits nothing.
        """
        return RedirectResponse(url, status, local=local)

    @staticmethod
    def stream(
        pieces: AsyncIterable[Piece] | Iterable[Piece],
        status: int = 200,
        headers: Fields | None = None,
        *,
        content_type: str | None = None,
    ) -> Response:
        """Answer with pieces as they come: chunks, or up to the close for HTTP/1.0.

        A plain iterable is iterated in a thread. Without a `content_type` the first piece decides:
        text for a str, `application/octet-stream` for bytes.
        """
        return StreamResponse(pieces, status, headers, content_type=content_type)

    # --- what it is

    @property
    def status(self) -> int:
        """The status code."""
        return self._status

    @status.setter
    def status(self, status: int) -> None:
        self._touch()
        self._status = _check_status(status)

    @property
    def body(self) -> bytes:
        """The whole body; setting it leaves the header fields to you."""
        return self._body

    @body.setter
    def body(self, body: bytes) -> None:
        self._touch()
        self._body = body

    @property
    def headers(self) -> MutableHeaders:
        """The header fields, without those that framing adds when it is sent."""
        headers = self._headers
        if headers is None:
            headers = self._headers = MutableHeaders()
            if self._content_type is not None:  # it is checked
                headers.lines["content-type"] = f"Content-Type: {self._content_type}\r\n"
            headers.is_sent = self._is_sent
        return headers

    def set_cookie(
        self,
        name: str,
        value: str = "",
        *,
        max_age: int | None = None,
        expires: datetime | float | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool | None = None,
        httponly: bool = True,
        samesite: Literal["lax", "strict", "none"] | None = "lax",
        partitioned: bool = False,
    ) -> Response:
        """Set a cookie and return the response. RFC 6265; `max_age` is in seconds.

        `secure=None` means: when the request's scheme is https. Raises: ValueError for what a
        cookie can't hold.
        """
        cookie = SetCookie(
            name,
            value,
            max_age=max_age,
            expires=expires,
            path=path,
            domain=domain,
            secure=secure,
            httponly=httponly,
            samesite=samesite,
            partitioned=partitioned,
        )
        self._touch()
        if self._cookies is None:
            self._cookies = []
        self._cookies.append(cookie)
        return self

    def delete_cookie(
        self,
        name: str,
        *,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool | None = None,
        httponly: bool = True,
        samesite: Literal["lax", "strict", "none"] | None = "lax",
        partitioned: bool = False,
    ) -> Response:
        """Have the client forget a cookie; path and domain must be those it was set with."""
        return self.set_cookie(
            name,
            max_age=0,
            expires=0,
            path=path,
            domain=domain,
            secure=secure,
            httponly=httponly,
            samesite=samesite,
            partitioned=partitioned,
        )

    def _touch(self) -> None:
        if self._is_sent:
            raise LocalProtocolError("this response was sent: make a new one for each exchange")
        _ = self.headers  # from now on it is for one exchange

    # --- how it is sent: the connection's part

    needs_prepare = False

    async def prepare(self, request: Request) -> Response:
        """Return the response fit for `request`; awaited where `needs_prepare` says so."""
        return self

    def persistence(self, request: Request, connection: bytes) -> bytes:
        """Return the Connection field line to send: `connection`, or `CLOSE` where it can't go on.

        For what `encode` leaves to `send_to`.
        """
        headers = self._headers
        if headers is not None and "close" in list_members(headers.get("connection", "").lower()):
            return CLOSE
        return connection

    def encode(self, request: Request, heads: HeadCache, connection: bytes) -> bytes | None:
        """Return the whole answer as one piece, or None where `send_to` must be awaited.

        `connection` is the field line that says whether the connection persists, or empty.

        Raises: LocalProtocolError for a touched response that was sent before.
        """
        body, headers, status = self._body, self._headers, self._status
        size = len(body)
        if size > _JOINED_BYTES:
            return None
        if status in _WITHOUT_CONTENT:
            body = b""
        elif headers is None:
            self._is_sent = True
            head = heads[status, self._content_type, size]
            if connection:
                head = head[:-2] + connection + b"\r\n"
            return head if request.line.method == "HEAD" else head + body
        elif self._cookies is None and _DECIDING.isdisjoint(headers.lines) and not headers.is_sent:
            headers.is_sent = self._is_sent = True
            text = "".join(headers.lines.values()).encode("latin-1")
            start = heads.start(status)
            head = b"%b%bContent-Length: %d\r\n%b\r\n" % (start, text, size, connection)
            return head if request.line.method == "HEAD" else head + body
        if headers is not None and "connection" in headers.lines:
            return None
        is_head = request.line.method == "HEAD"
        head = self._encode_head(request, heads, connection, self._length_field(is_head))
        return head if is_head else head + body

    async def send_to(
        self, stream: ByteStream, request: Request, heads: HeadCache, connection: bytes
    ) -> None:
        """Write the answer. An exception half-way means that the connection must be cut."""
        is_head = request.line.method == "HEAD"
        head = self._encode_head(request, heads, connection, self._length_field(is_head))
        stream.write(head)
        if is_head or self._status in _WITHOUT_CONTENT:
            return
        body = memoryview(self._body)
        for start in range(0, len(body), _SLICE_BYTES):
            if stream.write(body[start : start + _SLICE_BYTES]):
                await stream.drain()

    def _length_field(self, is_head: bool) -> bytes:
        """Return the Content-Length line; a length that the application set must be right."""
        headers = self._headers
        if headers is not None and "content-length" in headers.lines:
            said, size = headers["content-length"], 0 if self._status == 205 else len(self._body)
            may_differ = self._status == 304 or (is_head and not self._body)
            is_right = CONTENT_LENGTH.fullmatch(said) if may_differ else said == str(size)
            if self._status == 204 or not is_right:
                raise LocalProtocolError(f"Content-Length {said[:80]!r} on a body of {size} bytes")
            return b""
        if self._status == 205:
            return b"Content-Length: 0\r\n"  # RFC 9110 section 15.3.6
        if self._status in _WITHOUT_CONTENT:
            return b""
        return b"Content-Length: %d\r\n" % len(self._body)

    def _encode_head(
        self, request: Request, heads: HeadCache, connection: bytes, framing: bytes
    ) -> bytes:
        headers = self._headers
        is_touched = headers is not None
        if headers is None:
            headers = self.headers
        elif headers.is_sent:
            raise LocalProtocolError("this response was sent: make a new one for each exchange")
        lines = headers.lines
        if "transfer-encoding" in lines:
            raise LocalProtocolError("Transfer-Encoding is the server's: leave it out")
        if connection and "connection" in lines:
            del lines["connection"]  # the server has decided
        text = "".join(lines.values())
        if self._cookies:
            is_https = request.scheme == "https"
            for cookie in self._cookies:
                text += f"Set-Cookie: {cookie.encode(secure_by_default=is_https)}\r\n"
        headers.is_sent = self._is_sent = True
        if not is_touched:
            self._headers = None  # it may be shared
        start = status_line(self._status) if "date" in lines else heads.start(self._status)
        return b"%b%b%b%b\r\n" % (start, text.encode("latin-1"), framing, connection)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._status}>"


_REPLACED = object()  # the value of a JSON answer whose body was set


class _PlainResponse(Response):
    """See `plain_response`: without an `__init__` it is made in two thirds of the time."""

    __slots__ = ()

    __init__ = object.__init__

    def __repr__(self) -> str:
        return f"<Response {self._status}>"


def plain_response(body: bytes, content_type: str) -> Response:
    """Return a 200 of a media type that needs no check: what most endpoints' values become."""
    response: Response = _PlainResponse()
    response._body = body
    response._status = 200
    response._content_type = content_type
    response._headers = None
    response._cookies = None
    response._is_sent = False
    return response


class JSONResponse(Response):
    """An answer whose body is encoded once the app's `json_default` is known."""

    __slots__ = ("_value",)

    needs_prepare = True

    def __init__(self, value: object, status: int = 200, headers: Fields | None = None) -> None:
        super().__init__(b"", status, headers, content_type=JSON)
        self._value = value

    @property
    def body(self) -> bytes:
        """The value as JSON in UTF-8."""
        if not self._body and self._value is not _REPLACED:
            self._body = encode_json(self._value)
        return self._body

    @body.setter
    def body(self, body: bytes) -> None:
        self._touch()
        self._body = body
        self._value = _REPLACED

    async def prepare(self, request: Request) -> Response:
        if not self._body and self._value is not _REPLACED:
            self._body = encode_json(self._value, request.app.json_default)
        return self

    def encode(self, request: Request, heads: HeadCache, connection: bytes) -> bytes | None:
        _ = self.body
        return super().encode(request, heads, connection)


class RedirectResponse(Response):
    """An answer that sends the client elsewhere. RFC 9110 section 10.2.2"""

    __slots__ = ("_is_local", "_url")

    needs_prepare = True

    def __init__(self, url: str, status: int = 303, *, local: bool = False) -> None:
        if status not in (201, 301, 302, 303, 307, 308):
            raise LocalProtocolError(f"expected a redirecting status, got {status!r}")
        super().__init__(b"", status)
        self._url = quote(url, safe=_URL_SAFE)
        self._is_local = local
        self.headers["Location"] = self._url

    async def prepare(self, request: Request) -> Response:
        if self._is_local and not _is_same_origin(self._url, request):
            self.headers["Location"] = "/"
        return self


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
        if request.line.method == "HEAD" or self._status in _WITHOUT_CONTENT:
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
        if status in _WITHOUT_CONTENT or request.section.minor_version == 0:
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


class UpgradeResponse(Response):
    """101: the connection stops being HTTP. RFC 9110 section 7.8

    The server writes the head, with `headers` (which name the protocol in `Upgrade`), then awaits
    `run(stream)`, whose `read()` begins with the bytes that came behind the request. HTTP/1.0 knows
    no upgrade: a request of that version is answered 400.
    """

    __slots__ = ("run",)

    needs_prepare = True

    def __init__(self, headers: Fields, run: Callable[[ByteStream], Awaitable[None]]) -> None:
        super().__init__(b"")
        self._status = 101
        for name, value in headers.items() if isinstance(headers, Mapping) else headers:
            self.headers.add(name, value)
        if "upgrade" not in self.headers:
            raise LocalProtocolError("expected an Upgrade field that names the protocol")
        self.headers["Connection"] = "Upgrade"
        self.run = run

    def persistence(self, request: Request, connection: bytes) -> bytes:
        return CLOSE  # once the other protocol is done

    async def prepare(self, request: Request) -> Response:
        if request.section.minor_version == 0:
            raise BadRequest(f"an upgrade needs HTTP/1.1, got HTTP/{request.http_version}")
        return self

    def encode(self, request: Request, heads: HeadCache, connection: bytes) -> bytes | None:
        return None

    async def send_to(
        self, stream: ByteStream, request: Request, heads: HeadCache, connection: bytes
    ) -> None:
        await self.prepare(request)  # whoever answers without an app has not
        stream.write(self._encode_head(request, heads, b"", b""))
        await self.run(stream)


class HTMLText(str):
    """Text that is HTML already; an endpoint that returns one answers with a page."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


def html(template: str, /, *args: object, **kwargs: object) -> HTMLText:
    """Fill a `str.format` template, escaping each argument that is not HTML itself.

    `html("<b>{}</b>", name)`. Without arguments the text is taken as it is. What has an
    `__html__()` (markupsafe's convention) is not escaped.
    """
    if not args and not kwargs:
        return HTMLText(template)
    escaped = [_escape(value) for value in args]
    named = {name: _escape(value) for name, value in kwargs.items()}
    return HTMLText(template.format(*escaped, **named))


def _escape(value: object) -> str:
    as_html = getattr(value, "__html__", None)
    return escape(str(value)) if as_html is None else str(as_html())


async def _closable(pieces: AsyncIterable[Piece]) -> AsyncGenerator[Piece, None]:
    if isinstance(pieces, AsyncGenerator):
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece
    else:
        async for piece in pieces:
            yield piece


def _check_status(status: int) -> int:
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise LocalProtocolError(f"expected a final status from 200 to 599, got {status!r}")
    return int(status)


def _check_content_type(content_type: str) -> None:
    try:
        check_value(content_type)
    except ValueError as error:
        raise LocalProtocolError(str(error)) from error


def _is_same_origin(url: str, request: Request) -> bool:
    # `url` is quoted: a browser would take a raw backslash for a slash, and drop raw control
    # characters and spaces. Their escapes are harmless, unless something on the way decodes them.
    if url.startswith("/"):
        return url[1:2] != "/" and url[1:4].lower() not in _ESCAPED_SLASHES
    try:
        parts = urlsplit(url)
    except ValueError:  # a bracket that is not closed
        return False
    if not parts.scheme and not parts.netloc:
        return True
    is_this_host = parts.netloc.lower() == request.host.lower() != ""
    return is_this_host and parts.scheme == request.scheme


# What other frameworks call a thing -> what it is called here; not for type checkers.
_NAMES_ELSEWHERE = {
    "status_code": "response.status",
    "status_int": "response.status",
    "media_type": 'response.headers["content-type"]',
    "mimetype": 'response.headers["content-type"]',
    "content_type": 'response.headers["content-type"]',
    "content": "response.body",
    "data": "response.body",
    "get_data": "response.body",
    "set_data": "response.body = ...",
    "body_iterator": "response.pieces",
    "set_header": 'response.headers["X"] = "y"',
    "add_header": 'response.headers.add("X", "y")',
    "del_cookie": "response.delete_cookie(...)",
    "unset_cookie": "response.delete_cookie(...)",
    "background": "request.after_response(function)",
    "call_on_close": "request.after_response(function)",
    "make_response": "return (value, status, headers)",
}
point_to_ours(Response, _NAMES_ELSEWHERE)
