"""App: routes, middleware, error handlers, mounted apps, lifespan; frozen before the first request.

An app is itself a handler, `async Request -> Response`. What can be decided before the first
request is decided in `freeze()`: the route tree over this app and all that are mounted in it, and
for each route its chain, errors -> middleware -> errors -> endpoint. `__call__` only matches, which
runs no user code, and hands over.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, Unpack

from .endpoints import (
    Finish,
    Handler,
    ReturnConverter,
    bind,
    describe,
    in_thread,
    inspect_endpoint,
    make_handler,
)
from .errors import BadRequest, ConfigurationError, MethodNotAllowed, NotFound, ProtocolError
from .middleware.errors import ErrorHandlers, ErrorKey
from .patterns import BUILT_IN, Converter, Pattern, parse_pattern
from .request import Request, RequestLine, hint_of
from .response import Response
from .router import Found, Middleware, Route, Router, RouteTree, Scopes
from .urlencoded import encode_urlencoded

if TYPE_CHECKING:
    from .server.config import RunOptions, ServerOptions
    from .server.server import Server
    from .testing import TestClient

F = TypeVar("F", bound=Callable[..., object])

Lifespan = Callable[
    ["App"],
    AsyncGenerator[Mapping[str, object] | None, None]
    | AbstractAsyncContextManager[Mapping[str, object] | None],
]


class Match:
    """What matching decided about a request, before any user code ran."""

    __slots__ = (
        "allowed",
        "app",
        "fault",
        "handler",
        "max_body",
        "on_disconnect",
        "params",
        "prefix",
        "root",
        "route",
    )

    def __init__(
        self,
        root: App,
        place: _Place,
        route: Route | None,
        params: dict[str, object],
        handler: Handler,
    ) -> None:
        self.root = root  # the app that matched; its memo is no other app's
        self.app = place.app
        self.prefix = place.prefix
        self.route = route
        self.params = params
        self.handler = handler
        self.max_body: int | None = place.max_body
        self.on_disconnect: str | None = None
        if route is not None:
            self.on_disconnect = route.on_disconnect
            if route.max_body is not None:
                self.max_body = route.max_body
        self.allowed: tuple[str, ...] = ()
        self.fault: BadRequest | None = None


class App(Router):
    """A web application.

    `debug` says why a request was refused; `max_body` is in bytes, for None the server's;
    `redirect_slashes` answers 308 where only the path with or without its last slash is there.
    """

    def __init__(
        self,
        *,
        debug: bool = False,
        max_body: int | None = None,
        redirect_slashes: bool = False,
    ) -> None:
        super().__init__()
        self.debug = debug
        self.max_body = max_body
        self.redirect_slashes = redirect_slashes
        self.state = SimpleNamespace()
        self.json_default: Callable[[object], object] | None = None
        self._errors = ErrorHandlers()
        self._converters: dict[str, Converter] = dict(BUILT_IN)
        self._mounts: list[_Mount] = []
        self._lifespans: list[Lifespan] = []
        self._tree: RouteTree[_Target] | None = None
        self._places: Scopes[_Place] = Scopes()
        self._names: dict[str, list[Pattern]] = {}

    # --- registering

    def before_request(self, function: F) -> F:
        """Call `function(request)` before the endpoint; what it returns, if not None, answers."""
        self.use(_before(function))
        return function

    def after_request(self, function: F) -> F:
        """Call `function(request, response)` behind the endpoint, for errors too.

        It may change the response, or return another.
        """
        self.use(_after(function))
        return function

    def errorhandler(self, key: ErrorKey) -> Callable[[F], F]:
        """Answer what is raised, by status or class: `@app.errorhandler(404)`.

        The function takes `request` and `error`, either may be left out. A plain value keeps the
        error's status. Raises: ConfigurationError.
        """

        def register(function: F) -> F:
            self._check_open("error handler")
            self._errors.register(key, function)
            return function

        return register

    def converter(
        self,
        name: str,
        pattern: str,
        parse: Callable[[str], object],
        format: Callable[[Any], str] = str,
    ) -> None:
        """Add `{x:name}` to the paths: `pattern` is a regex for one decoded segment.

        A ValueError from `parse` means that the path does not match; `format` is for `url_for`.
        Raises: ConfigurationError.
        """
        self._check_open(f"converter {name!r}")
        if name in self._converters:
            raise ConfigurationError(f"converter {name!r}: the name is taken, choose another")
        self._converters[name] = Converter(name, pattern, parse, format)

    def include(self, router: Router) -> None:
        """Add a Router's routes, below this app's own. Raises: ConfigurationError for an App."""
        if isinstance(router, App):
            raise ConfigurationError("include() takes a Router: use app.mount(prefix, other_app)")
        super().include(router)

    def mount(self, prefix: str, app: App | Router, *, use: Iterable[Middleware] = ()) -> None:
        """Serve another app, or a Router, below `prefix`; `use` runs inside this app's middleware.

        The mounted app keeps its own error handlers, converters and state, and sees paths without
        the prefix. Raises: ConfigurationError.
        """
        below = Router(prefix, use=use)
        if not prefix:
            raise ConfigurationError("mount: expected a prefix such as '/admin', got ''")
        if not isinstance(app, App):
            below.include(app)
            self.include(below)
            return
        self._check_open(f"mount {prefix!r}")
        if app is self or app._has_mounted(self):
            raise ConfigurationError(f"mount {prefix!r}: don't mount an app in itself")
        self._mounts.append(_Mount(prefix, app, tuple(use)))

    def lifespan(self, function: F) -> F:
        """Run an async generator function (or context manager) of the app around its life.

        Any number, unwound in reverse, always; a dict that it yields is merged into `app.state`.
        """
        self._check_open("lifespan")
        self._lifespans.append(function)  # type: ignore[arg-type]
        return function

    def on_startup(self, function: F) -> F:
        """Call `function()` before the first request."""

        async def life(app: App) -> AsyncGenerator[None, None]:
            await _call_hook(function)
            yield

        self.lifespan(life)
        return function

    def on_shutdown(self, function: F) -> F:
        """Call `function()` after the last request, the last registered first."""

        async def life(app: App) -> AsyncGenerator[None, None]:
            try:
                yield
            finally:
                await _call_hook(function)

        self.lifespan(life)
        return function

    # --- using

    def __call__(self, request: Request) -> Coroutine[Any, Any, Response]:
        """Return the coroutine that answers `request`."""
        line = request.line
        match = line.match
        if match is None or match.root is not self:
            match = line.match = self._match(line)
        request.match = match
        return match.handler(request)

    async def refuse(self, error: ProtocolError) -> Response:
        """Return the answer to what was no request: `@app.errorhandler(ProtocolError)`."""
        return await self._errors.refuse(error)

    def url_for(self, name: str, /, **params: object) -> str:
        """Return the path of the route `name`; parameters that its path lacks go to the query.

        Raises: LookupError for a name that no route, or more than one has; ValueError or TypeError
        for a parameter that is missing or does not fit.
        """
        names = self._names or _index_names(self)
        patterns = names.get(name, [])
        if len(patterns) != 1:
            count = f"{len(patterns)} routes" if patterns else "no route"
            raise LookupError(
                f"url_for: {count} of name {name!r}; give one with name=, there is {sorted(names)}"
            )
        (pattern,) = patterns
        own = {key: value for key, value in params.items() if key in pattern.parameters}
        query = [(key, str(value)) for key, value in params.items() if key not in own]
        return pattern.format(own) + (f"?{encode_urlencoded(query)}" if query else "")

    def run(self, host: str = "localhost", port: int = 5000, **options: Unpack[RunOptions]) -> None:
        """Serve until Ctrl-C or SIGTERM. The options are the fields of `ServerConfig`.

        What is in the way (a busy port, a bad option) is one line on stderr and exit status 1.
        """
        from .server.process import run

        run(self, {**options, "host": host, "port": port})

    def serve(self, **options: Unpack[ServerOptions]) -> Server:
        """Return a server to start by `async with app.serve(port=0) as server` or by `await`.

        No signal handlers; errors are raised. The options are the fields of `ServerConfig`.
        """
        from .server.process import make_server

        return make_server(self, options)

    def test_client(
        self,
        *,
        raise_errors: bool = True,
        lifespan: bool = True,
        base_url: str = "http://testserver",
        **httpx_options: Any,
    ) -> TestClient:
        """Return an `httpx.AsyncClient` over the real connection callback, without a socket.

        `raise_errors`: what an endpoint raises and nobody answers comes out of the await. Raises:
        MissingExtra without httpx: pip install 'microweb[testing]'.
        """
        from .testing import TestClient

        return TestClient(
            self, raise_errors=raise_errors, lifespan=lifespan, base_url=base_url, **httpx_options
        )

    @asynccontextmanager
    async def life(self) -> AsyncIterator[None]:
        """Enter all lifespans, those of mounted apps inside; leave them in reverse, always."""
        async with AsyncExitStack() as stack:
            for lifespan in self._lifespans:
                manager = lifespan(self)
                if isinstance(manager, AsyncGenerator):
                    manager = asynccontextmanager(lambda generator: generator)(manager)
                values = await stack.enter_async_context(manager)
                vars(self.state).update(values or {})
            for mount in self._mounts:
                await stack.enter_async_context(mount.app.life())
            yield

    # --- freezing

    def freeze(self) -> None:
        """Build what requests need; registering anything afterwards is a ConfigurationError.

        Raises: ConfigurationError, RouteConflict.
        """
        if self._tree is not None:
            return
        tree: RouteTree[_Target] = RouteTree()
        _Place(self, "", None, ()).plant(tree, self._places)
        self._names = _index_names(self)
        super().freeze()
        self._tree = tree

    def all_routes(self) -> list[tuple[str, Route]]:
        """Return (prefix, route) of this app and all that are mounted in it."""
        found = [("", route) for route in self.routes]
        for mount in self._mounts:
            found += [(mount.prefix + prefix, route) for prefix, route in mount.app.all_routes()]
        return found

    def _match(self, line: RequestLine) -> Match:
        if self._tree is None:
            self.freeze()
        assert self._tree is not None
        fault = None
        try:
            found = self._tree.find(line.method, line.raw_path)
        except BadRequest as error:
            found, fault = None, error
        if isinstance(found, Found):
            target = found.value
            return Match(self, target.place, target.route, found.params, target.handler)
        place = self._places.find(line.raw_path)
        assert place is not None
        match = Match(self, place, None, {}, place.missed)
        match.fault = fault
        match.allowed = found.allowed if found is not None else ()
        if line.raw_path == "*":
            match.allowed = tuple(sorted({m for _, r in self.all_routes() for m in r.methods}))
        return match

    def _other_slash(self, line: RequestLine) -> str | None:
        """Return the path with its last slash added or taken, where something is there."""
        assert self._tree is not None
        path = line.raw_path
        other = path[:-1] if path.endswith("/") else path + "/"
        found = self._tree.find(line.method, other)
        return other if isinstance(found, Found) else None

    def _has_mounted(self, app: App) -> bool:
        return any(mount.app is app or mount.app._has_mounted(app) for mount in self._mounts)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(hint_of("App", name, _NAMES_ELSEWHERE), name=name, obj=self)


@dataclass(frozen=True, slots=True)
class _Mount:
    prefix: str
    app: App
    use: tuple[Middleware, ...]


@dataclass(frozen=True, slots=True)
class _Target:
    """A route as it stands in the tree."""

    place: _Place
    route: Route
    handler: Handler

    def __str__(self) -> str:
        return f"{self.place.prefix}{self.route}" if self.place.prefix else str(self.route)


class _Place:
    """One app at the prefix that it is mounted at; the outermost one at none."""

    def __init__(
        self, app: App, prefix: str, outer: _Place | None, use: tuple[Middleware, ...]
    ) -> None:
        self.app = app
        self.prefix = prefix
        self.outer = outer
        self.use = use
        self.max_body = (
            app.max_body if outer is None or app.max_body is not None else outer.max_body
        )
        self.errors = app._errors
        self.errors.debug = app.debug
        self.errors.json_default = app.json_default
        if outer is not None:
            self.errors.parent = outer.errors
        self.missed = self.wrap(self.errors.guard(_missed), app._middleware)

    def __str__(self) -> str:
        return f"the app mounted at {self.prefix!r}"

    def plant(self, tree: RouteTree[_Target], places: Scopes[_Place]) -> None:
        """Add this app's routes, and those of the apps mounted in it."""
        places.add(parse_pattern(self.prefix or "/"), self)
        for route in self.app.routes:
            pattern, handler = self._compile(route)
            tree.add(pattern, route.methods, _Target(self, route, handler))
        for mount in self.app._mounts:
            inner = _Place(mount.app, self.prefix + mount.prefix, self, mount.use)
            inner.plant(tree, places)
            Router.freeze(mount.app)

    def _compile(self, route: Route) -> tuple[Pattern, Handler]:
        app = self.app
        signature = inspect_endpoint(route.endpoint)
        pattern = _pattern_of(app, route, self.prefix)
        call = bind(signature, pattern.parameters, app._converters)
        finish = ReturnConverter(route.endpoint, app.json_default, debug=app.debug)
        handler = make_handler(route, call, signature.is_async, finish, self.errors.answer)
        return pattern, self.wrap(handler, route.use)

    def wrap(self, handler: Handler, middleware: Iterable[Middleware]) -> Handler:
        """Put middleware around a handler: this app's and the route's, then the outer apps'."""
        stack = list(middleware)
        for each in reversed(stack):
            handler = _around(each, handler, ReturnConverter(each, self.app.json_default))
        if stack:
            handler = self.errors.guard(handler)
        if self.outer is not None:
            return self.outer.wrap(handler, (*self.outer.app._middleware, *self.use))
        return handler


