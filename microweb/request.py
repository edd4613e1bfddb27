"""Request: the view that a handler has of one exchange.

A request is a thin view on two immutable values that the parser made, its `RequestLine` and its
`HeaderSection`, which may be shared with other requests that repeat the same bytes. Everything
costly (query, cookies, decoded path, body) is worked out when it is first asked for. It speaks to
the layers above it by the protocols of `http.interfaces`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from inspect import iscoroutine
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload
from urllib.parse import unquote

from .bodies.incoming import IncomingBody, json_container
from .bodies.json_types import converter_near
from .errors import BadRequest, ConfigurationError
from .http.cookies import parse_cookies
from .http.exchange import Exchange
from .http.headers import Headers
from .http.interfaces import Address, BodySource, MatchInfo, Peer, RequestApp, RouteInfo
from .http.multidict import MultiDict
from .http.request_head import HeaderSection, RequestLine
from .http.urlencoded import parse_urlencoded
from .remedies import Suggesting
from .sessions.session import Session

if TYPE_CHECKING:
    from .bodies.forms import Form
    from .bodies.multipart import Part
    from .response import Response

P = ParamSpec("P")
T = TypeVar("T")


class Request(metaclass=Suggesting):
    """One HTTP request. Made by the parser; handlers get it, tests send it.

    `method`, `raw_path` and `query_string` are as sent; `path` is decoded; `headers`, `query` and
    `cookies` are mappings; `error` is the exception that an error handler answered, for middleware.
    """

    __slots__ = (
        "_cookies",
        "_exchange",
        "_incoming",
        "_origin",
        "_query",
        "_state",
        "error",
        "line",
        "match",
        "section",
        "source",
        "transport",
    )

    line: RequestLine
    section: HeaderSection
    transport: Peer
    source: BodySource | None
    match: MatchInfo | None
    error: BaseException | None
    _origin: tuple[Address | None, str] | None
    _query: MultiDict | None
    _cookies: dict[str, str] | None
    _state: SimpleNamespace | None
    _exchange: Exchange | None
    _incoming: IncomingBody | None

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.line.target!r}>"

    # --- the request line

    @property
    def method(self) -> str:
        """The method, in capitals as sent: `GET`."""
        return self.line.method

    @property
    def raw_path(self) -> str:
        """The path as sent, percent-encoded ASCII."""
        return self.line.raw_path

    @property
    def path(self) -> str:
        """The decoded path, without the `prefix` that the app is mounted at."""
        path = self.line.raw_path
        depth = self.prefix.count("/")
        if depth:
            _, *segments = path.split("/", depth + 1)
            path = f"/{segments[-1]}" if len(segments) > depth else ""
        return unquote(path)

    @property
    def prefix(self) -> str:
        """The path that this app is mounted at: `/admin`; empty for the outermost app."""
        return self.match.prefix if self.match is not None else ""

    @property
    def query_string(self) -> str:
        """The query behind the question mark, as sent."""
        return self.line.query_string

    @property
    def query(self) -> MultiDict:
        """The query's fields. Raises: TooManyFields (400) past `max_form_fields`."""
        if self._query is None:
            limit = self.transport.limits.max_form_fields
            self._query = MultiDict(parse_urlencoded(self.line.query_string, max_fields=limit))
        return self._query

    # --- the header section

    @property
    def headers(self) -> Headers:
        """The header fields: an immutable mapping, names in any case."""
        return self.section.headers

    @property
    def http_version(self) -> str:
        """`1.1` or `1.0`."""
        return f"1.{self.section.minor_version}"

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name; the first of a name wins. RFC 6265 section 5.4."""
        if self._cookies is None:
            self._cookies = parse_cookies(self.section.headers.get("cookie", ""))
        return self._cookies

    @property
    def last_event_id(self) -> str | None:
        """The id of the last event that a client got before its stream broke; None for a new one.

        Bytes of it that are not UTF-8 become U+FFFD. WHATWG HTML section 9.2.4
        """
        value = self.section.headers.get("last-event-id", "")
        return value.encode("latin-1").decode("utf-8", "replace") or None

    @property
    def host(self) -> str:
        """The host that is addressed, with its port as sent; empty if none was sent."""
        authority = self.line.authority
        return self.section.headers.get("host", "") if authority is None else authority

    @property
    def hostname(self) -> str:
        """The host that is addressed, without port and brackets, in lower case."""
        host = self.host.lower()
        if host.startswith("["):
            return host[1 : host.index("]")]
        return host.partition(":")[0]

    # --- who asks

    @property
    def peer(self) -> Address | None:
        """The socket's other end."""
        return self.transport.address

    @property
    def client(self) -> Address | None:
        """Who asks: behind trusted proxies the client that they name, else the socket's end."""
        return self._asker()[0]

    @property
    def scheme(self) -> str:
        """`http` or `https`, behind trusted proxies as they say."""
        return self._asker()[1]

    def _asker(self) -> tuple[Address | None, str]:
        """Return (client, scheme), found once: with 32 hops that takes 0.3 ms."""
        if self._origin is None:
            self._origin = self.transport.origin_of(self.section.headers)
        return self._origin

    @property
    def url(self) -> str:
        """The absolute URL that was asked for."""
        query = f"?{self.line.query_string}" if self.line.query_string else ""
        path = "" if self.line.raw_path == "*" else self.line.raw_path  # RFC 9112 section 3.3
        return f"{self.scheme}://{self.host}{path}{query}"

    # --- the application's part

    @property
    def app(self) -> RequestApp[Response]:
        """The app that answers: the mounted one if the route is of one."""
        if self.match is None:
            raise ConfigurationError("request.app: this request did not come through an App")
        return self.match.app

    @property
    def route(self) -> RouteInfo | None:
        """The route that matched; None on a 404 or 405."""
        return self.match.route if self.match is not None else None

    @property
    def path_params(self) -> dict[str, object]:
        """The path's parameters by name, converted; a fresh dict."""
        return dict(self.match.params) if self.match is not None else {}

    @property
    def state(self) -> SimpleNamespace:
        """A place for middleware to leave values for the endpoint: `request.state.user`."""
        if self._state is None:
            self._state = SimpleNamespace()
        return self._state

    @property
    def session(self) -> Session:
        """The session of this client: a dict, read when it is first asked for.

        Raises: ConfigurationError without `Sessions`; LocalProtocolError if it is first
        asked for once the answer was decided.
        """
        return self.exchange.session

    @property
    def exchange(self) -> Exchange:
        """The resources of this exchange, for middleware and answers; made at the first look."""
        if self._exchange is None:
            self._exchange = Exchange()
        return self._exchange

    @property
    def has_exchange(self) -> bool:
        """Whether anything was kept in `exchange`."""
        return self._exchange is not None

    def url_for(self, name: str, /, *, absolute: bool = False, **params: object) -> str:
        """Return the path of the route `name` of this app, with the prefix it is mounted at.

        With `absolute` it is a URL of the host that the client asked, which the client chooses: see
        the middleware `AllowedHosts`. Raises: as `app.url_for`; BadRequest if the client named no
        host, which HTTP/1.0 allows.
        """
        path = self.prefix + self.app.url_for(name, **params)
        if not absolute:
            return path
        if not self.host:
            raise BadRequest("expected the field Host, got none")
        return f"{self.scheme}://{self.host}{path}"

    def after_response(
        self, function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Call `function(*args, **kwargs)` once the answer is out: a plain `def` in a thread.

        It runs in a task of its own, with the context variables of now, so that the next request of
        this client does not wait for it; also behind an error's answer, and if the client has left.
        Its exception is logged. A server that stops waits for it within `grace_s`, then cancels it.
        """
        if not callable(function):
            if iscoroutine(function):
                function.close()
            raise TypeError(
                f"expected a function as in after_response(work, 1), got {function!r:.80}: leave "
                "the call to microweb"
            )
        self.transport.after_response(self, partial(function, *args, **kwargs))

    # --- the client's presence

    async def disconnected(self) -> None:
        """Return once the client has left: reset the connection, or ended its side of it.

        It is looked at once a second. A client that has only ended its side may still read: its
        request is answered, unless you stop. Cancel it when you no longer wait. If the client
        stays, it returns when the answer is out.
        """
        await self.transport.disconnected(self)

    def shield(self) -> AbstractAsyncContextManager[None]:
        """Return a block that runs to its end though the client leaves: `async with`.

        If `on_disconnect` says so, the handler is cancelled behind the block. The block
        does not hold up a server that stops for longer than `grace_s`, nor a time limit. It has no
        effect once the answer is out.
        """
        return self.transport.shield(self)

    # --- the body

    @property
    def incoming(self) -> IncomingBody:
        """The reader of this request's body, made when it is first asked for."""
        if self._incoming is None:
            self._incoming = IncomingBody(self.section, self.source, self.transport.limits)
        return self._incoming

    async def body(self) -> bytes:
        """Return the whole body, the same at each call.

        Raises: ContentTooLarge past the limit; MalformedRequest, BodyTimeout or
        ClientDisconnected if the peer fails; BodyConsumed after `stream()`, and once the request
        is answered, unless it was read before.
        """
        return await self.incoming.read(self.max_body)

    def stream(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces as they come, keeping none; after `body()` replay it.

        Raises: as `body()`; BodyConsumed the second time.
        """
        return self.incoming.stream(self.max_body)

    async def text(self) -> str:
        """Return the body decoded by its charset, UTF-8 if none is named.

        The charsets are those of the WHATWG Encoding Standard that Python has, and UTF-32.
        Raises: UnsupportedMediaType (415) for an unknown charset, and for a Content-Encoding;
        BadRequest for wrong bytes.
        """
        return await self.incoming.text(self.max_body, name_in_log(self))

    @overload
    async def json(self) -> Any: ...
    @overload
    async def json(self, type: type[T]) -> T: ...
    async def json(self, type: type[T] | None = None) -> Any:
        """Return the body's JSON object or array; with `type`, checked and converted to it.

        `type` is dict, list, a dataclass, a TypedDict, or made of these; `object` is any value. In
        a body of more than 5,000 values the types are made in a thread, `__post_init__` too.
        Raises: BadRequest with the position if it is not JSON in UTF-8; UnprocessableContent (422)
        with the place if it is not of that shape; ContentTooLarge past `max_json` or
        `max_json_values`; UnsupportedMediaType for a Content-Encoding.
        """
        incoming = self.incoming
        value = await incoming.json(self.max_body, self.max_json, self.max_json_values)
        if type is None:
            return json_container(value)
        convert = converter_near(type, sys._getframe(1))
        return await incoming.convert(value, convert, name_in_log(self))

    async def form(self) -> Form:
        """Return the fields of a form, and its `files`; the same at each call.

        Files are in memory up to 1 MiB, past that in a temporary file, of which nothing is left
        once the form is dropped, or the endpoint has raised.
        Raises: UnsupportedMediaType for a body that is no form, or is coded; BadRequest for a
        malformed one; ContentTooLarge past `max_form_fields` or `max_form_text`; as `body()`.
        WHATWG URL, application/x-www-form-urlencoded; RFC 7578.
        """
        return await self.incoming.form(self.max_body)

    def parts(self) -> AsyncIterator[Part]:
        """Yield the parts of a multipart form as they come, keeping none of them.

        Each is there until the next is asked for; its unread rest is passed over.
        Raises: UnsupportedMediaType for another or a coded body; BadRequest for a malformed form;
        ContentTooLarge past `max_form_fields` parts; as `stream()`. RFC 7578.
        """
        return self.incoming.parts(self.max_body)

    @property
    def waits_for_body(self) -> bool:
        """Whether reading the body may wait for the client."""
        is_read = self._incoming is not None and self._incoming.is_whole
        return self.source is not None and not is_read and self.source.waits_for_peer

    @property
    def max_body(self) -> int | None:
        """The most bytes that the body may have, by the route or the app; None: the server says."""
        return self.match.limits.max_body if self.match is not None else None

    @property
    def max_json(self) -> int:
        """The most bytes that `json()` reads, by the route, the app or the server."""
        limit = self.match.limits.max_json if self.match is not None else None
        return self.transport.limits.max_json if limit is None else limit

    @property
    def max_json_values(self) -> int:
        """The most elements and members that JSON may have, by the route, the app or the server."""
        limit = self.match.limits.max_json_values if self.match is not None else None
        return self.transport.limits.max_json_values if limit is None else limit

    @property
    def trailers(self) -> Headers | None:
        """The fields behind a chunked body, once it is read whole; else None."""
        return self.source.trailers if self.source is not None else None


# An app is one, and so is each link of its chain: the server needs nothing else.
if TYPE_CHECKING:
    Handler = Callable[[Request], Coroutine[Any, Any, Response]]
else:  # at run time a request imports nothing that can wait
    Handler = Callable[[Request], Coroutine[Any, Any, Any]]


def make_request(
    line: RequestLine, section: HeaderSection, transport: Peer, source: BodySource | None = None
) -> Request:
    """Return a new Request, at two thirds of the cost of an `__init__`."""
    request = Request()
    request.line = line
    request.section = section
    request.transport = transport
    request.source = source
    request.match = None
    request.error = None
    request._origin = None
    request._query = None
    request._cookies = None
    request._state = None
    request._exchange = None
    request._incoming = None
    return request


def request_id_of(request: Request) -> str | None:
    """Return the id that the middleware `RequestID` gave a request: for logs."""
    return None if request._state is None else getattr(request._state, "request_id", None)


def name_in_log(request: Request) -> str:
    """Return `GET /path`, and behind it in brackets the id of a request that has one."""
    request_id = request_id_of(request)
    name = f"{request.line.method} {request.line.raw_path}"
    return name if request_id is None else f"{name} [{request_id}]"
