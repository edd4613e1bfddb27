"""Request: a handler's view of one exchange.

A request is a thin view of two immutable values from the parser: its `RequestLine` and its
`HeaderSection`. Requests with equal bytes may share them. Costly values (query, cookies, decoded
path, body) are computed at their first use. A request calls the layers above it only through the
protocols of `http.interfaces`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from .bodies.incoming import IncomingBody, json_container
from .bodies.json_types import converter_near
from .concurrency.callables import check_callable
from .errors import BadRequest, ConfigurationError
from .http.cookies import parse_cookies
from .http.early_hints import check_links
from .http.exchange import Exchange
from .http.headers import Headers
from .http.interfaces import Address, BodySource, MatchInfo, Origin, Peer, RequestApp, RouteInfo
from .http.multidict import MultiDict
from .http.origins import hostname_of
from .http.request_head import HeaderSection, RequestLine
from .http.request_log import name_in_log
from .http.urlencoded import decode_path, parse_urlencoded
from .remedies import Suggesting
from .sessions.session import Session

if TYPE_CHECKING:
    from .bodies.forms import Form
    from .bodies.multipart import Part
    from .http.tls import TLSInfo
    from .response import Response

P = ParamSpec("P")
T = TypeVar("T")


class Request(metaclass=Suggesting):
    """One HTTP request. The parser makes it, and handlers get it.

    `method`, `raw_path` and `query_string` are as sent; `path` is decoded; `headers`, `query` and
    `cookies` are mappings. `error` tells middleware which exception the answer is for.
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
    _origin: Origin | None
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
        """The method as sent, such as `GET`."""
        return self.line.method

    @property
    def raw_path(self) -> str:
        """The path as sent, percent-encoded ASCII."""
        return self.line.raw_path

    @property
    def path(self) -> str:
        """The decoded path, without the prefix where the app is mounted."""
        return decode_path(self.line.raw_path, self.match.prefix if self.match is not None else "")

    @property
    def prefix(self) -> str:
        """The start of this app's URLs: `root_path`, and the path where the app is mounted."""
        return self.root_path + (self.match.prefix if self.match is not None else "")

    @property
    def root_path(self) -> str:
        """The start of the path that a proxy has removed: `/shop`; mostly empty."""
        return self._find_origin().root_path

    @property
    def query_string(self) -> str:
        """The query after the question mark, as sent."""
        return self.line.query_string

    @property
    def query(self) -> MultiDict:
        """The query parameters. Raises: TooManyFields (400) if more than `max_form_fields`."""
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
        """`1.1` or `1.0`; another ASGI server may also give `2` or `3`."""
        return self.section.http_version

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name; of two with one name, the first. RFC 6265 section 5.4."""
        if self._cookies is None:
            self._cookies = parse_cookies(self.section.headers.get("cookie", ""))
        return self._cookies

    @property
    def last_event_id(self) -> str | None:
        """The id of the last event that the client got before its stream broke, or None.

        Bytes that are not UTF-8 become U+FFFD. WHATWG HTML section 9.2.4
        """
        value = self.section.headers.get("last-event-id", "")
        return value.encode("latin-1").decode("utf-8", "replace") or None

    @property
    def host(self) -> str:
        """The host that the request or a trusted proxy names, with its port; empty if none is."""
        origin, authority = self._find_origin(), self.line.authority
        named = self.section.headers.get("host", "") if authority is None else authority
        return origin.host_of(named)

    @property
    def hostname(self) -> str:
        """The host that the request names, without port and brackets, in lower case."""
        return hostname_of(self.host)

    # --- the client

    @property
    def peer(self) -> Address | None:
        """The address of the socket's other end; over a Unix socket its user, as `uid=33`."""
        return self.transport.address

    @property
    def client(self) -> Address | None:
        """The client's address: as trusted proxies report it, else the socket's other end."""
        return self._find_origin().client

    @property
    def scheme(self) -> str:
        """`http` or `https`: as trusted proxies report it, else the connection's scheme."""
        return self._find_origin().scheme

    @property
    def tls(self) -> TLSInfo | None:
        """The TLS side of the connection, with the client's certificate; None without TLS."""
        return self.transport.tls

    def _find_origin(self) -> Origin:
        """Return the origin, computed once: with 32 hops that takes 0.3 ms."""
        if self._origin is None:
            self._origin = self.transport.origin_of(self.section)
        return self._origin

    @property
    def url(self) -> str:
        """The absolute URL of the request."""
        query = f"?{self.line.query_string}" if self.line.query_string else ""
        path = "" if self.line.raw_path == "*" else self.line.raw_path  # RFC 9112 section 3.3
        return f"{self.scheme}://{self.host}{self.root_path}{path}{query}"

    # --- the application's part

    @property
    def app(self) -> RequestApp[Response]:
        """The app that answers: the mounted app if the route belongs to one."""
        if self.match is None:
            raise ConfigurationError("request.app: this request did not come through an App")
        return self.match.app

    @property
    def route(self) -> RouteInfo | None:
        """The route that matched; None on a 404 or 405."""
        return self.match.route if self.match is not None else None

    @property
    def path_params(self) -> dict[str, object]:
        """The path parameters by name, converted; each access returns a new dict."""
        return dict(self.match.params) if self.match is not None else {}

    @property
    def state(self) -> SimpleNamespace:
        """A namespace for values that middleware gives to the endpoint: `request.state.user`."""
        if self._state is None:
            self._state = SimpleNamespace()
        return self._state

    @property
    def session(self) -> Session:
        """The session of this client: a dict that is read at its first use.

        Raises: ConfigurationError without `Sessions`; LocalProtocolError if the first use comes
        after the answer was decided.
        """
        return self.exchange.session

    @property
    def exchange(self) -> Exchange:
        """The resources of this exchange, for middleware and answers; created at the first use."""
        if self._exchange is None:
            self._exchange = Exchange()
        return self._exchange

    @property
    def has_exchange(self) -> bool:
        """True if `exchange` has been used."""
        return self._exchange is not None

    def url_for(self, name: str, /, *, absolute: bool = False, **params: object) -> str:
        """Return the path of the route `name` of this app, with the prefix of the app.

        With `absolute`, return a URL with the host that the request names. The client chooses that
        host: see the middleware `AllowedHosts`. Raises: as `app.url_for`; BadRequest if the request
        names no host, which HTTP/1.0 allows.
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
        """Call `function(*args, **kwargs)` after the answer is sent, a plain `def` in a thread.

        The call has its own task, with the current context variables, so the client's next request
        does not wait for it. It also runs after an error's answer, and if the client has left. Its
        exception is logged. A server that stops waits up to `grace_s` for it, then cancels it.
        """
        check_callable(function, "after_response(work, 1)")
        self.transport.after_response(self, partial(function, *args, **kwargs))

    async def early_hints(self, links: Iterable[str]) -> None:
        """Send a 103 with `links`, such as `</style.css>; rel=preload; as=style`. RFC 8297

        It has no effect for HTTP/1.0, after the answer has begun, or if the client does not read.
        Raises: LocalProtocolError for a value that is not a link.
        """
        checked = check_links(links)
        if self.section.minor_version:
            await self.transport.early_hints(self, checked)

    # --- clients that leave

    async def disconnected(self) -> None:
        """Return when the client has left: it reset the connection, or ended its side of it.

        The connection is checked once a second. A client that only ended its side may still read,
        and gets the answer unless you stop. If the client stays, the call returns when the answer
        is sent. Cancel the call if you no longer need it.
        """
        await self.transport.disconnected(self)

    def shield(self) -> AbstractAsyncContextManager[None]:
        """Return a context manager: its `async with` block runs to its end if the client leaves.

        If `on_disconnect` is "cancel", the handler is cancelled after the block. A stop waits for
        the block at most `grace_s`, and a time limit ends it. After the answer it has no effect.
        """
        return self.transport.shield(self)

    # --- the body

    @property
    def incoming(self) -> IncomingBody:
        """The reader of this request's body, created at its first use."""
        if self._incoming is None:
            self._incoming = IncomingBody(self.section, self.source, self.transport.limits)
        return self._incoming

    async def body(self) -> bytes:
        """Return the whole body, the same at each call.

        Raises: ContentTooLarge past the limit; MalformedRequest, BodyTimeout or
        ClientDisconnected if the peer fails; BodyConsumed after `stream()`, or after the answer
        unless the body was read before it.
        """
        return await self.incoming.read(self.max_body)

    def stream(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces as they arrive, and keep none; after `body()`, yield that body.

        Raises: as `body()`; BodyConsumed at the second call.
        """
        return self.incoming.stream(self.max_body)

    async def text(self) -> str:
        """Return the body decoded with the charset of its Content-Type, by default UTF-8.

        The charsets are those of the WHATWG Encoding Standard that Python has, and UTF-32.
        Raises: UnsupportedMediaType (415) for an unknown charset, and for a Content-Encoding;
        BadRequest if the bytes do not fit the charset.
        """
        return await self.incoming.text(self.max_body, name_in_log(self))

    @overload
    async def json(self) -> Any: ...
    @overload
    async def json(self, type: type[T]) -> T: ...
    async def json(self, type: type[T] | None = None) -> Any:
        """Return the JSON object or array of the body; with `type`, check and convert it.

        `type` is dict, list, a dataclass, a TypedDict, or a combination of these; `object` allows
        any value. More than 5,000 values are converted in a thread, which runs `__post_init__` too.
        Raises: BadRequest with the position if it is not JSON in UTF-8; UnprocessableContent (422)
        with the place if it does not have that type; ContentTooLarge past `max_json` or
        `max_json_values`; UnsupportedMediaType for a Content-Encoding.
        """
        incoming, own = self.incoming, self.match.limits if self.match is not None else None
        if type is None:
            return json_container(await incoming.json(own))
        convert, plain = converter_near(type, sys._getframe(1))
        value = await incoming.json(own, plain=plain)
        return await incoming.convert(value, convert, partial(name_in_log, self))

    async def form(self) -> Form:
        """Return the fields of a form, and its `files`; the same at each call.

        A file above 1 MiB is a temporary file. It is deleted when the form is no longer used, or
        when the endpoint raises. Raises: UnsupportedMediaType if the body is not a form or has a
        Content-Encoding; BadRequest if it is malformed; ContentTooLarge past `max_form_fields` or
        `max_form_text`; as `body()`. WHATWG URL, application/x-www-form-urlencoded; RFC 7578.
        """
        return await self.incoming.form(self.max_body)

    def parts(self) -> AsyncIterator[Part]:
        """Yield the parts of a multipart form as they arrive, and keep none of them.

        Read each part before you ask for the next; the unread rest is skipped. Raises: as `form()`
        and `stream()`; ContentTooLarge past `max_form_fields` parts. RFC 7578.
        """
        return self.incoming.parts(self.max_body)

    @property
    def waits_for_body(self) -> bool:
        """True if reading the body may wait for the client."""
        is_read = self._incoming is not None and self._incoming.is_whole
        return self.source is not None and not is_read and self.source.waits_for_peer

    @property
    def max_body(self) -> int | None:
        """The limit of the body in bytes, from the route or the app; None: the server's limit."""
        return self.match.limits.max_body if self.match is not None else None

    @property
    def max_json(self) -> int:
        """The limit of `json()` in bytes, from the route, the app or the server."""
        limit = self.match.limits.max_json if self.match is not None else None
        return self.transport.limits.max_json if limit is None else limit

    @property
    def max_json_values(self) -> int:
        """The limit of elements and members of JSON, from the route, the app or the server."""
        limit = self.match.limits.max_json_values if self.match is not None else None
        return self.transport.limits.max_json_values if limit is None else limit

    @property
    def trailers(self) -> Headers | None:
        """The fields after a chunked body when it has been read whole, else None."""
        return self.source.trailers if self.source is not None else None


# An app is a handler, and so is each link of its chain. The server calls nothing else.
if TYPE_CHECKING:
    Handler = Callable[[Request], Coroutine[Any, Any, Response]]
else:  # `response` is above this module: do not import it at run time
    Handler = Callable[[Request], Coroutine[Any, Any, Any]]


def make_request(
    line: RequestLine, section: HeaderSection, transport: Peer, source: BodySource | None = None
) -> Request:
    """Return a new Request in two thirds of the time that an `__init__` takes."""
    request = Request()
    request.line = line
    request.section = section
    request.transport = transport
    request.source = source
    request.match = request.error = request._origin = request._query = None
    request._cookies = request._state = request._exchange = request._incoming = None
    return request
