"""App: routes, middleware, error handlers, mounted apps, lifespan; frozen before the first request.

An app is a handler, `async Request -> Response`. `freeze()` builds a `Dispatcher`, which decides
everything possible before the first request. `handle` only finds and calls the handler.
"""

from __future__ import annotations

import sys
from asyncio import Task
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from os import PathLike
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Never, TypeVar, Unpack, overload

from .concurrency.background import Background, spawn_in
from .concurrency.callables import check_parameters, folder_of
from .dispatch.boundary import ErrorHandlers
from .dispatch.chain import Level, middleware_in, routes_in
from .dispatch.dispatcher import Dispatcher, Match
from .dispatch.registration import check_endpoint, check_mount, names_of
from .endpoints.error_handler import ErrorKey, check_key
from .endpoints.hooks import after, before
from .endpoints.lifespan import Lifespan, State, at_shutdown, at_startup, entered
from .endpoints.overrides import Functions, Overrides
from .errors import ConfigurationError, ProtocolError
from .http.interfaces import BodyLimits
from .remedies import NO_TEMPLATES, Suggesting, check_keywords
from .request import Handler, Request
from .response import Response
from .router import Middleware, Route, Router
from .routing.names import RouteNames
from .routing.patterns import BUILT_IN, Converter
from .server.start import note_directory

if TYPE_CHECKING:
    from .interop.asgi_app import ASGIApplication
    from .interop.asgi_types import ASGIOptions, Receive, Scope, Send
    from .server.config import RunOptions, ServerOptions
    from .server.process import Application
    from .server.server import Server
    from .templating import Templates
    from .testing.client import TestClient

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")


