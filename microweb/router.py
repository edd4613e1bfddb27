"""Routes, as they are registered: collected by a `Router`, on which an application builds."""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Never, TypedDict, TypeVar, Unpack

from .bodies.local_classes import remember_beside
from .concurrency.callables import check_parameters, default_name, describe, is_async
from .errors import ConfigurationError
from .http.grammar import METHODS, is_method
from .http.origins import parse_origins
from .remedies import KEYWORDS, unknown_keyword
from .request import Handler, Request
from .response import Response

# None is not among them: it means that a `return` was forgotten.
Answer = Response | str | bytes | Mapping[str, Any] | list[Any] | tuple[Any, ...]
Middleware = Callable[[Request, Handler], Awaitable[Answer]]

F = TypeVar("F", bound=Callable[..., object])
M = TypeVar("M", bound=Middleware)

OnDisconnect = Literal["cancel", "finish"]


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """An endpoint as it was registered. `str()` tells where: `GET /u (show at app.py:12)`.

    Raises: ConfigurationError for a method that can't be served.
    """

    path: str
    methods: tuple[str, ...]
    endpoint: Callable[..., object]
    name: str
    use: tuple[Middleware, ...] = ()
    max_body: int | None = None
    max_json: int | None = None
    max_json_values: int | None = None
    on_disconnect: OnDisconnect | None = None
    is_websocket: bool = False
    origins: frozenset[str] = frozenset()  # that may open it beside its own

    def __post_init__(self) -> None:
        if not self.methods:
            raise ConfigurationError(f"{self}: give it a method, such as methods=('GET',)")
        for method in self.methods:
            if method == "CONNECT":
                raise ConfigurationError(f"{self}: leave CONNECT out, it asks for a proxy")
            if not is_method(method):
                remedy = "name it in visible ASCII, as in 'PURGE'"
                if method.upper() in METHODS:
                    remedy = f"write {method.upper()!r}, methods are case-sensitive"
                raise ConfigurationError(f"{self}: no method {method!r}: {remedy}")
        if len(set(self.methods)) != len(self.methods):
            raise ConfigurationError(f"{self}: name each method once")

    @property
    def answers(self) -> str:
        """What it answers, as tables show it: its methods, or `WEBSOCKET`."""
        return "WEBSOCKET" if self.is_websocket else ",".join(self.methods)

    def __str__(self) -> str:
        return f"{self.answers} {self.path} ({describe(self.endpoint)})"


class RouteOptions(TypedDict, total=False):
    """What `Router.get` and its like take beside the path: see `Router.route`."""

    name: str | None
    use: Iterable[Middleware]
    max_body: int | None
    max_json: int | None
    max_json_values: int | None
    on_disconnect: OnDisconnect | None


