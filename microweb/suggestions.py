"""Suggestions for the names of other frameworks: the tables, and `apply_suggestions`.

`request.args` raises an AttributeError that says `request.query`, `App(routes=...)` a
ConfigurationError that says `@app.get(path)`. The mechanism is in `remedies`. `microweb/__init__`
applies these tables, so the modules with those classes and calls do not import them. Names that
`from microweb import ...` does not find are in `debug.missing_names`.
"""

from __future__ import annotations

from .app import App
from .remedies import KEYWORDS, Suggesting, point_to_ours
from .request import Request
from .response import Response


def apply_suggestions() -> None:
    """Register the suggestions for names on our classes and for keywords of our calls."""
    for cls, names in NAMES.items():
        point_to_ours(cls, names)
    KEYWORDS.update(_KEYWORDS)


# Our class -> a name in other frameworks -> our name. Type checkers do not know these names.
NAMES: dict[Suggesting, dict[str, str]] = {
    App: {
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
    },
    Request: {
        "args": "request.query",
        "query_params": "request.query",
        "query_args": "request.query",
        "rel_url": "request.url",
        "get_json": "await request.json()",
        "get_data": "await request.body()",
        "data": "await request.body()",
        "content": "request.stream()",
        "read": "await request.body()",
        "values": "request.query or await request.form()",
        "view_args": "request.path_params",
        "match_info": "request.path_params",
        "path_args": "request.path_params",
        "url_args": "request.path_params",
        "remote_addr": "request.client.host",
        "remote": "request.client.host",
        "remote_ip": "request.client.host",
        "ip": "request.client.host",
        "client_addr": "request.client",
        "g": "request.state",
        "ctx": "request.state",
        "context": "request.state",
        "is_secure": 'request.scheme == "https"',
        "content_type": 'request.headers.get("content-type")',
        "mimetype": 'request.headers.get("content-type")',
        "content_length": 'request.headers.get("content-length")',
        "user_agent": 'request.headers.get("user-agent")',
        "authorization": 'request.headers.get("authorization")',
        "environ": "request.headers",
        "META": "request.headers",
        "GET": "request.query",
        "POST": "await request.form()",
        "COOKIES": "request.cookies",
        "endpoint": "request.route",
        "background": "request.after_response(function)",
        "background_tasks": "request.after_response(function)",
        "url_rule": "request.route",
        "uri_template": "request.route.path",
        "script_root": "request.prefix",
        "base_url": "request.url",
        "full_path": "request.url",
    },
    Response: {
        "status_code": "response.status",
        "status_int": "response.status",
        "media_type": 'response.headers["content-type"]',
        "mimetype": 'response.headers["content-type"]',
        "content_type": 'response.headers["content-type"]',
        "content": "response.body",
        "data": "response.body",
        "get_data": "response.body",
        "set_data": "response.body = ...",
        "body_iterator": "response.pieces",
        "set_header": 'response.headers["X"] = "y"',
        "add_header": 'response.headers.add("X", "y")',
        "del_cookie": "response.delete_cookie(...)",
        "unset_cookie": "response.delete_cookie(...)",
        "background": "request.after_response(function)",
        "call_on_close": "request.after_response(function)",
        "make_response": "return (value, status, headers)",
    },
}

_CONTENT = ("content", "body", "data")
_MEDIA_TYPE = ("media_type", "mimetype")
_STATUS = ("status_code", "code")
_SET_HEADER = 'response.headers["X"] = "y"'
_SET_MEDIA_TYPE = dict.fromkeys(
    (*_MEDIA_TYPE, "content_type"), 'response.headers["content-type"] = ...'
)

# Keywords of a router, and of `include`.
_OF_ROUTERS = {
    "url_prefix": "Router(prefix)",
    "dependencies": "Router(prefix, use=[middleware])",
    "middleware": "Router(prefix, use=[middleware])",
    "static_folder": "app.static(prefix, folder)",
    "template_folder": "Templates(folder, other_folder)",
}

# Our call -> a keyword in other frameworks -> the remedy.
_KEYWORDS: dict[str, dict[str, str]] = {
    "App": {
        "import_name": "leave it out, an app needs no name",
        "name": "leave it out, an app needs no name",
        "title": "app.openapi(title, version)",
        "description": "app.openapi(title, version, description=...)",
        "version": "app.openapi(title, version)",
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
        "root_path": "app.run(root_path=...), or outer_app.mount(prefix, app)",
        "secret_key": "app.use(Sessions(secret_key))",
        "docs_url": "app.openapi(title, version, docs=...)",
        "openapi_url": "app.openapi(title, version, path=...)",
    },
    "Router": _OF_ROUTERS,
    "include": {"prefix": "Router(prefix)", "tags": "Router(prefix, tags=[...])", **_OF_ROUTERS},
    "route": {
        "endpoint": "name",
        "strict_slashes": "App(redirect_slashes=True)",
        "defaults": "a default of the parameter",
        "dependencies": "use=[middleware]",
        "middleware": "use=[middleware]",
        "response_model": "the annotation of the returned value",
        "response_class": "the returned value",
        "status_code": "return value, status",
        "include_in_schema": "documented=False",
        "summary": "the first line of the docstring",
        "host": "AllowedHosts, or request.host",
        "subdomain": "AllowedHosts, or request.host",
        "version": "a Router with a prefix",
        "stream": "leave it out: request.stream() is always there",
    },
    "websocket": {
        "subprotocols": "await socket.accept(subprotocol)",
        "subprotocol": "await socket.accept(subprotocol)",
        "endpoint": "name",
        "dependencies": "use=[middleware]",
        "middleware": "use=[middleware]",
        "methods": "leave it out, a WebSocket begins with GET",
    },
    "Response": {
        "content": "Response(body)",
        "data": "Response(body)",
        "response": "Response(body)",
        "text": "Response.text(text)",
        "json": "Response.json(value)",
        "status_code": "Response(body, status)",
        "media_type": "Response(..., content_type=...)",
        "mimetype": "Response(..., content_type=...)",
        "background": "request.after_response(function)",
        "direct_passthrough": "Response.stream(pieces)",
    },
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
        **dict.fromkeys(
            ("reload", "use_reloader", "auto_reload"), "microweb dev module:app, a command"
        ),
        "processes": "app.run(workers=...)",
        **dict.fromkeys(
            ("ssl", "ssl_context", "ssl_certfile", "certfile"), "app.run(tls_certificate=...)"
        ),
        **dict.fromkeys(("ssl_keyfile", "keyfile"), "app.run(tls_key=...)"),
        **dict.fromkeys(("ssl_ca_certs", "ca_certs"), "app.run(tls_client_ca=...)"),
        "ssl_cert_reqs": "app.run(tls_client='required')",
        "threaded": "app.run(threads=...)",
        "hostname": "app.run(host)",
        **dict.fromkeys(("proxy_headers", "forwarded_allow_ips"), "app.run(trusted_proxies=...)"),
        "limit_concurrency": "app.run(max_concurrent=...) or app.run(max_connections=...)",
        **dict.fromkeys(
            ("timeout_keep_alive", "keep_alive_timeout"), "app.run(idle_timeout_s=...)"
        ),
        **dict.fromkeys(
            ("timeout_graceful_shutdown", "graceful_timeout", "shutdown_timeout"),
            "app.run(grace_s=...)",
        ),
    },
    # Unknown keywords are members of the problem details: with this one, the status is missing.
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