class App(Router, metaclass=Suggesting):
    """A web application.

    `debug` shows clients the cause of errors and refusals. `max_body` and `max_json` are in bytes,
    `max_json_values` is a count; None means the server's limit. With `redirect_slashes`, a path
    that has a route only with, or only without, its last slash is redirected there by a 308.
    """

    _is_app = True

    def __init__(
        self,
        *misplaced: Never,
        debug: bool = False,
        max_body: int | None = None,
        max_json: int | None = None,
        max_json_values: int | None = None,
        redirect_slashes: bool = False,
        **unknown: Never,
    ) -> None:
        check_keywords(App.__init__, misplaced, unknown)
        super().__init__()
        note_directory()  # workers start in it, whatever the application changes
        self.debug = debug
        self.max_body = max_body
        self.max_json = max_json
        self.max_json_values = max_json_values
        self.redirect_slashes = redirect_slashes
        self.state: SimpleNamespace = State()
        self.json_default: Callable[[object], object] | None = None
        self._templates: Templates | None = None
        self._errors = ErrorHandlers()
        self._overrides = Overrides()
        self._dispatcher: Dispatcher | None = None
        self._matches: dict[str, Match] = {}  # the dispatcher's, once it is there
        self._converters: dict[str, Converter] = dict(BUILT_IN)
        self._mounts: list[tuple[str, App, tuple[Middleware, ...]]] = []
        self._lifespans: list[Lifespan[App]] = []
        self._missed: Handler | None = None  # answers all paths that have no route
        self._names: RouteNames | None = None  # set by `freeze`
        self._backgrounds: list[Background] = []  # one for each server of this app
        self._asgi: ASGIApplication | None = None  # made at its first use

    # --- registering

    def before_request(self, function: F) -> F:
        """Call `function(request)` before the endpoint; its value, if not None, is the answer."""
        self._check_open("before_request")
        check_parameters(function, "before_request", "request")
        self.use(before(function))
        return function

    def after_request(self, function: F) -> F:
        """Change or replace the response by `function(request, response)`, also after an error."""
        self._check_open("after_request")
        check_parameters(function, "after_request", "request", "response")
        self.use(after(function))
        return function

    def errorhandler(self, key: ErrorKey) -> Callable[[F], F]:
        """Answer the errors of a status or class: `@app.errorhandler(404)`.

        The function takes `request` and `error`; both parameters are optional. A plain value keeps
        the error's status. Raises: ConfigurationError.
        """
        check_key(key)

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
        """Allow `{x:name}` in paths: x is one decoded segment that the regex `pattern` matches.

        If `parse` raises ValueError, the path does not match. `url_for` uses `format`.
        Raises: ConfigurationError.
        """
        self._check_open(f"converter {name!r}")
        if name in self._converters:
            raise ConfigurationError(f"converter {name!r}: the name is taken, choose another")
        self._converters[name] = Converter(name, pattern, parse, format)

    def mount(
        self, prefix: str, app: App | Router | Application, *, use: Iterable[Middleware] = ()
    ) -> None:
        """Serve another app, a Router or `WSGI(app)` below `prefix`; `use` is middleware around it.

        The mounted app keeps its own error handlers, converters and state. Its `request.path` does
        not contain the prefix. Below the prefix it answers 404 for a path that it does not have,
        also if a parameter of this app's routes would match. Raises: ConfigurationError.
        """
        if not isinstance(app, Router):
            from .interop.mounting import as_mounted

            other, app = as_mounted(app, prefix, self), App()
            app._missed, app._lifespans = other.handle, [lambda _: other.life()]
        check_mount(prefix, self, app)
        below = Router(prefix, use=use)
        if not isinstance(app, App):
            below.include(app)
            self.include(below)
            return
        self._check_open(f"mount {prefix!r}")
        self._mounts.append((prefix, app, tuple(below._middleware)))

    def static(
        self,
        prefix: str,
        folder: str | PathLike[str],
        *,
        fallback: str | None = None,
        cache: int | str | None = None,
        immutable: bool | str = False,
        precompressed: bool = False,
        name: str = "static",
        use: Iterable[Middleware] = (),
    ) -> None:
        """Serve the files of `folder` below `prefix`; `url_for(name, path="site.css")`.

        A relative folder is relative to the file that calls this method. Dotfiles are 404, and so
        is a path that leads out of the folder in any way, symbolic links included. Directories
        answer with their `index.html`; they are not listed. `cache` is as for `Response.file`.
        `immutable=True` lets clients cache files with a hash in their name (`app.3f2a9c1b.js`) for
        a year without a request; a str is the regex of such paths.

        With `precompressed`, a client that accepts the coding gets `site.css.br`, `.zst` or `.gz`
        if that file is not older than `site.css`. Do not use it for uploads: such a file may be
        another user's. `fallback` is the file that answers all paths without a file, for
        applications that route in the browser. Raises: ConfigurationError if the folder or the
        fallback does not exist.
        """
        from .static import StaticFiles

        path = folder_of(sys._getframe(1)) / folder
        files = StaticFiles(
            path, fallback=fallback, cache=cache, immutable=immutable, precompressed=precompressed
        )
        files.add_to(self, prefix, name=name, use=use)

    def openapi(
        self,
        title: str,
        version: str,
        *,
        description: str = "",
        path: str = "/openapi.json",
        docs: str | None = "/docs",
        tags: Mapping[str, str] | None = None,
        servers: Iterable[str] = (),
        use: Iterable[Middleware] = (),
    ) -> None:
        """Serve the OpenAPI document at `path`, and a page to try it at `docs`; None for no page.

        `tags` maps the groups of routes to their descriptions. `servers` are URLs; by default it is
        the server of the document. The middleware in `use` is around both.
        """
        from .openapi.documents import Info, add_document

        info = Info(title, version, description, tags or {}, tuple(servers), path)
        add_document(self, self.level, info, docs, use)

    def lifespan(self, function: F) -> F:
        """Run `function(app)`, an async generator or async context manager, around serving.

        Several always end in reverse order. A dict that one yields is merged into `app.state`.
        """
        self._check_open("lifespan")
        check_parameters(function, "lifespan", "app")
        self._lifespans.append(function)  # type: ignore[arg-type]
        return function

    def on_startup(self, function: F) -> F:
        """Call `function()` before the first request."""
        self._check_open("on_startup")
        self._lifespans.append(at_startup(function))
        return function

    def on_shutdown(self, function: F) -> F:
        """Call `function()` after the last request; the last registered is called first."""
        self._check_open("on_shutdown")
        self._lifespans.append(at_shutdown(function))
        return function

    @property
    def templates(self) -> Templates:
        """The app's templates, set by `app.templates = Templates("templates")`.

        Raises: ConfigurationError if they are not set.
        """
        if self._templates is None:
            raise ConfigurationError(NO_TEMPLATES)
        return self._templates

    @templates.setter
    def templates(self, templates: Templates) -> None:
        self._templates = templates

    # --- using

    @overload
    async def __call__(self, request: Request, /) -> Response: ...
    @overload
    async def __call__(self, scope: Scope, receive: Receive, send: Send, /) -> None: ...
    async def __call__(self, scope: Any, receive: Any = None, send: Any = None) -> Response | None:
        """Answer a request; or serve an ASGI 3 server, such as `uvicorn module:app`."""
        if receive is None:
            return await self.handle(scope)
        self._asgi = self._asgi or self.asgi()
        await self._asgi(scope, receive, send)
        return None

    def asgi(self, **options: Unpack[ASGIOptions]) -> ASGIApplication:
        """Return this app as an ASGI 3 application with limits and deadlines of `ServerConfig`.

        Raises: ConfigurationError for an option that the ASGI server decides, such as `port`.
        """
        from .interop.asgi_app import ASGIApplication

        return ASGIApplication(self, options)

    def handle(self, request: Request) -> Coroutine[Any, Any, Response]:
        """Return the coroutine that answers `request`. The server calls this."""
        try:
            match: Match | None = self._matches[request.line.match_key]
        except KeyError:
            match = None
        if match is None:
            match = self._frozen_dispatcher().match(request.line)
        request.match = match
        return match.handler(request)

    async def refuse(self, error: ProtocolError) -> Response:
        """Return the answer to bytes that are not a request: `@app.errorhandler(ProtocolError)`."""
        return await self._frozen_dispatcher().root.errors.refuse(error)

    def url_for(self, name: str, /, **params: object) -> str:
        """Return the path of the route `name`; parameters that are not in its path go to the query.

        Raises: LookupError if no route or more than one has the name; ValueError or TypeError if a
        parameter is missing or has a wrong value.
        """
        names = self._names or names_of(self.routes, self._converters)
        return names.url_for(name, params)

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> Task[T]:
        """Run `coroutine` in a background task that the server owns. Call it from any thread.

        The task has the caller's context variables. Its exception is logged once with `name`, by
        default the coroutine's name. A server that stops waits up to `grace_s` for the task, then
        cancels it. Put work that never ends in a lifespan, which can end it.
        In a plain `def`, `from_thread(task)` waits for the task. Raises: RuntimeError if no server
        or test client of this app is running; ServiceUnavailable (503) if `max_background_tasks`
        tasks are running; TypeError if `coroutine` is not a coroutine.
        """
        return spawn_in(self._backgrounds, coroutine, name)

    def attach(self, background: Background) -> None:
        """Let `spawn` start tasks in `background` while it is open. The server calls this."""
        for app in dict.fromkeys(self.all_apps()):
            others = [each for each in app._backgrounds if not each.has_ended]
            app._backgrounds = [*others, background]

    def run(
        self, host: str | None = None, port: int | None = None, **options: Unpack[RunOptions]
    ) -> None:
        """Serve until Ctrl-C or SIGTERM. The options are the fields of `ServerConfig`.

        Others come from `MICROWEB_*` variables, then from `[tool.microweb]` in pyproject.toml. If
        the server can't start (a busy port, a bad option), print one line and exit with status 1.
        `debug` on an address that other machines reach needs `debug_anywhere=True`.
        """
        from .server.process import run_configured

        run_configured(self, host, port, options, folder_of(sys._getframe(1)))

    def serve(self, **options: Unpack[ServerOptions]) -> Server:
        """Return a server: start it with `async with app.serve(port=0) as server` or `await`.

        It has no signal handlers and raises its errors. The options are the fields of
        `ServerConfig`. Raises: ConfigurationError, also for `debug` as in `run`.
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

        `raise_errors`: if no handler answers an endpoint's exception, the call raises it.
        Raises: MissingExtra without httpx (the extra `testing`).
        """
        from .testing.client import TestClient

        return TestClient(
            self, raise_errors=raise_errors, lifespan=lifespan, base_url=base_url, **httpx_options
        )

    def override(self, functions: Functions) -> AbstractContextManager[None]:
        """Let other functions take the place of dependencies inside a `with`, for tests.

        This freezes the app. A request under way keeps its functions. Raises: ConfigurationError.
        """
        self.freeze()
        return self._overrides.applied(functions)

    @asynccontextmanager
    async def life(self) -> AsyncIterator[None]:
        """Enter all lifespans, the mounted apps' last; always exit them in reverse order."""
        apps = dict.fromkeys(self.all_apps())  # each once, even if mounted twice
        async with entered((app, lifespan) for app in apps for lifespan in app._lifespans):
            yield

    def freeze(self) -> None:
        """Build the dispatcher; a later registration raises ConfigurationError.

        Raises: ConfigurationError or RouteConflict; the app is then unchanged.
        """
        if self._dispatcher is None:
            dispatcher = Dispatcher(self.level())
            for app in self.all_apps():
                Router.freeze(app)
                app._names = names_of(app.routes, app._converters)
            self._dispatcher, self._matches = dispatcher, dispatcher.matches

    def all_routes(self) -> list[tuple[str, Route]]:
        """Return (prefix, route) for each route of this app and of the apps mounted in it."""
        return routes_in(self.level())

    def _frozen_dispatcher(self) -> Dispatcher:
        self.freeze()
        assert self._dispatcher is not None
        return self._dispatcher

    def level(self) -> Level:
        return Level(
            app=self,  # mypy checks here that an App is a `RequestApp[Response]`
            debug=self.debug,
            limits=BodyLimits(self.max_body, self.max_json, self.max_json_values),
            redirect_slashes=self.redirect_slashes,
            routes=tuple(self.routes),
            middleware=tuple(self._middleware),
            errors=self._errors,
            converters=self._converters,
            overrides=self._overrides,
            mounted=tuple((prefix, use, app.level()) for prefix, app, use in self._mounts),
            missed=self._missed,
            has_lifespan=bool(self._lifespans),
        )

    @property
    def is_debugging(self) -> bool:
        """True if this app, or an app mounted in it, is in debug mode."""
        return any(app.debug for app in self.all_apps())

    def all_apps(self) -> list[App]:
        """Return this app and the apps mounted in it, the outer ones first."""
        return [self, *(each for _, app, _ in self._mounts for each in app.all_apps())]

    def _add(self, route: Route) -> None:
        check_endpoint(route, self._converters)
        super()._add(route)

    def all_middleware(self) -> list[Middleware]:
        """Return all middleware, also of mounted apps and `use=`, each once, the outer first."""
        return middleware_in(self.level())
