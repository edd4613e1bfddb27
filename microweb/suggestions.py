"""The names of other frameworks, answered with ours.

`request.args` raises an AttributeError that says `request.query`. Each name is a descriptor on the
class, not a `__getattr__`: up to Python 3.11 that takes every attribute of the class off the
interpreter's fast path (50 ns for 9), and made an exchange in memory a tenth dearer.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import NoReturn, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class _Elsewhere:
    """An attribute that is not here: reading, setting and deleting it name ours."""

    def __init__(self, owner: str, name: str, ours: str) -> None:
        self._owner = owner
        self._name = name
        self._text = f"has no attribute {name!r}: in microweb it is `{ours}`"

    def __get__(self, instance: object, owner: type | None = None) -> NoReturn:
        if instance is None and owner is not None:
            text = f"type object {self._owner!r} {self._text}"
            raise AttributeError(text, name=self._name, obj=owner)
        self._refuse(instance)

    def __set__(self, instance: object, value: object) -> NoReturn:
        self._refuse(instance)

    def __delete__(self, instance: object) -> NoReturn:
        self._refuse(instance)

    def _refuse(self, instance: object) -> NoReturn:
        text = f"{self._owner!r} object {self._text}"
        raise AttributeError(text, name=self._name, obj=instance)


class Suggesting(type):
    """The class of a class that `point_to_ours` takes: its `dir()` and `help()` list ours alone.

    Attributes of a class that has it cost the same. Only `isinstance(x, cls)` costs 0.1 us more
    for `x` of another class, a subclass too.
    """

    def __dir__(cls) -> list[str]:
        return _without_suggestions(super().__dir__(), cls)


def _without_suggestions(names: Iterable[str], cls: type) -> list[str]:
    hidden, seen = set[str](), set[str]()
    for base in cls.__mro__:
        for name, value in vars(base).items():
            if type(value) is _Elsewhere and name not in seen:
                hidden.add(name)
            seen.add(name)
    return [name for name in names if name not in hidden]


def point_to_ours(cls: Suggesting, names: Mapping[str, str]) -> None:
    """Have `cls` answer `names`, each what others call a thing, with its name here.

    Neither `dir()` of an object lists them, nor that of the class.
    """
    for name, ours in names.items():
        setattr(cls, name, _Elsewhere(cls.__name__, name, ours))

    def __dir__(self: object) -> list[str]:
        return _without_suggestions(object.__dir__(self), type(self))

    cls.__dir__ = __dir__  # type: ignore[assignment]


def unknown_keyword(call: str, unknown: Iterable[str], names: Mapping[str, str]) -> str:
    """Return the message for a keyword that `call` does not take; `names` has the remedies."""
    keyword = min(unknown)
    text = f"{call} has no keyword {keyword!r}"
    return f"{text}: {remedy_in(names[keyword])}" if keyword in names else text


def remedy_in(ours: str) -> str:
    """Return a remedy as part of a message: `ours` is code, or begins with "leave it out"."""
    return ours if ours.startswith("leave it out") else f"in microweb it is `{ours}`"


def keyword_remedy(call: str, keyword: str) -> str | None:
    """Return the remedy for a keyword of another framework in a call of `Response.json`, say."""
    ours = _KEYWORDS.get(call, {}).get(keyword)
    return None if ours is None else remedy_in(ours)


def names_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """Have a call of `function` with a keyword of another framework name ours, as a TypeError.

    For functions that a request does not need: a call costs 0.1 us more.
    """
    call = function.__qualname__.removesuffix(".__init__")
    names = _KEYWORDS[call]

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except TypeError:
            foreign = kwargs.keys() & names.keys()
            if not foreign or _accepts(function, *args, **kwargs):
                raise
        raise TypeError(unknown_keyword(f"{call}()", foreign, names))

    return checked


def _accepts(function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> bool:
    """Whether the arguments fit: then what was raised came from within the function."""
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def public_name(name: str) -> object:
    """Return `microweb.<name>`, for a name that the package does not export.

    Raises: ImportError, which names the remedy, for `from microweb import jsonify`;
    AttributeError for other ways to look, so that `hasattr` works.
    """
    ours = _PUBLIC_NAMES.get(name)
    # `from microweb import name` looks here by `importlib`, `import microweb.name` does not.
    is_from_import = sys._getframe(2).f_code.co_name == "_handle_fromlist"
    if ours is not None and is_from_import:
        raise ImportError(f"microweb has no {name!r}: {ours}", name="microweb")
    module = sys.modules.get(f"microweb.{name}")
    if module is not None:
        return module
    raise AttributeError(
        f"module 'microweb' has no attribute {name!r}" + (f": {ours}" if ours else "")
    )


_PARAMETER = "an endpoint has a parameter for it: async def show(request: Request)"

# Names that are imported from other frameworks -> the way here.
_PUBLIC_NAMES = {
    "request": _PARAMETER,
    "session": "write request.session, with Sessions from microweb.middleware.sessions",
    "websocket": "@app.websocket gives the endpoint a socket: async def chat(socket: WebSocket)",
    "g": "write request.state",
    "current_app": "write request.app",
    "Flask": "write App()",
    "Quart": "write App()",
    "Sanic": "write App()",
    "FastAPI": "write App()",
    "Starlette": "write App()",
    "Blueprint": "write Router(prefix), and app.include(router)",
    "APIRouter": "write Router(prefix), and app.include(router)",
    "jsonify": "return the dict or list itself",
    "make_response": "return (value, status, headers), or a Response",
    "JSONResponse": "return the dict or list itself, or write Response.json(value)",
    "HTMLResponse": "return html(template, *args), or write Response.html(text)",
    "PlainTextResponse": "return the str itself, or write Response.text(text)",
    "RedirectResponse": "write Response.redirect(url)",
    "StreamingResponse": "return the generator itself, or write Response.stream(pieces)",
    "FileResponse": "write Response.file(path)",
    "redirect": "write Response.redirect(url)",
    "send_file": "write Response.file(path)",
    "send_from_directory": "write app.static(prefix, folder)",
    "StaticFiles": "write app.static(prefix, folder)",
    "url_for": "write request.url_for(name) or app.url_for(name)",
    "render_template": "write app.templates.render(name), with Templates from microweb.templating",
    "Jinja2Templates": "write Templates(folder), from microweb.templating",
    "escape": "write html(template, *args), which escapes its arguments",
    "Markup": "write html(template, *args)",
    "flash": "write request.session.flash(text)",
    "get_flashed_messages": "write request.session.flashes()",
    "HTTPException": "write HTTPError(status, detail), or abort(status, detail)",
    "Depends": "write middleware, use=[...], or a function that takes the request",
    "Query": "annotate a parameter of the endpoint",
    "Path": "name it in the path: {id}",
    "Body": "write await request.json(Type)",
    "Form": "write await request.form()",
    "Header": "write request.headers",
    "Cookie": "write request.cookies",
    "File": "write (await request.form()).files",
    "BackgroundTasks": "write request.after_response(function)",
    "after_this_request": "write @app.after_request, or middleware",
    "stream_with_context": "return the generator itself",
    "WebSocketDisconnect": "catch ClientDisconnected; `async for message in socket` just ends",
    "WebSocketException": "write await socket.close(code, reason)",
    "status": "write the number itself, 404, or HTTPStatus.NOT_FOUND from http",
    "Security": "write middleware, such as BearerAuth, from microweb.middleware.authentication",
    "HTTPBasic": "write BasicAuth, from microweb.middleware.authentication",
    "HTTPBearer": "write BearerAuth, from microweb.middleware.authentication",
    "Mount": "write app.mount(prefix, other_app)",
    "Route": "write app.route(path, methods)",
    "WebSocketRoute": "write @app.websocket(path)",
    "EventSourceResponse": "write Response.events(events)",
    "BaseHTTPMiddleware": "write async def middleware(request, call_next), and app.use(middleware)",
    "SessionMiddleware": "write Sessions, from microweb.sessions",
    "TrustedHostMiddleware": "write AllowedHosts, from microweb.middleware.hosts",
    "HTTPSRedirectMiddleware": "write HTTPSRedirect, from microweb.middleware.https",
    "run": "write app.run()",
    "TestClient": "write app.test_client()",
    "CORSMiddleware": "write CORS, from microweb.middleware.cors",
    "GZipMiddleware": "write Compression, from microweb.middleware.compression",
}

_CONTENT = ("content", "body", "data")
_MEDIA_TYPE = ("media_type", "mimetype")
_STATUS = ("status_code", "code")
_SET_HEADER = 'response.headers["X"] = "y"'
_SET_MEDIA_TYPE = dict.fromkeys(
    (*_MEDIA_TYPE, "content_type"), 'response.headers["content-type"] = ...'
)

# Calls of ours -> their keywords in other frameworks -> the way here.
_KEYWORDS: dict[str, dict[str, str]] = {
    "Response.text": {
        **dict.fromkeys(_STATUS, "Response.text(text, status)"),
        **dict.fromkeys(_CONTENT, "Response.text(text)"),
        **_SET_MEDIA_TYPE,
    },
    "Response.html": {
        **dict.fromkeys(_STATUS, "Response.html(text, status)"),
        **dict.fromkeys(_CONTENT, "Response.html(text)"),
        **_SET_MEDIA_TYPE,
    },
    "Response.json": {
        **dict.fromkeys(_STATUS, "Response.json(value, status)"),
        **dict.fromkeys(_CONTENT, "Response.json(value)"),
        **_SET_MEDIA_TYPE,
        "default": "app.json_default = function",
    },
    "Response.redirect": {
        **dict.fromkeys(_STATUS, "Response.redirect(url, status)"),
        **dict.fromkeys(("location", "to"), "Response.redirect(url)"),
        "permanent": "Response.redirect(url, 308)",
        "headers": _SET_HEADER,
    },
    "Response.stream": {
        **dict.fromkeys(_STATUS, "Response.stream(pieces, status)"),
        **dict.fromkeys(_CONTENT, "Response.stream(pieces)"),
        **dict.fromkeys(_MEDIA_TYPE, "Response.stream(pieces, content_type=...)"),
    },
    "Response.events": {"ping": "Response.events(events, heartbeat_s=...)"},
    "Response.file": {
        **dict.fromkeys((*_STATUS, "status"), "response.status = ..."),
        **dict.fromkeys(_MEDIA_TYPE, "Response.file(path, content_type=...)"),
        **dict.fromkeys(
            ("filename", "attachment_filename", "as_attachment"),
            "Response.file(path, download_name=...)",
        ),
        "max_age": "Response.file(path, cache=seconds)",
        "headers": _SET_HEADER,
    },
    "Response.set_cookie": {
        "key": "response.set_cookie(name, value)",
        "same_site": "response.set_cookie(name, value, samesite=...)",
        "http_only": "response.set_cookie(name, value, httponly=...)",
    },
    "Response.delete_cookie": {"key": "response.delete_cookie(name)"},
    "Request.json": dict.fromkeys(("force", "silent", "cache"), "leave it out"),
    "App.run": {  # and App.serve
        "debug": "App(debug=True)",
        **dict.fromkeys(("reload", "use_reloader", "auto_reload"), "leave it out, nothing reloads"),
        **dict.fromkeys(("workers", "processes"), "leave it out, a server is one process"),
        **dict.fromkeys(
            ("ssl", "ssl_context", "ssl_certfile", "ssl_keyfile", "certfile", "keyfile"),
            "app.run(trusted_proxies=...), behind a proxy that has the certificate",
        ),
        "threaded": "app.run(threads=...)",
        "bind": "app.run(host, port)",
        "hostname": "app.run(host)",
        "log_level": "logging.getLogger('microweb').setLevel(...)",
        **dict.fromkeys(("proxy_headers", "forwarded_allow_ips"), "app.run(trusted_proxies=...)"),
        "limit_concurrency": "app.run(max_connections=...)",
        **dict.fromkeys(
            ("timeout_keep_alive", "keep_alive_timeout"), "app.run(idle_timeout_s=...)"
        ),
        **dict.fromkeys(
            ("timeout_graceful_shutdown", "graceful_timeout", "shutdown_timeout"),
            "app.run(grace_s=...)",
        ),
    },
    # Keywords as members of the problem details: the status is missing then.
    "HTTPError": {"status_code": "HTTPError(status, detail)"},
    "abort": {"status_code": "abort(status, detail)"},
    "CORS": {
        "allow_origins": "CORS(origins)",
        "allow_origin_regex": "CORS(function)",
        "allow_methods": "CORS(origins, methods=...)",
        "allow_headers": "CORS(origins, headers=...)",
        "expose_headers": "CORS(origins, expose=...)",
        "allow_credentials": "CORS(origins, credentials=True)",
        "supports_credentials": "CORS(origins, credentials=True)",
        "resources": "@app.get(path, use=[CORS(origins)])",
    },
    "Compression": {
        "minimum_size": "Compression(min_bytes=...)",
        "min_size": "Compression(min_bytes=...)",
        "compresslevel": "leave it out, the level is fixed",
    },
    "Sessions": {
        "secret": "Sessions(secret_key)",
        "session_cookie": "Sessions(secret_key, cookie=...)",
        "cookie_name": "Sessions(secret_key, cookie=...)",
    },
    "Channels": {
        "name": "channels = Channels(), and channels[name]",
        "url": "Channels(broker=RedisBroker(url))",
        "backend": "Channels(broker=...)",
    },
    "AllowedHosts": {"allowed_hosts": "AllowedHosts(hosts)"},
    "Timeout": {"timeout": "Timeout(seconds)", "timeout_s": "Timeout(seconds)"},
    "RateLimit": {
        "limit": "RateLimit(quota, window_s)",
        "times": "RateLimit(quota, window_s)",
        "seconds": "RateLimit(quota, window_s)",
    },
}

# Keywords of an application in other frameworks -> the way here.
APP_KEYWORDS = {
    "import_name": "leave it out, an app needs no name",
    "name": "leave it out, an app needs no name",
    "title": "leave it out, there is no schema",
    "description": "leave it out, there is no schema",
    "version": "leave it out, there is no schema",
    "routes": "@app.get(path) for each",
    "middleware": "app.use(middleware)",
    "dependencies": "app.use(middleware)",
    "exception_handlers": "@app.errorhandler(ExceptionType)",
    "lifespan": "@app.lifespan",
    "on_startup": "@app.on_startup",
    "on_shutdown": "@app.on_shutdown",
    "static_folder": "app.static(prefix, folder)",
    "static_url_path": "app.static(prefix, folder)",
    "template_folder": "app.templates = Templates(folder)",
    "strict_slashes": "App(redirect_slashes=True)",
    "client_max_size": "App(max_body=...)",
    "root_path": "outer_app.mount(prefix, app)",
    "secret_key": "app.use(Sessions(secret_key))",
    "docs_url": "leave it out, there is no schema",
    "openapi_url": "leave it out, there is no schema",
}

# Attributes of an application in other frameworks -> the way here; not for type checkers.
APP_NAMES = {
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
    "add_task": "app.spawn(coroutine)",
    "add_background_task": "app.spawn(coroutine)",
    "create_task": "app.spawn(coroutine)",
    "config": "app.state",
    "jinja_env": "app.templates.environment",
    "template_filter": "app.templates.environment.filters",
    "template_global": "app.templates.environment.globals",
    "context_processor": "app.templates.environment.globals",
    "extensions": "app.state",
    "ctx": "app.state",
}