class Router:
    """Routes without an application: those below `prefix`, named `name.endpoint`, inside `use`."""

    _is_app: ClassVar[bool] = False

    def __init__(
        self,
        prefix: str = "",
        *,
        use: Iterable[Middleware] = (),
        name: str | None = None,
        **unknown: Never,
    ) -> None:
        if unknown:
            raise ConfigurationError(unknown_keyword("Router", unknown))
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise ConfigurationError(
                f"prefix {prefix!r}: begin it with '/' and end it without, as in '/users'"
            )
        self.prefix = prefix
        self.name = name
        _check_place(f"prefix {prefix!r}", prefix)
        self._middleware = list(_checked(use))
        self._registered: list[Route | Router] = []
        self._frozen = False

    @property
    def routes(self) -> list[Route]:
        """All routes as of now, in order of registration, with this router's prefix, name and use.

        The records are new at each reading.
        """
        found: list[Route] = []
        for item in self._registered:
            found += map(self._placed, item.routes if isinstance(item, Router) else [item])
        return found

    def route(
        self,
        path: str,
        methods: Iterable[str] = ("GET",),
        *,
        name: str | None = None,
        use: Iterable[Middleware] = (),
        max_body: int | None = None,
        max_json: int | None = None,
        max_json_values: int | None = None,
        on_disconnect: OnDisconnect | None = None,
        **unknown: Never,
    ) -> Callable[[F], F]:
        """Register the decorated function for `methods` at `path`, and return it untouched.

        A method is any name but CONNECT: "PURGE" as well as "GET".

        `name` is for `url_for`, by default the function's. `use` is middleware that runs inside
        the router's and the application's. `max_body` and `max_json` are in bytes, and
        `max_json_values` is a count; for None they are the application's.
        `on_disconnect` is what becomes of the endpoint when the client leaves, for None "cancel"
        where the method is GET, HEAD or OPTIONS, else "finish".

        Raises: ConfigurationError, which names the remedy.
        """
        self._check_path(path)
        if unknown:
            raise ConfigurationError(unknown_keyword("route", unknown))
        if isinstance(methods, str):
            raise ConfigurationError(f"route path {path!r}: write methods=({methods!r},)")
        given, middleware = tuple(methods), _checked(use)

        def register(endpoint: F) -> F:
            self._check_open(f"route path {path!r}")
            remember_beside(endpoint, sys._getframe(1))
            label = default_name(endpoint) if name is None else name
            route = Route(
                path,
                given,
                endpoint,
                label,
                middleware,
                max_body,
                max_json,
                max_json_values,
                on_disconnect,
            )
            self._add(route)
            return endpoint

        return register

    def websocket(
        self,
        path: str,
        *,
        name: str | None = None,
        use: Iterable[Middleware] = (),
        origins: Iterable[str] | None = None,
        **unknown: Never,
    ) -> Callable[[F], F]:
        """Register the decorated `async def` for WebSockets at `path`, and return it untouched.

        It has the socket as `socket`, or annotated `WebSocket`, beside path and query. `name` and
        `use` are as for `route`: middleware runs around the handshake. Pages of this origin, and
        clients that are no browsers, may connect; `origins` lets in those of others as well, such
        as `["https://example.org"]`, or `"*"` for all.

        Raises: ConfigurationError, which names the remedy; MissingExtra without `websockets`.
        """
        self._check_path(path)
        if unknown:
            raise ConfigurationError(unknown_keyword("websocket", unknown))
        middleware, allowed = _checked(use), parse_origins(origins)

        def register(endpoint: F) -> F:
            self._check_open(f"route path {path!r}")
            remember_beside(endpoint, sys._getframe(1))
            label = default_name(endpoint) if name is None else name
            route = Route(
                path,
                ("GET",),
                endpoint,
                label,
                middleware,
                on_disconnect="finish",  # it is told by its socket
                is_websocket=True,
                origins=allowed,
            )
            self._add(route)
            return endpoint

        return register

    def get(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """`route` for GET, which answers HEAD too."""
        return self._route("get", path, options)

    def post(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """`route` for POST."""
        return self._route("post", path, options)

    def put(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """`route` for PUT."""
        return self._route("put", path, options)

    def patch(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """`route` for PATCH."""
        return self._route("patch", path, options)

    def delete(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """`route` for DELETE."""
        return self._route("delete", path, options)

    def _route(self, method: str, path: str, options: RouteOptions) -> Callable[[F], F]:
        unknown = options.keys() - RouteOptions.__annotations__.keys()
        if unknown:
            names = {"methods": f"app.route({path!r}, methods)", **KEYWORDS["route"]}
            raise ConfigurationError(unknown_keyword(method, unknown, names))
        return self.route(path, (method.upper(),), **options)

    def use(self, middleware: Middleware) -> None:
        """Run `middleware` around all routes, those already registered too; the first outermost."""
        self._check_open("middleware")
        self._middleware += _checked((middleware,))

    def middleware(self, middleware: M) -> M:
        """`use` as a decorator: returns the middleware untouched."""
        self.use(middleware)
        return middleware

    def include(self, router: Router, **unknown: Never) -> None:
        """Add the routes of `router`, those that it gets later too, below this one's prefix.

        Raises: ConfigurationError for an App, which has more than routes.
        """
        if unknown:
            raise ConfigurationError(unknown_keyword("include", unknown))
        if not isinstance(router, Router):
            raise ConfigurationError(f"include: expected a Router, got {router!r:.80}")
        if router._is_app:
            raise ConfigurationError("include() takes a Router: use app.mount(prefix, other_app)")
        self._check_open(f"router {router.prefix!r}")
        if router._contains(self):
            raise ConfigurationError(f"router {router.prefix!r}: don't include it in itself")
        self._registered.append(router)

    def freeze(self) -> None:
        """Refuse what is registered from now on, here and in the included routers."""
        self._frozen = True
        for item in self._registered:
            if isinstance(item, Router):
                item.freeze()

    def _add(self, route: Route) -> None:
        self._registered.append(route)

    def _placed(self, route: Route) -> Route:
        return replace(
            route,
            path=self.prefix + route.path,
            name=route.name if self.name is None else f"{self.name}.{route.name}",
            use=(*self._middleware, *route.use),
        )

    def _contains(self, router: Router) -> bool:
        return self is router or any(
            item._contains(router) for item in self._registered if isinstance(item, Router)
        )

    def _check_path(self, path: str) -> None:
        if not isinstance(path, str):
            raise ConfigurationError(f"expected a path as in route('/'), got {path!r:.80}")
        if not path and not self.prefix:
            raise ConfigurationError("route path '': write '/'; '' is for a Router with a prefix")
        if path and not path.startswith("/"):
            raise ConfigurationError(f"route path {path!r}: begin it with '/'")
        _check_place(f"route path {path!r}", path)

    def _check_open(self, what: str) -> None:
        if self._frozen:
            raise ConfigurationError(f"{what}: register it before the application starts")


def check_middleware(middleware: object) -> None:
    """Raise ConfigurationError for anything but `async def (request, call_next)`."""
    if isinstance(middleware, str):
        raise ConfigurationError(
            f"middleware({middleware!r}): write @app.middleware, without parentheses"
        )
    if isinstance(middleware, type):
        name = middleware.__name__
        raise ConfigurationError(f"middleware: {name} is a class: make one of it, as {name}(...)")
    if not callable(middleware) or not is_async(middleware):
        raise ConfigurationError(
            f"{describe(middleware)}: write middleware as async def (request, call_next)"
        )
    check_parameters(middleware, "middleware", "request", "call_next")


def _checked(use: Iterable[Middleware]) -> tuple[Middleware, ...]:
    middleware = tuple(use)
    for each in middleware:
        check_middleware(each)
    return middleware


# <id>, <int:id>, <any(a, b):id>
_IN_ANGLES = re.compile(r"<(?:(\w++)(?:\([^)]*+\))?:)?(\w++)>")


def _check_place(label: str, path: str) -> None:
    found = _IN_ANGLES.search(path)
    if found is not None:
        converter, name = found.groups()
        ours = f"{{{name}}}" if converter in (None, "string") else f"{{{name}:{converter}}}"
        raise ConfigurationError(f"{label}: write {ours} in place of {found[0]}")
