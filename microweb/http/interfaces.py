"""Protocols for the objects that a request uses from the layers above it.

The connection provides `Peer` and `BodySource`; the application provides `RequestApp`, `RouteInfo`
and `MatchInfo`; a middleware provides `SessionSource`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from ..sessions.session import Session
from .headers import Headers
from .hosts import with_port
from .request_head import HeaderSection

if TYPE_CHECKING:
    from ..concurrency.background import Task
    from .tls import TLSInfo

T = TypeVar("T")
Answer = TypeVar("Answer", covariant=True)  # the class Response of a layer above

Fields = Mapping[str, str] | Iterable[tuple[str, str]]  # of a header section
Piece = str | bytes  # of a body; text is sent as UTF-8


class Address(NamedTuple):
    """One end of a connection: an IP address and a port, or `uid=33` and 0 over a Unix socket."""

    host: str
    port: int


class Origin(NamedTuple):
    """Where a request comes from, as the trusted proxies in front of the server report it."""

    client: Address | None
    scheme: str
    host: str | None = None  # None: the one that the request itself names
    root_path: str = ""  # that a proxy has removed from the start of the path
    port: int | None = None  # in place of the port of the host that the request itself names

    def host_of(self, named: str) -> str:
        """Return the host of a request that itself names `named`, which may be empty."""
        if self.host or self.port is None or not named:
            return self.host or named
        return with_port(named, self.port, self.scheme)


OnLost = Callable[[], None] | None  # called if a client has left

# The server's end of a connection: a host and a port, or the path of a Unix socket and None.
LocalEnd = tuple[str, int | None] | None


class Ends(NamedTuple):
    """What all requests of a connection have in common."""

    local: LocalEnd  # None if it is not known
    origin: Origin | None  # None if a proxy may report another one for each request
    has_tls: bool


class ServerLimits(NamedTuple):
    """The server's limits for the content of requests and for WebSockets.

    `ServerConfig` documents each of them. A route or an app may set some: see `BodyLimits`.
    """

    max_json: int
    max_json_values: int
    max_form_fields: int
    max_form_text: int
    max_message: int
    ping_interval_s: float
    ping_timeout_s: float


class Peer(Protocol):
    """The methods of the connection that a request uses."""

    @property
    def address(self) -> Address | None: ...
    @property
    def ends(self) -> Ends:
        """The two ends of the connection."""

    @property
    def tls(self) -> TLSInfo | None: ...
    @property
    def limits(self) -> ServerLimits: ...
    @property
    def is_draining(self) -> bool:
        """Whether the server is about to stop, and no other worker takes over."""

    def origin_of(self, section: HeaderSection) -> Origin:
        """Return the origin of a request, as the trusted proxies report it."""

    def after_response(self, request: object, function: Callable[[], object]) -> None:
        """Run `function()` in the background after `request` is answered."""

    async def early_hints(self, request: object, links: Sequence[str]) -> None:
        """Send a 103 with `links`, values of the field Link that are checked already.

        It has no effect if the answer to `request` has begun, or its client has left.
        """

    async def disconnected(self, request: object) -> None:
        """Wait until the client of `request` has left, or `request` is answered."""

    def shield(self, request: object) -> AbstractAsyncContextManager[None]:
        """Return a context manager: a client of `request` that leaves does not cancel its block."""

    def cleaning_up(self, request: object, lost: OnLost = None) -> AbstractContextManager[None]:
        """Return a context manager like `shield` that does not check the client at its end.

        A client that has ended only its own side then gets the rest of an answer. `lost()` is
        called once, also after the block, if the client of `request` has left before the answer.
        """


class BodySource(Protocol):
    """The source of the bytes of a request's body."""

    trailers: Headers | None

    def take_whole(self, limit: int | None) -> bytes | None:
        """Return the whole body if all of it has arrived; else consume nothing and return None.

        `limit` is in bytes; None means the server's limit. Raises: as `read()`.
        """

    async def read(self, limit: int | None) -> bytes:
        """Return the next piece, `b""` at the end. After an error, raise the same error again.

        Raises: BodyConsumed once the request is answered.
        """

    def keep(self, size: int) -> None:
        """Count `size` bytes of the body as kept in memory while more of it arrives."""

    @property
    def waits_for_peer(self) -> bool:
        """Whether `read` may have to wait for the peer before the body ends."""

    async def read_ahead(self, limit: int | None) -> None:
        """Read and keep up to the server's `max_body` bytes, which `read` then returns.

        An error of the body is not raised here, but by the next `read`.
        """


