"""What stands around a request, as far as it speaks of it.

The layers above name here what a request needs of them: `Peer` and `BodySource` are the
connection's part, `RequestApp`, `RouteInfo` and `MatchInfo` the application's, `SessionSource` a
middleware's.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from ..sessions.session import Session
from .headers import Headers

if TYPE_CHECKING:
    from ..concurrency.background import Task

T = TypeVar("T")
Answer = TypeVar("Answer", covariant=True)  # the class Response, which stands above

Fields = Mapping[str, str] | Iterable[tuple[str, str]]  # of a header section
Piece = str | bytes  # of a body; text is sent as UTF-8


class Address(NamedTuple):
    """One end of a connection: an IP address (or a Unix socket's path) and a port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """The server's limits to the content of requests and to WebSockets.

    `ServerConfig` says what each of them is. A route or an app may set some: see `BodyLimits`.
    """

    max_json: int
    max_json_values: int
    max_form_fields: int
    max_form_text: int
    max_message: int
    ping_interval_s: float
    ping_timeout_s: float


class Peer(Protocol):
    """The connection, as far as a request speaks of it."""

    @property
    def address(self) -> Address | None: ...
    @property
    def scheme(self) -> str: ...
    @property
    def limits(self) -> ServerLimits: ...
    def origin_of(self, headers: Headers) -> tuple[Address | None, str]:
        """Return (client, scheme) as the trusted proxies in front of us say."""

    def after_response(self, request: object, function: Callable[[], object]) -> None:
        """Have `function()` run in the background once `request` is answered."""

    async def disconnected(self, request: object) -> None:
        """Return once the client of `request` has left, or `request` is answered."""

    def shield(self, request: object) -> AbstractAsyncContextManager[None]:
        """Return a block that is not cancelled because the client of `request` leaves."""

    def cleaning_up(self, request: object) -> AbstractContextManager[None]:
        """Return a block as `shield` does, but do not look for the client at its end.

        The rest of an answer is then sent to a client that has ended only its side.
        """


class BodySource(Protocol):
    """Where the bytes of a request's body come from."""

    trailers: Headers | None

    def take_whole(self, limit: int | None) -> bytes | None:
        """Return the whole body where all of it is here, else None, and nothing is taken.

        `limit` is in bytes, for None the server's. Raises: as `read()`.
        """

    async def read(self, limit: int | None) -> bytes:
        """Return the next piece, `b""` at the end; raises again what it raised before.

        Raises: BodyConsumed once the request is answered.
        """

    def keep(self, size: int) -> None:
        """Count `size` bytes that are kept of the body while more of it comes."""

    @property
    def waits_for_peer(self) -> bool:
        """Whether `read` may have to wait before the end of the body."""

    async def read_ahead(self, limit: int | None) -> None:
        """Read and keep as much as a body may have by default, for `read` to return.

        Raises nothing of what `read` raises, which the next `read` does.
        """


class RouteInfo(Protocol):
    """A route, as far as a request speaks of it."""

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
    """The templates of an application, as its handlers see them."""

    def render(self, name: str, /, **values: object) -> Answer:
        """Return the page that the template `name` makes of `values`."""

    def stream(self, name: str, /, **values: object) -> Answer:
        """Return the page as `render` does, sent while it is rendered."""


class RequestApp(Protocol[Answer]):
    """An application, as a request and its handlers see it: `request.app`."""

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


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """The limits to a body that a route or an app sets; for None the server's limit holds."""

    max_body: int | None = None
    max_json: int | None = None
    max_json_values: int | None = None

    def inside(self, outer: BodyLimits) -> BodyLimits:
        """Return these limits, with those of `outer` in place of None."""
        return BodyLimits(
            outer.max_body if self.max_body is None else self.max_body,
            outer.max_json if self.max_json is None else self.max_json,
            outer.max_json_values if self.max_json_values is None else self.max_json_values,
        )


class MatchInfo(Protocol):
    """What the application decided about a request before any of its code ran."""

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
    def root(self) -> RequestApp[Any]: ...
    @property
    def handler(self) -> Callable[[Any], Coroutine[Any, Any, Any]]: ...
    def allowed_beside(self, method: str, raw_path: str) -> tuple[str, ...]:
        """Return the other methods that are answered at that path."""


class Held(Protocol):
    """An answer that holds resources until it is sent."""

    async def discard(self) -> None:
        """Close what it holds: it is not sent."""


class TimeLimit(Protocol):
    """A limit to the time in which an answer is made."""

    def pause(self) -> None:
        """Count no more until `resume`."""

    def resume(self) -> None:
        """Count on."""


class SessionSource(Protocol):
    """Where a request's session comes from."""

    def close(self) -> None:
        """Refuse changes, and a first look, until `reopen`."""

    def reopen(self) -> None:
        """Let the session be changed again; nothing changes once the answer was decided."""

    def open(self) -> Session:
        """Return the session, the same at each call. Raises: LocalProtocolError."""
