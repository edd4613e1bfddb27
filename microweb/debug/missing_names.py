"""The error for a name that `from microweb import ...` does not find, with the remedy.

`microweb` imports this module only for such a name.
"""

from __future__ import annotations

import sys

from .. import errors


def public_name(name: str) -> object:
    """Return `microweb.<name>` for a name that the package does not export.

    Raises: ImportError, which names the remedy, for `from microweb import jsonify`;
    AttributeError for any other access, so that `hasattr` works.
    """
    ours = _remedy_for(name)
    # `from microweb import name` comes through this function of `importlib`.
    is_from_import = sys._getframe(2).f_code.co_name == "_handle_fromlist"
    if ours is not None and is_from_import:
        raise ImportError(f"microweb has no {name!r}: {ours}", name="microweb")
    module = sys.modules.get(f"microweb.{name}")
    if module is not None:
        return module
    raise AttributeError(
        f"module 'microweb' has no attribute {name!r}" + (f": {ours}" if ours else "")
    )


def _remedy_for(name: str) -> str | None:
    """Return the remedy for a name of another framework, or of a module of microweb."""
    if name in FOREIGN_NAMES:
        return FOREIGN_NAMES[name]
    error = getattr(errors, name, None)
    if isinstance(error, type) and error.__module__ == errors.__name__:
        return f"write `from microweb.errors import {name}`"
    for module, names in OWN_NAMES.items():
        if name in names.split():
            return f"write `from microweb.{module} import {name}`"
    return None


# A module -> the public names that users import from it. Those of `errors` are its classes.
OWN_NAMES = {
    "bodies.forms": "Files Form",
    "bodies.multipart": "Part",
    "channels": "Broker Channel Channels Gap MemoryBroker Message Subscription",
    "channels.redis": "RedisBroker",
    "endpoints.described": "Described",
    "errorpages": "preferred_form problem_response",
    "faults": "Fault",
    "http.headers": "MutableHeaders",
    "http.interfaces": "Address",
    "http.mediatypes": "MEDIA_TYPES",
    "http.tls": "ClientCertificate TLSInfo",
    "middleware.authentication": "BasicAuth BearerAuth",
    "middleware.compression": "Compression",
    "middleware.conditional": "ConditionalGet",
    "middleware.cors": "CORS",
    "middleware.csrf": "CSRFProtection",
    "middleware.health": "Health",
    "middleware.hosts": "AllowedHosts",
    "middleware.https": "HTTPSRedirect",
    "middleware.metrics": "Counter Gauge Histogram Metrics",
    "middleware.rate_limit": "RateLimit",
    "middleware.rate_limit_redis": "RedisBuckets",
    "middleware.request_id": "RequestID",
    "middleware.security": "ContentSecurityPolicy SecurityHeaders",
    "middleware.sessions": "Sessions",
    "middleware.timeout": "Timeout",
    "middleware.timing": "ServerTiming timing",
    "middleware.tracing": "Tracing",
    "openapi": "document",
    "router": "Route",
    "server.config": "ServerConfig",
    "server.server": "Server",
    "sessions": "Session SessionStore",
    "sessions.memory": "MemoryStore",
    "sessions.redis": "RedisStore",
    "sessions.session": "Flash",
    "sse": "ServerEvent",
    "templating": "MissingTemplate TemplateResponse TemplateStream Templates",
    "testing": (
        "ClientSocket EventStream HandshakeRefused LiveServer MemoryTransport Misbehaving "
        "ReceivedEvent SocketClosed TestClient live_server"
    ),
    "typed": "Content Cookie Depends FormData Header Json Meta Query",
    "websocket.frames": "encode_frame",
}

_PARAMETER = "an endpoint has a parameter for it: async def show(request: Request)"

# A name that users import from other frameworks -> the remedy.
FOREIGN_NAMES = {
    "request": _PARAMETER,
    "session": "write request.session, with `from microweb.middleware.sessions import Sessions`",
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
    "render_template": (
        "write app.templates.render(name), with `from microweb.templating import Templates`"
    ),
    "Jinja2Templates": "write `from microweb.templating import Templates`, and Templates(folder)",
    "escape": "write html(template, *args), which escapes its arguments",
    "Markup": "write html(template, *args)",
    "flash": "write request.session.flash(text)",
    "get_flashed_messages": "write request.session.flashes()",
    "HTTPException": "write HTTPError(status, detail), or abort(status, detail)",
    "Path": "name it in the path: {id}",
    "Body": "write `from microweb.typed import Json`, and Json[Type]",
    "Form": "write `from microweb.typed import FormData`, and FormData[Type]",
    "File": "put an UploadFile into a dataclass, and write `from microweb.typed import FormData`",
    "BackgroundTasks": "write request.after_response(function)",
    "after_this_request": "write @app.after_request, or middleware",
    "stream_with_context": "return the generator itself",
    "WebSocketDisconnect": "catch ClientDisconnected; `async for message in socket` just ends",
    "WebSocketException": "write await socket.close(code, reason)",
    "status": "write the number itself, 404, or HTTPStatus.NOT_FOUND from http",
    "Security": "use middleware: `from microweb.middleware.authentication import BearerAuth`",
    "HTTPBasic": "write `from microweb.middleware.authentication import BasicAuth`",
    "HTTPBearer": "write `from microweb.middleware.authentication import BearerAuth`",
    "Mount": "write app.mount(prefix, other_app)",
    "Route": "write app.route(path, methods)",
    "WebSocketRoute": "write @app.websocket(path)",
    "EventSourceResponse": "write Response.events(events)",
    "BaseHTTPMiddleware": "write async def middleware(request, call_next), and app.use(middleware)",
    "SessionMiddleware": "write `from microweb.middleware.sessions import Sessions`",
    "TrustedHostMiddleware": "write `from microweb.middleware.hosts import AllowedHosts`",
    "HTTPSRedirectMiddleware": "write `from microweb.middleware.https import HTTPSRedirect`",
    "run": "write app.run()",
    "TestClient": "write app.test_client()",
    "CORSMiddleware": "write `from microweb.middleware.cors import CORS`",
    "GZipMiddleware": "write `from microweb.middleware.compression import Compression`",
}