class RouteInfo(Protocol):
    """The attributes of a route that a request offers."""

    @property
    def path(self) -> str: ...
    @property
    def methods(self) -> tuple[str, ...]: ...
    @property
    def answers(self) -> str: ...
    @property
    def endpoint(self) -> Callable[..., object]: ...
    @property
    def name(self) -> str: ...


class PageSource(Protocol[Answer]):
    """The templates of an application, as its handlers use them."""

    def render(self, name: str, /, **values: object) -> Answer:
        """Return the page of the template `name`, rendered with `values`."""

    def stream(self, name: str, /, **values: object) -> Answer:
        """Return the page of `render` as a stream that is sent while it is rendered."""


class RequestApp(Protocol[Answer]):
    """An application, as a request and its handlers use it: `request.app`."""

    state: SimpleNamespace
    debug: bool
    json_default: Callable[[object], object] | None

    @property
    def templates(self) -> PageSource[Answer]:
        """The templates of this app. Raises: ConfigurationError if none are set."""

    def url_for(self, name: str, /, **params: object) -> str:
        """Return the path of the route `name`, as `App.url_for`."""

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> Task[T]:
        """Run `coroutine` in the background, as `App.spawn`."""

    def all_routes(self) -> Sequence[tuple[str, RouteInfo]]:
        """Return (prefix, route) of this app and all that are mounted in it."""


class BodyLimits(NamedTuple):
    """The body limits that a route or an app sets; None means the server's limit."""

    max_body: int | None = None
    max_json: int | None = None
    max_json_values: int | None = None

    def inside(self, outer: BodyLimits) -> BodyLimits:
        """Return these limits, with the limit of `outer` for each None."""
        return BodyLimits(
            outer.max_body if self.max_body is None else self.max_body,
            outer.max_json if self.max_json is None else self.max_json,
            outer.max_json_values if self.max_json_values is None else self.max_json_values,
        )


class MatchInfo(Protocol):
    """The result of routing a request, made before any code of the application runs."""

    @property
    def app(self) -> RequestApp[Any]: ...
    @property
    def debug(self) -> bool: ...
    @property
    def route(self) -> RouteInfo | None: ...
    @property
    def params(self) -> Mapping[str, object]: ...
    @property
    def prefix(self) -> str: ...
    @property
    def allowed(self) -> tuple[str, ...]: ...
    @property
    def limits(self) -> BodyLimits: ...
    @property
    def on_disconnect(self) -> str | None: ...
    @property
    def uses_json(self) -> bool: ...
    @property
    def root(self) -> RequestApp[Any]: ...
    @property
    def handler(self) -> Callable[[Any], Coroutine[Any, Any, Any]]: ...
    def allowed_beside(self, method: str, raw_path: str) -> tuple[str, ...]:
        """Return the methods other than `method` that the path answers."""


class Held(Protocol):
    """An answer that holds resources until it is sent."""

    async def discard(self) -> None:
        """Release these resources, because the answer is not sent."""


class TimeLimit(Protocol):
    """A limit on the time in which an answer is made."""

    def pause(self) -> None:
        """Stop the clock until `resume`."""

    def resume(self) -> None:
        """Let the clock run again."""


class SessionSource(Protocol):
    """The source of a request's session."""

    def close(self) -> None:
        """Refuse changes, and a first access, until `reopen`."""

    def reopen(self) -> None:
        """Allow access and changes again."""

    def open(self) -> Session:
        """Return the session, the same at each call. Raises: LocalProtocolError."""
