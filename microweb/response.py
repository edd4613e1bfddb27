"""Response: the answer to a request.

Framing belongs here, not to the endpoint: `Content-Length`, chunks, `Date`, no body for HEAD, 204,
205 and 304. A small answer whose `headers` were never used is sent with a head that is built once a
second. The first use of `headers` gives the response its own mapping.

The body is bytes, or comes from a `source`: a value that becomes bytes when the request is known,
or a body that writes itself. A response with a whole body is a value: it may answer any number of
requests. Its first use freezes it, and middleware gets a copy (`hand_on`), so an exchange never
sees the changes of another one. RFC 9110 sections 6, 8, 15; RFC 9112 sections 4, 6, 7.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Coroutine
from contextlib import AbstractAsyncContextManager
from copy import copy
from datetime import datetime
from functools import partial
from os import PathLike
from typing import Any, Never

from .bodies.body import Body, RenderedBody, RequestInfo, WrittenBody, trailers_of
from .bodies.file import FileBody
from .bodies.json import JSONBody
from .bodies.pieces import Pieces, Source
from .bodies.redirect import LocalRedirect, check_redirecting, location_of
from .bodies.stream import StreamBody, check_whole, stream_of
from .bodies.whole import length_of_whole, whole_body, write_slices
from .http.bytestream import ResponseStream
from .http.charsets import encode_utf8
from .http.cookies import SameSite, SetCookie, set_cookie_lines, with_cookie
from .http.headers import MutableHeaders, headers_of, refuse_touch
from .http.interfaces import Fields, Piece
from .http.mediatypes import HTML, JSON, OCTETS, TEXT, check_content_type, file_fields
from .http.response_head import WITHOUT_CONTENT, HeadCache, check_status, encode_head
from .http.trailers import Trailers
from .remedies import Suggesting, unknown_keyword

_CHECKED_TYPES = frozenset((None, TEXT, HTML, JSON, OCTETS))
_JOINED_BYTES = 64 * 1024  # a larger body has its own write: joining it would copy it (1.4 x)
_DECIDING = frozenset(("connection", "content-length", "date", "transfer-encoding"))


class Response(metaclass=Suggesting):
    """An answer: a status, header fields and a body.

    `body` is bytes, or a str that is sent as UTF-8; a `bytearray` or `memoryview` is copied. The
    default `content_type` is plain text for a str, and `application/octet-stream` for bytes.
    Raises: TypeError for a body of another type; LocalProtocolError for a status, name or value
    that HTTP can't carry.
    """

    __slots__ = ("_body", "_content_type", "_cookies", "_headers", "_is_used", "_status", "source")

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
        self.source: Body | None = None  # makes the body, if that is not bytes
        if isinstance(body, str):
            body = encode_utf8(body)
            content_type = content_type or TEXT
        elif isinstance(body, Body):
            self.source, body = body, b""
        elif type(body) is not bytes:
            body = whole_body(body)
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
            self.headers.fill(headers)

    # --- shorthands

    @staticmethod
    def text(text: str, status: int = 200, headers: Fields | None = None) -> Response:
        """Answer with plain text."""
        return Response(encode_utf8(text), status, headers, content_type=TEXT)

    @staticmethod
    def html(text: str, status: int = 200, headers: Fields | None = None) -> Response:
        """Answer with a page. `text` is sent unchanged: escape the values in it with `html()`."""
        return Response(encode_utf8(text), status, headers, content_type=HTML)

    @staticmethod
    def json(value: object, status: int = 200, headers: Fields | None = None) -> Response:
        """Answer with JSON; `app.json_default` converts values that the encoder does not know."""
        return Response(JSONBody(value), status, headers, content_type=JSON)

    @staticmethod
    def redirect(url: str, status: int = 303, *, local: bool = False) -> Response:
        """Send the client to `url`; with `local`, to `/` if `url` leaves this origin.

        Characters that a URL can't hold are percent-encoded, so no value can add header fields.
        """
        check_redirecting(status)
        body = LocalRedirect() if local else b""
        return Response(body, status, {"Location": location_of(url)})

    @staticmethod
    def stream(
        pieces: Source,
        status: int = 200,
        headers: Fields | None = None,
        *,
        content_type: str | None = None,
    ) -> Response:
        """Answer with pieces as they arrive: in chunks, or up to the close for HTTP/1.0.

        A plain iterable is iterated in a thread. Without a `content_type` the first piece decides:
        text for a str, `application/octet-stream` for bytes; text if it is late. A context manager
        is entered before the head is sent, a plain one in a thread. It is exited when the stream
        ends, fails, or is not sent (HEAD, 304). A failure before the first piece is an error like
        any other; the head waits half a second for it. A later failure cuts the connection.
        """
        return Response(StreamBody(pieces), status, headers, content_type=content_type)

    @staticmethod
    def events(
        events: AsyncIterable[object] | AbstractAsyncContextManager[AsyncIterable[object]],
        headers: Fields | None = None,
        *,
        heartbeat_s: float = 15.0,
    ) -> Response:
        """Answer with server-sent events as they arrive, for the `EventSource` of a page.

        An event is a `str`, a `ServerEvent` from `microweb.sse`, or a value for JSON. They come
        from an async iterator, or from a context manager of one, such as a channel's subscription.
        The iterator is closed within a second after the client has left, and when the server stops.
        After `heartbeat_s` without an event, the client gets a comment. A client that reads nothing
        between two comments counts as gone. WHATWG HTML section 9.2.
        """
        from .sse.body import FIELDS, MEDIA_TYPE, EventBody

        response = Response(EventBody(events, heartbeat_s), 200, headers, content_type=MEDIA_TYPE)
        response.headers.set_missing(FIELDS)
        return response

    @staticmethod
    def file(
        path: str | PathLike[str],
        *,
        content_type: str | None = None,
        download_name: str | None = None,
        cache: int | str | None = None,
    ) -> Response:
        """Answer with a file: whole, a range of it, or 304 if the client has it already.

        The media type follows from the name; text counts as UTF-8. With `download_name` a browser
        saves it under that name. `cache` is a Cache-Control field or a `max-age` in seconds. None
        means `no-cache`: the client asks each time, and mostly gets a 304.
        Choose `path` yourself; if the client chooses a part of it, use `app.static`. If it is not
        a regular file or a link to one, the answer is 404. An unreadable file raises OSError.
        """
        headers = file_fields(cache, download_name)
        return Response(FileBody(path), 200, headers, content_type=content_type)

    # --- its parts

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
        """The whole body; setting it does not change the header fields.

        JSON and templates are rendered without a request. Raises: LocalProtocolError for a stream.
        """
        if self.source is not None and not self._body:
            check_whole(self.source)
            if isinstance(self.source, RenderedBody):
                head = Response(status=self._status, headers=self.headers.pairs())
                self._body = self.source.render(None, head)
        return self._body

    @body.setter
    def body(self, body: bytes) -> None:
        check_whole(self.source)
        self._touch()
        self._body = body if type(body) is bytes else whole_body(body)
        if isinstance(self.source, RenderedBody):
            self.source = self.source.replaced(self._body)

    @property
    def pieces(self) -> AsyncIterable[Piece]:
        """The pieces of a stream, for middleware that changes them.

        The response closes the generator, file or other source of the pieces. Raises:
        AttributeError if it is not a stream, so `hasattr` finds streams.
        """
        return stream_of(self.source, self).pieces

    @pieces.setter
    def pieces(self, pieces: Pieces) -> None:
        self._touch()
        stream_of(self.source, self).replace(pieces, self.headers)

    @property
    def trailers(self) -> Trailers:
        """The fields behind the last piece of a stream, which its generator sets.

        HTTP/1.0, HEAD, 204 and 304 get none. Raises: AttributeError if the length is known.
        """
        return trailers_of(self.source, self)

    @property
    def headers(self) -> MutableHeaders:
        """The header fields, without those that framing adds when the response is sent."""
        if self._headers is None:
            self._headers = headers_of(self._content_type, is_frozen=self._is_used)
        return self._headers

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
        samesite: SameSite | None = "lax",
        partitioned: bool = False,
    ) -> Response:
        """Set a cookie and return the response. RFC 6265; `max_age` is in seconds.

        It replaces a cookie of the same name, path and domain. With `secure=None`, it is secure if
        the request's scheme is https. Raises: ValueError for a cookie that browsers would refuse.
        """
        cookie = SetCookie(
            name, value, max_age, expires, path, domain, secure, httponly, samesite, partitioned
        )
        return self._put_cookie(cookie)

    def delete_cookie(
        self,
        name: str,
        *,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool | None = None,
        httponly: bool = True,
        samesite: SameSite | None = "lax",
        partitioned: bool = False,
    ) -> Response:
        """Delete a cookie of the client. Pass the same `path` and `domain` as to `set_cookie`."""
        gone = SetCookie(name, "", 0, 0, path, domain, secure, httponly, samesite, partitioned)
        return self._put_cookie(gone)

    def _put_cookie(self, cookie: SetCookie) -> Response:
        self._touch()
        _ = self.headers  # `encode` adds cookies only if there are fields
        self._cookies = with_cookie(self._cookies, cookie)
        return self

    def _touch(self) -> None:
        if self._is_used:
            refuse_touch()

    # --- called by the application

    is_value = False  # True: an error handler may return it, like a str, with the error's status

    async def prepare(self, request: RequestInfo) -> Response:
        """Return the response for `request`: itself, or a copy if it may answer other requests.

        Await it when an endpoint or a middleware returns a response whose `source` is not None.
        """
        if isinstance(self.source, WrittenBody):
            await self.source.prepare(request, self)
            return self
        return self.rendered(request)

    def rendered(self, request: RequestInfo | None) -> Response:
        """Return a copy for one exchange, with its body as bytes.

        `request` is None if the client sent no valid one. Raises: LocalProtocolError for a stream.
        """
        check_whole(self.source)
        other = self.hand_on()
        if isinstance(self.source, RenderedBody):
            other._body = self.source.render(request, other)
            other.source = None
        return other

    def hand_on(self) -> Response:
        """Return a copy for one exchange, with its own header fields and cookies.

        From now on this response refuses changes, because another exchange may use it at the same
        time. A body that writes itself is written only once: such a response is returned itself.
        """
        if self.source is not None and isinstance(self.source, WrittenBody):
            return self
        kind, headers = type(self), self._headers
        if kind is PlainResponse or kind is Response:
            other: Response = PlainResponse()
            other.source = self.source
            other._body = self._body
            other._status = self._status
            other._content_type = self._content_type
            other._cookies = self._cookies
        else:
            other = copy(self)
        other._headers = None if headers is None else headers.freeze()
        self._is_used = True
        other._is_used = False
        return other

    # --- called by the connection

    def encode(self, request: RequestInfo, heads: HeadCache, connection: bytes) -> bytes | None:
        """Return the whole answer as one piece, or None if `send_to` must be awaited.

        `connection` is the field line that says whether the connection persists, or empty. Raises:
        LocalProtocolError for a wrong Content-Length, and for Transfer-Encoding.
        """
        body, headers, status = self._body, self._headers, self._status
        size = len(body)
        if size > _JOINED_BYTES or self.source is not None:
            if isinstance(self.source, RenderedBody):  # no application has prepared it
                return self.rendered(request).encode(request, heads, connection)
            if isinstance(self.source, FileBody) and (taken := self.source.take(request, self)):
                framing, content = taken
                return self._encode_head(request, heads, connection, framing) + content
            return None
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
        head = self._encode_head(request, heads, connection)
        return head if request.line.method == "HEAD" else head + body

    def send_to(
        self, stream: ResponseStream, request: RequestInfo, heads: HeadCache, connection: bytes
    ) -> Coroutine[Any, Any, None]:
        """Return the coroutine that writes the answer. If it raises, the connection must be cut."""
        source = self.source
        if isinstance(source, WrittenBody):  # return its own coroutine: a wrapper slows each step
            if self._status == 101:
                connection = b""  # its own field line says Upgrade
            encode_head = partial(self._encode_head, request, heads, connection)
            return source.send(stream, request, self, encode_head)
        return self._send_whole(stream, request, heads, connection)

    async def _send_whole(
        self, stream: ResponseStream, request: RequestInfo, heads: HeadCache, connection: bytes
    ) -> None:
        response = self if self.source is None else self.rendered(request)
        stream.write(response._encode_head(request, heads, connection))
        if request.line.method != "HEAD" and response._status not in WITHOUT_CONTENT:
            await write_slices(stream, memoryview(response._body))

    def _encode_head(
        self,
        request: RequestInfo,
        heads: HeadCache,
        connection: bytes,
        framing: bytes | None = None,
    ) -> bytes:
        """Return the head. The default framing is a Content-Length; raise if it is set wrongly."""
        is_touched = self._headers is not None
        headers = self.headers
        if framing is None:
            framing = length_of_whole(request.line, self._status, headers, len(self._body))
        cookies = set_cookie_lines(self._cookies, request.scheme) if self._cookies else ""
        head = encode_head(heads, self._status, headers.lines, cookies, framing, connection)
        headers.is_frozen = self._is_used = True
        if not is_touched:
            self._headers = None  # another exchange may share the response
        return head

    def __repr__(self) -> str:
        name = "Response" if type(self) is PlainResponse else type(self).__name__
        return f"<{name} {self._status}>"


class PlainResponse(Response):
    """A Response without an `__init__`: `plain_response` makes it in two thirds of the time."""

    __slots__ = ()

    __init__ = object.__init__


def plain_response(body: bytes, content_type: str | None, status: int = 200) -> Response:
    """Return a response whose arguments need no check, for the values of most endpoints."""
    response: Response = PlainResponse()
    response.source = None
    response._body = body
    response._status = status
    response._content_type = content_type
    response._headers = response._cookies = None
    response._is_used = False
    return response