async def _missed(request: Request) -> Response:
    """The endpoint of what no route answers: 404, 405, OPTIONS, the other slash."""
    match, line = request.match, request.line
    assert isinstance(match, Match)
    if match.fault is not None:
        raise match.fault
    if match.allowed or line.raw_path == "*":
        if line.method == "OPTIONS":
            return Response(b"", 204, {"Allow": ", ".join(match.allowed)})
        if match.allowed:
            raise MethodNotAllowed(match.allowed)
    if match.app.redirect_slashes or line.raw_path == match.prefix:
        other = match.root._other_slash(line)
        if other is not None:
            # A path that begins with two slashes would be an authority. RFC 3986 section 4.2
            path = "/" + other.lstrip("/\\")
            query = f"?{line.query_string}" if line.query_string else ""
            return Response.redirect(path + query, 308)
    raise NotFound


def _pattern_of(app: App, route: Route, prefix: str = "") -> Pattern:
    names = parse_pattern(prefix + route.path, app._converters).parameters
    defaults = inspect_endpoint(route.endpoint).converters(names)
    return parse_pattern(prefix + route.path, app._converters, defaults)


def _index_names(app: App) -> dict[str, list[Pattern]]:
    names: dict[str, list[Pattern]] = {}
    for route in app.routes:
        patterns = names.setdefault(route.name, [])
        pattern = _pattern_of(app, route)
        if all(pattern.path != other.path for other in patterns):
            patterns.append(pattern)
    return names


