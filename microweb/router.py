"""Routes as they are registered. A `Router` collects them; `App` is a Router."""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Never, TypedDict, TypeVar, Unpack

from .bodies.local_classes import remember_beside
from .concurrency.callables import check_parameters, default_name, describe, is_async
from .errors import ConfigurationError, HTTPError, status_of_class
from .http.grammar import METHODS, is_method
from .http.interfaces import BodyLimits
from .http.origins import parse_origins
from .remedies import KEYWORDS, keywords_of, takes_a_function, unknown_keyword
from .request import Handler, Request
from .response import Response

# None is not one of them: it means that a `return` was forgotten.
Answer = Response | str | bytes | Mapping[str, Any] | list[Any] | tuple[Any, ...]
Middleware = Callable[[Request, Handler], Awaitable[Answer]]

F = TypeVar("F", bound=Callable[..., object])
M = TypeVar("M", bound=Middleware)

OnDisconnect = Literal["cancel", "finish"]


class Route(NamedTuple):
    """A registered endpoint. Its `str()` says where it is: `GET /u (show at app.py:12)`."""

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
    origins: frozenset[str] = frozenset()  # other origins whose pages may open the WebSocket
    raises: tuple[type[HTTPError], ...] = ()  # this and the next three are for the document
    tags: tuple[str, ...] = ()
    deprecated: bool = False
    documented: bool = True

    @property
    def limits(self) -> BodyLimits:
        return BodyLimits(self.max_body, self.max_json, self.max_json_values)

    @property
    def answers(self) -> str:
        """The methods for tables, such as `GET,POST`; `WEBSOCKET` for a WebSocket route."""
        return "WEBSOCKET" if self.is_websocket else ",".join(self.methods)

    def __str__(self) -> str:
        return f"{self.answers} {self.path} ({describe(self.endpoint)})"


def check_methods(route: Route) -> None:
    """Raise ConfigurationError if a route has no method, or one that can't be served."""
    if not route.methods:
        raise ConfigurationError(f"{route}: give it a method, such as methods=('GET',)")
    for method in route.methods:
        if method == "CONNECT":
            raise ConfigurationError(f"{route}: leave CONNECT out, it asks for a proxy")
        if not is_method(method):
            remedy = "name it in visible ASCII, as in 'PURGE'"
            if method.upper() in METHODS:
                remedy = f"write {method.upper()!r}, methods are case-sensitive"
            raise ConfigurationError(f"{route}: {method!r} is not a method: {remedy}")
    if len(set(route.methods)) != len(route.methods):
        raise ConfigurationError(f"{route}: name each method once")


class RouteOptions(TypedDict, total=False):
    """The options of `Router.get`, `post`, `put`, `patch` and `delete`: see `Router.route`."""

    name: str | None
    use: Iterable[Middleware]
    max_body: int | None
    max_json: int | None
    max_json_values: int | None
    on_disconnect: OnDisconnect | None
    raises: Iterable[type[HTTPError]]
    tags: Iterable[str]
    deprecated: bool
    documented: bool


