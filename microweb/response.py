"""Response: the answer to a request.

Framing belongs here and not to the endpoint: `Content-Length`, chunks, `Date`, no body for HEAD,
204, 205 and 304. A small answer that nobody touched goes out by a head that is made once a second;
the first touch of `headers` gives it a mapping of its own.

Its body is bytes, or comes from a `source`: a value that becomes bytes once the request is known,
or a body that writes itself. A response with a whole body is a value: it may answer any number of
requests. Its first use freezes it, and middleware gets a copy (`hand_on`), so that no exchange sees
the changes of another. RFC 9110 sections 6, 8, 15; RFC 9112 sections 4, 6, 7.

What it needs of the connection it has by the protocol `ResponseStream`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from copy import copy
from datetime import datetime
from functools import partial
from os import PathLike
from sys import getrefcount
from typing import Any, Literal, Never

from .bodies.body import Body, RenderedBody, WrittenBody
from .bodies.file import FileBody
from .bodies.json import JSONBody
from .bodies.pieces import Pieces, Source
from .bodies.redirect import LocalRedirect, location_of
from .bodies.stream import StreamBody
from .errors import LocalProtocolError
from .http.bytestream import ResponseStream
from .http.charsets import encode_utf8
from .http.cookies import SetCookie
from .http.framing import CLOSE
from .http.headers import CopiedHeaders, MutableHeaders, list_members, refuse_touch
from .http.interfaces import Fields, Piece
from .http.mediatypes import HTML, JSON, OCTETS, TEXT, cache_control, content_disposition
from .http.response_head import (
    WITHOUT_CONTENT,
    HeadCache,
    check_content_type,
    check_status,
    encode_head,
    length_field,
)
from .remedies import Suggesting, unknown_keyword
from .request import Request

_CHECKED_TYPES = frozenset((None, TEXT, HTML, JSON, OCTETS))

_JOINED_BYTES = 64 * 1024  # a larger body is written by itself: joining it would copy it (1.4 x)
_OWN_REFERENCES = 3  # to a body: of its response, of the view on it, and of the call that counts
_SLICE_BYTES = 256 * 1024  # the transport keeps a copy of what the peer has not taken yet
_DECIDING = frozenset(("connection", "content-length", "date", "transfer-encoding"))


class Response(metaclass=Suggesting):
    """An answer: a status, header fields and a body.

    `body` is bytes, or a str that is sent as UTF-8; `content_type` is by default that of text for a
    str, `application/octet-stream` for bytes. Of a `bytearray` or `memoryview` it keeps a copy.

    Raises: TypeError for a body of another type; LocalProtocolError for a status, name or value
    that HTTP can't carry.
    """

    __slots__ = ("_body", "_content_type", "_cookies", "_headers", "_is_used", "_status", "source")

    source: Body | None  # of the body, where that is not bytes

    def __init__(
        self,
        body: Piece | Body = b"",
        status: int = 200,
        headers: Fields | None = None,
        *,
        content_type: str | None = None,
        **unknown: Never,
    ) -> None:
        if unknown:
            raise TypeError(unknown_keyword("Response", unknown))
        self.source = None
        if isinstance(body, str):
            body = encode_utf8(body)
            content_type = content_type or TEXT
        elif type(body) is not bytes:
            if isinstance(body, Body):
                self.source, body = body, b""
            body = _to_bytes(body)
        if content_type not in _CHECKED_TYPES:
            check_content_type(str(content_type))
        elif content_type is None and body:
            content_type = OCTETS
        self._body = body
        self._status = status if status == 200 else check_status(status)
        self._content_type = content_type
        self._headers: MutableHeaders | None = None
        self._cookies: list[SetCookie] | None = None
        self._is_used = False
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
        return Response(encode_utf8(text), status, headers, content_type=TEXT)

    @staticmethod
    def html(text: str, status: int = 200, headers: Fields | None = None) -> Response:
        """Answer with a page; `text` is sent as it is: escape what is in it with `html()`."""
        return Response(encode_utf8(text), status, headers, content_type=HTML)

    @staticmethod
    def json(value: object, status: int = 200, headers: Fields | None = None) -> Response:
        """Answer with JSON; what the encoder does not know goes to `app.json_default`."""
        return Response(JSONBody(value), status, headers, content_type=JSON)

    @staticmethod
    def redirect(url: str, status: int = 303, *, local: bool = False) -> Response:
        """Send the client to `url`; with `local`, only within this origin, else to `/`.

        What a URL can't hold is percent-encoded, so that a value from the peer splits nothing.
        """
        if status not in (201, 301, 302, 303, 307, 308):
            raise LocalProtocolError(f"expected a redirecting status, got {status!r}")
        headers = {"Location": location_of(url)}
        return Response(LocalRedirect() if local else b"", status, headers)

    @staticmethod
    def stream(
        pieces: Source,
        status: int = 200,
        headers: Fields | None = None,
        *,
        content_type: str | None = None,
    ) -> Response:
        """Answer with pieces as they come: chunks, or up to the close for HTTP/1.0.

        A plain iterable is iterated in a thread. Without a `content_type` the first piece decides:
        text for a str, `application/octet-stream` for bytes; text if it is late.

        A context manager gives the pieces of a resource: it is entered before the head is sent,
        and left when the stream ends, fails, or is not sent at all (HEAD, 304). A plain one is
        entered in a thread.

        What fails before the first piece is an error like any other. That is waited for at most
        half a second, then the head goes out; what fails later cuts the connection.
        """
        return Response(StreamBody(pieces), status, headers, content_type=content_type)

    @staticmethod
    def events(
        events: AsyncIterable[object] | AbstractAsyncContextManager[AsyncIterable[object]],
        headers: Fields | None = None,
        *,
        heartbeat_s: float = 15.0,
    ) -> Response:
        """Answer with server-sent events, as they come: what a page's `EventSource` reads.

        An event is a `str`, a `ServerEvent` from `microweb.sse`, or what JSON can hold. They
        come from an async iterator, mostly an async generator, or from a context manager that
        gives one: a channel's subscription. That is entered before the head is sent.

        What makes them is closed as soon as the client has left, which is looked at once a second,
        whatever the method and the route's `on_disconnect`; and when the server stops. A client
        that got nothing for `heartbeat_s` gets a comment; one that has taken nothing between two
        of these is gone. WHATWG HTML section 9.2.
        """
        from .sse.body import MEDIA_TYPE, EventBody

        body = EventBody(events, heartbeat_s)
        response = Response(body, 200, headers, content_type=MEDIA_TYPE)
        response.headers.setdefault("Cache-Control", "no-cache")
        response.headers.setdefault("X-Accel-Buffering", "no")  # nginx would hold events back
        return response

    @staticmethod
    def file(
        path: str | PathLike[str],
        *,
        content_type: str | None = None,
        download_name: str | None = None,
        cache: int | str | None = None,
    ) -> Response:
        """Answer with a file: whole, a range of it, or 304 where the client has it already.

        The media type follows from the name; text counts as UTF-8. With `download_name` a browser
        saves it under that name. `cache` is a Cache-Control field or a `max-age` in seconds, for
        None `no-cache`: the client asks each time, and mostly gets a 304.

        The path is yours: one that a client had a say in belongs to `app.static`. Where no regular
        file is there, a symbolic link to one included, the answer is 404 (NotFound); a file that
        must not be read is an OSError.
        """
        headers = {"Cache-Control": cache_control(cache)}
        if download_name is not None:
            headers["Content-Disposition"] = content_disposition(download_name)
        return Response(FileBody(path), 200, headers, content_type=content_type)

    # --- what it is

    @property
    def status(self) -> int:
        """The status code."""
        return self._status

    @status.setter
    def status(self, status: int) -> None:
        self._touch()
        self._status = check_status(status)

    @property
    def body(self) -> bytes:
        """The whole body; setting it leaves the header fields to you.

        JSON and templates are made without the request. Raises: LocalProtocolError for a stream.
        """
        if self.source is not None and not self._body:
            if isinstance(self.source, RenderedBody):
                head = Response(status=self._status, headers=self.headers.pairs())
                self._body = self.source.render(None, head)
            self._check_whole()
        return self._body

    @body.setter
    def body(self, body: bytes) -> None:
        self._check_whole()
        self._touch()
        self._body = body if type(body) is bytes else _to_bytes(body)
        if isinstance(self.source, RenderedBody):
            self.source = self.source.replaced(self._body)

    def _check_whole(self) -> None:
        if isinstance(self.source, StreamBody):
            raise LocalProtocolError("a stream has no whole body: see `pieces`")

    @property
    def pieces(self) -> AsyncIterable[Piece]:
        """The pieces of a stream, for middleware that changes them.

        The response closes the generator, file or other source that they come from. Raises:
        AttributeError for an answer that is no stream, so that `hasattr` tells them apart.
        """
        return self._stream().pieces

    @pieces.setter
    def pieces(self, pieces: Pieces) -> None:
        self._touch()
        self._stream().replace(pieces, self.headers)

    def _stream(self) -> StreamBody:
        if not isinstance(self.source, StreamBody):
            raise AttributeError("this answer has no pieces: see `body`", name="pieces", obj=self)
        return self.source

    @property
    def headers(self) -> MutableHeaders:
        """The header fields, without those that framing adds when it is sent."""
        headers = self._headers
        if headers is None:
            headers = self._headers = MutableHeaders()
            if self._content_type is not None:  # it is checked
                headers.lines["content-type"] = f"Content-Type: {self._content_type}\r\n"
            headers.is_frozen = self._is_used
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

        One of the same name, path and domain that was set before is replaced.
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
        others = [each for each in self._cookies or () if not each.is_same_as(cookie)]
        self._cookies = [*others, cookie]
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
        if self._is_used:
            refuse_touch()
        _ = self.headers  # from now on they decide

    # --- how it is handed on: the application's part

    is_value = False  # stands for a plain value: in an error handler it gets the error's status

    async def prepare(self, request: Request) -> Response:
        """Return the response fit for `request`: itself, or a copy if more requests may get it.

        Awaited if `source` is not None, when an endpoint or a middleware returns the response.
        """
        if isinstance(self.source, WrittenBody):
            await self.source.prepare(request, self)
            return self
        return self.rendered(request)

    def rendered(self, request: Request | None) -> Response:
        """Return a copy for one exchange, its body as bytes; None for a message that is no request.

        Raises: LocalProtocolError for a stream.
        """
        self._check_whole()
        other = self.hand_on()
        if isinstance(self.source, RenderedBody):
            other._body = self.source.render(request, other)
            other.source = None
        return other

    def check_unclaimed(self) -> None:
        """Raise LocalProtocolError if it can be sent once, and answers a request already."""
        if isinstance(self.source, WrittenBody):
            self.source.check_unclaimed()

    def hand_on(self) -> Response:
        """Return a copy for one exchange, with header fields and cookies of its own.

        From now on this response refuses changes: another exchange may use it at the same time. A
        body that writes itself can't be had twice, so such a response is returned itself.
        """
        if self.source is not None and isinstance(self.source, WrittenBody):
            return self
        kind = type(self)
        if kind is _PlainResponse or kind is Response:
            return self._as_plain()
        other = copy(self)
        if self._headers is not None:
            other._headers = self._headers.freeze()
        self._is_used = True
        other._is_used = False
        return other

    def _as_plain(self) -> Response:
        """Return a copy for one exchange: 0.3 us, or 0.5 with header fields."""
        other: Response = _PlainResponse()
        other.source = self.source
        other._body = self._body
        other._status = self._status
        other._content_type = self._content_type
        other._cookies = self._cookies
        headers, copied = self._headers, None
        if headers is not None:  # `freeze` in place: a call costs a tenth of this
            headers.is_frozen = True
            copied = CopiedHeaders()
            copied.lines = headers.lines.copy()
            copied.is_frozen = False
        other._headers = copied
        self._is_used = True
        other._is_used = False
        return other

    # --- how it is sent: the connection's part

    @property
    def may_read_body(self) -> bool:
        """Whether it reads the body of its request while it is sent."""
        return isinstance(self.source, WrittenBody) and self.source.may_read_body

    @property
    def is_streaming(self) -> bool:
        """Whether it is sent in pieces, without a declared length."""
        return isinstance(self.source, StreamBody) and "content-length" not in self.headers

    def persistence(self, request: Request, connection: bytes) -> bytes:
        """Return the Connection field line to send: `connection`, or `CLOSE` where it can't go on.

        For what `encode` leaves to `send_to`.
        """
        source = self.source
        if isinstance(source, WrittenBody):
            minor_version = request.section.minor_version
            connection = CLOSE if source.ends_by_close(minor_version, self.headers) else connection
        headers = self._headers
        if headers is None or "connection" not in headers.lines:
            return connection
        if "close" in list_members(headers["connection"].lower()):
            return CLOSE
        return connection

    def encode(self, request: Request, heads: HeadCache, connection: bytes) -> bytes | None:
        """Return the whole answer as one piece, or None where `send_to` must be awaited.

        `connection` is the field line that says whether the connection persists, or empty.

        Raises: LocalProtocolError for a Content-Length that is wrong, and for Transfer-Encoding.
        """
        body, headers, status = self._body, self._headers, self._status
        size = len(body)
        if size > _JOINED_BYTES or self.source is not None:
            return self._encode_source(request, heads, connection)
        if status in WITHOUT_CONTENT:
            body = b""
        elif headers is None:
            self._is_used = True
            head = heads[status, self._content_type, size]
            if connection:
                head = head[:-2] + connection + b"\r\n"
            return head if request.line.method == "HEAD" else head + body
        elif self._cookies is None and _DECIDING.isdisjoint(headers.lines):
            headers.is_frozen = self._is_used = True
            text = "".join(headers.lines.values()).encode("latin-1")
            start = heads.start(status)
            head = b"%b%bContent-Length: %d\r\n%b\r\n" % (start, text, size, connection)
            return head if request.line.method == "HEAD" else head + body
        if headers is not None and "connection" in headers.lines:
            return None
        is_head = request.line.method == "HEAD"
        head = self._encode_head(request, heads, connection, self._length_field(is_head))
        return head if is_head else head + body

    def _encode_source(self, request: Request, heads: HeadCache, connection: bytes) -> bytes | None:
        """Return the answer that no application has prepared, or None for a large one, a stream."""
        if isinstance(self.source, RenderedBody):
            return self.rendered(request).encode(request, heads, connection)
        return None

    def send_to(
        self, stream: ResponseStream, request: Request, heads: HeadCache, connection: bytes
    ) -> Coroutine[Any, Any, None]:
        """Return the coroutine that writes the answer. If it raises, the connection must be cut."""
        source = self.source
        if isinstance(source, WrittenBody):  # no coroutine around its own: each turn would pass it
            if self._status == 101:
                connection = b""  # its own field line says Upgrade
            encode_head = partial(self._encode_head, request, heads, connection)
            return source.send(stream, request, self, encode_head)
        return self._send_whole(stream, request, heads, connection)

    async def _send_whole(
        self, stream: ResponseStream, request: Request, heads: HeadCache, connection: bytes
    ) -> None:
        if self.source is not None:
            rendered = self.rendered(request)
            await rendered._send_whole(stream, request, heads, connection)
            return
        is_head = request.line.method == "HEAD"
        head = self._encode_head(request, heads, connection, self._length_field(is_head))
        stream.write(head)
        if is_head or self._status in WITHOUT_CONTENT:
            return
        await self._write_body(stream)

    async def _write_body(self, stream: ResponseStream) -> None:
        """Write a large body, and count it for its client while that does not read it.

        A body that something else holds as well, a constant or a cache, is not there for it.
        """
        body = memoryview(self._body)
        is_own = getrefcount(self._body) <= _OWN_REFERENCES
        try:
            for start in range(0, len(body), _SLICE_BYTES):
                if stream.write(body[start : start + _SLICE_BYTES]):
                    if is_own:
                        stream.hold(len(body))
                    await stream.drain()
        finally:
            stream.hold(0)

    def _length_field(self, is_head: bool) -> bytes:
        """Return the Content-Length line; a length that the application set must be right."""
        headers, declared = self._headers, None
        if headers is not None and "content-length" in headers.lines:
            declared = headers["content-length"]
        return length_field(self._status, len(self._body), declared, is_head=is_head)

    def _encode_head(
        self, request: Request, heads: HeadCache, connection: bytes, framing: bytes
    ) -> bytes:
        is_touched = self._headers is not None
        headers = self.headers
        cookies = ""
        if self._cookies:
            is_https = request.scheme == "https"
            fields = [each.encode(secure_by_default=is_https) for each in self._cookies]
            cookies = "".join([f"Set-Cookie: {field}\r\n" for field in fields])
        head = encode_head(heads, self._status, headers.lines, cookies, framing, connection)
        headers.is_frozen = self._is_used = True
        if not is_touched:
            self._headers = None  # it may be shared
        return head

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._status}>"


class _PlainResponse(Response):
    """See `plain_response`: without an `__init__` it is made in two thirds of the time."""

    __slots__ = ()

    __init__ = object.__init__

    def __repr__(self) -> str:
        return f"<Response {self._status}>"


# For `isinstance`, which knows an exact class at once, and takes 0.1 us more for another one: most
# responses that middleware sees are plain. See `Suggesting`.
RESPONSE_CLASSES: tuple[type[Response], ...] = (_PlainResponse, Response)


# An app is one, and so is each link of its chain: the server needs nothing else.
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def is_held_once(response: Response) -> bool:
    """Whether a plain response is held by the two variables of the caller alone, and unused.

    Nobody else can find it then, because it has no weak references: it needs no copy (0.8 us).
    """
    return (
        type(response) is _PlainResponse
        and getrefcount(response) <= _HELD_BY_CALL
        and not response._is_used
        and ((headers := response._headers) is None or getrefcount(headers) <= _HELD_BY_RESPONSE)
    )


def _references_of_call() -> int:
    """Return how many references `is_held_once` counts if its caller alone holds a response."""

    def count(response: object) -> int:
        return getrefcount(response)

    response = value = object()
    counted = count(response)
    del value
    return counted


def _references_of_response() -> int:
    """Return how many references `is_held_once` counts to header fields of one response alone."""
    response = Response(headers={"a": "b"})
    headers = response._headers
    return getrefcount(headers)


# Counted, because versions of Python differ in the references that a call adds.
_HELD_BY_CALL = _references_of_call()
_HELD_BY_RESPONSE = _references_of_response()


def plain_response(body: bytes, content_type: str) -> Response:
    """Return a 200 of a media type that needs no check: what most endpoints' values become."""
    response: Response = _PlainResponse()
    response.source = None
    response._body = body
    response._status = 200
    response._content_type = content_type
    response._headers = None
    response._cookies = None
    response._is_used = False
    return response


def redirect_to_path(request: Request, raw_path: str) -> Response:
    """Return the redirect to another path of this origin; the query of `request` stays."""
    # A path that begins with two slashes would be an authority. RFC 3986 section 4.2
    path = "/" + raw_path.lstrip("/\\")
    query = f"?{request.query_string}" if request.query_string else ""
    return Response.redirect(path + query, 308)


def _to_bytes(body: object) -> bytes:
    """Return a body as bytes: `len()` of a buffer may count items of several bytes each."""
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    if isinstance(body, str):
        remedy = "set body.encode()"
    elif isinstance(body, (AsyncIterable, Iterator)):
        remedy = "Response.stream(...) sends pieces"
    elif body is None:
        remedy = "leave it out for an empty one"
    else:
        remedy = "Response.json(...) sends JSON"
    raise TypeError(f"expected bytes as a body, or str, got {type(body).__name__}: {remedy}")