# --- middleware -----------------------------------------------------------------------


def _around(middleware: Middleware, call_next: Handler, finish: Finish) -> Handler:
    """Return the handler that is `middleware` around `call_next`."""
    called = middleware if inspect.isroutine(middleware) else type(middleware).__call__
    if not inspect.iscoroutinefunction(inspect.unwrap(called)):
        raise ConfigurationError(
            f"{describe(middleware)}: write middleware as async def (request, call_next)"
        )

    async def handle(request: Request) -> Response:
        value = await middleware(request, call_next)  # type: ignore[misc]
        if type(value) is Response:
            return value
        return await finish(value, request).prepare(request)

    return handle


def _before(function: Callable[..., object]) -> Middleware:
    call = (
        function
        if inspect.iscoroutinefunction(function)
        else in_thread(describe(function), function)
    )

    async def before(request: Request, call_next: Handler) -> object:
        answer = await call(request)
        return await call_next(request) if answer is None else answer

    return before


def _after(function: Callable[..., object]) -> Middleware:
    call = (
        function
        if inspect.iscoroutinefunction(function)
        else in_thread(describe(function), function)
    )

    async def after(request: Request, call_next: Handler) -> object:
        response = await call_next(request)
        answer = await call(request, response)
        return response if answer is None else answer

    return after