class Router:
    """Routes for an application to include.

    Their paths begin with `prefix`, their names with `name` and a dot. `use` is middleware around
    all of them. `tags` are their groups in the document.
    """

    _is_app: ClassVar[bool] = False

    def __init__(
        self,
        prefix: str = "",
        *,
        use: Iterable[Middleware] = (),
        name: str | None = None,
        tags: Iterable[str] = (),
        **unknown: Never,
    ) -> None:
        if unknown:
            known = keywords_of(Router.__init__)
            raise ConfigurationError(unknown_keyword("Router", unknown, known=known))
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise ConfigurationError(
                f"prefix {prefix!r}: begin it with '/' and do not end it with '/', as in '/users'"
            )
        self.prefix = prefix
        self.name = name
        self.tags = _texts("tags", tags)
        _check_place(f"prefix {prefix!r}", prefix)
        self._middleware = list(_checked(use))
        self._registered: list[Route | Router] = []
        self._frozen = False

    @property
    def routes(self) -> list[Route]:
        """The routes registered until now, in order, with this router's prefix, name and use.

        Each access returns new `Route` objects.
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
        raises: Iterable[type[HTTPError]] = (),
        tags: Iterable[str] = (),
        deprecated: bool = False,
        documented: bool = True,
        **unknown: Never,
    ) -> Callable[[F], F]:
        """Register the decorated function for `methods` at `path`, and return it unchanged.

        A method is any name except CONNECT: "PURGE" as well as "GET".

        `name` is for `url_for`; the default is the function's name. `use` is middleware that runs
        inside that of the router and the application. `max_body` and `max_json` are in bytes,
        `max_json_values` is a count; None means the application's limit. `on_disconnect` says
        whether to "cancel" or to "finish" the endpoint if the client leaves. None means "cancel"
        for GET, HEAD and OPTIONS, and "finish" for other methods.

        For the document, `raises` are errors that the endpoint raises, and `tags` its groups.
        `deprecated` marks it, and `documented=False` leaves it out.

        Raises: ConfigurationError, which names the remedy.
        """
        self._check_path(path)
        if unknown:
            known = keywords_of(Router.route)
            raise ConfigurationError(unknown_keyword("route", unknown, known=known))
        if isinstance(methods, str):
            raise ConfigurationError(f"route path {path!r}: write methods=({methods!r},)")
        given, middleware = tuple(methods), _checked(use)
        errors, groups = _errors(raises), _texts("tags", tags)

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
                raises=errors,
                tags=groups,
                deprecated=deprecated,
                documented=documented,
            )
            check_methods(route)
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
        """Register the decorated `async def` for WebSockets at `path`, and return it unchanged.

        It gets the socket in a parameter named `socket` or annotated `WebSocket`, and also path and
        query parameters. `name` and `use` are as for `route`; middleware runs around the handshake.
        Pages of this origin, and clients that are not browsers, may connect. `origins` allows pages
        of other origins too, such as `["https://example.org"]`, or `"*"` for all.

        Raises: ConfigurationError, which names the remedy; MissingExtra without `websockets`.
        """
        self._check_path(path)
        if unknown:
            known = keywords_of(Router.websocket)
            raise ConfigurationError(unknown_keyword("websocket", unknown, known=known))
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
                on_disconnect="finish",  # its socket raises ClientDisconnected
                is_websocket=True,
                origins=allowed,
            )
            self._add(route)
            return endpoint

        return register

    def get(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Register for GET, which answers HEAD too: see `route`."""
        return self._route("get", path, options)

    def post(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Register for POST: see `route`."""
        return self._route("post", path, options)

    def put(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Register for PUT: see `route`."""
        return self._route("put", path, options)

    def patch(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Register for PATCH: see `route`."""
        return self._route("patch", path, options)

    def delete(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Register for DELETE: see `route`."""
        return self._route("delete", path, options)

    def _route(self, method: str, path: str, options: RouteOptions) -> Callable[[F], F]:
        if unknown := options and options.keys() - RouteOptions.__annotations__.keys():
            names = {"methods": f"app.route({path!r}, methods)", **KEYWORDS["route"]}
            known = RouteOptions.__annotations__
            raise ConfigurationError(unknown_keyword(method, unknown, names, known))
        return self.route(path, (method.upper(),), **options)

    def use(self, middleware: Middleware) -> None:
        """Run `middleware` around all routes, earlier ones too; the first used is the outermost."""
        self._check_open("middleware")
        self._middleware += _checked((middleware,))

    @takes_a_function
    def middleware(self, middleware: M) -> M:
        """Use the decorated middleware, as `use` does, and return it unchanged."""
        self.use(middleware)
        return middleware

    def include(self, router: Router, **unknown: Never) -> None:
        """Add the routes of `router`, also those registered later, below this router's prefix.

        Raises: ConfigurationError for an App, which needs `mount`.
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
        """Refuse all later registrations, here and in the included routers."""
        self._frozen = True
        for item in self._registered:
            if isinstance(item, Router):
                item.freeze()

    def _add(self, route: Route) -> None:
        self._registered.append(route)

    def _placed(self, route: Route) -> Route:
        return route._replace(
            path=self.prefix + route.path,
            name=route.name if self.name is None else f"{self.name}.{route.name}",
            use=(*self._middleware, *route.use),
            tags=tuple(dict.fromkeys((*self.tags, *route.tags))),
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
        if "<" in path:
            _check_place(f"route path {path!r}", path)

    def _check_open(self, label: str) -> None:
        if self._frozen:
            raise ConfigurationError(f"{label}: register it before the application starts")


def check_middleware(middleware: object) -> None:
    """Raise ConfigurationError for anything but `async def (request, call_next)`."""
    if isinstance(middleware, str):
        raise ConfigurationError(
            f"middleware({middleware!r}): write @app.middleware, without parentheses"
        )
    if isinstance(middleware, type):
        name = middleware.__name__
        raise ConfigurationError(f"middleware: {name} is a class: make an instance, as {name}(...)")
    if not callable(middleware) or not is_async(middleware):
        raise ConfigurationError(
            f"{describe(middleware)}: write middleware as async def (request, call_next)"
        )
    check_parameters(middleware, "middleware", "request", "call_next")


def _checked(use: Iterable[Middleware]) -> tuple[Middleware, ...]:
    if callable(use):
        raise ConfigurationError(f"use: write use=[{default_name(use)}], a list of middleware")
    middleware = tuple(use)
    for each in middleware:
        check_middleware(each)
    return middleware


def _texts(option: str, texts: Iterable[str]) -> tuple[str, ...]:
    if isinstance(texts, str):
        raise ConfigurationError(f"{option}={texts!r:.80}: write {option}=[{texts!r:.80}]")
    return tuple(texts)


def _errors(raises: Iterable[type[HTTPError]]) -> tuple[type[HTTPError], ...]:
    if isinstance(raises, type):
        raise ConfigurationError(f"raises: write raises=[{raises.__name__}], a list")
    errors = tuple(raises)
    for each in errors:
        is_error = isinstance(each, type) and issubclass(each, HTTPError)
        if not is_error or status_of_class(each) is None:
            raise ConfigurationError(
                "raises: expected classes of errors with a status, as in raises=[NotFound], "
                f"got {each!r:.80}: derive it from a class such as Conflict"
            )
    return errors


# <id>, <int:id>, <any(a, b):id>
_IN_ANGLES = r"<(?:(\w++)(?:\([^)]*+\))?:)?(\w++)>"  # compiled at its first use


def _check_place(label: str, path: str) -> None:
    found = re.search(_IN_ANGLES, path)
    if found is not None:
        converter, name = found.groups()
        ours = f"{{{name}}}" if converter in (None, "string") else f"{{{name}:{converter}}}"
        raise ConfigurationError(f"{label}: write {ours} in place of {found[0]}")