async def _call_hook(function: Callable[..., object]) -> None:
    result = function()
    if inspect.isawaitable(result):
        await result


# What other frameworks call a thing -> what it is called here.
_NAMES_ELSEWHERE = {
    "add_url_rule": "app.route(path)(endpoint)",
    "add_route": "app.route(path)(endpoint)",
    "add_api_route": "app.route(path)(endpoint)",
    "api_route": "@app.route(path, methods)",
    "register_blueprint": "app.include(router)",
    "blueprint": "app.include(router)",
    "include_router": "app.include(router)",
    "add_middleware": "app.use(middleware)",
    "exception_handler": "@app.errorhandler(ExceptionType)",
    "add_exception_handler": "@app.errorhandler(ExceptionType)",
    "exception": "@app.errorhandler(ExceptionType)",
    "register_error_handler": "@app.errorhandler(404)",
    "error": "@app.errorhandler(404)",
    "on_event": "@app.on_startup or @app.on_shutdown",
    "before_first_request": "@app.on_startup",
    "before_serving": "@app.on_startup",
    "after_serving": "@app.on_shutdown",
    "teardown_request": "@app.after_request",
    "teardown_appcontext": "@app.after_request",
    "url_path_for": "app.url_for(name)",
    "reverse": "app.url_for(name)",
    "listen": "app.run()",
    "start": "app.run()",
    "add_static": "app.static(prefix, folder)",
    "config": "app.state",
    "extensions": "app.state",
    "ctx": "app.state",
}
