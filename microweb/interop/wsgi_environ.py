"""The environ of a WSGI application: PEP 3333, RFC 3875 section 4.1.

Texts are native strings: each character stands for one byte. A field name with an underscore is
left out, because `X_User` and `X-User` would have the same key, and a proxy that removes one may
let the other pass.
"""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import unquote_to_bytes

from ..http.urlencoded import path_below
from ..request import Request
from .wsgi_file import FileWrapper
from .wsgi_input import Input

Environ = dict[str, Any]  # PEP 3333 says: a dict, and no subclass

_DEFAULT_PORTS = {"http": "80", "https": "443"}


def make_environ(request: Request, source: Input) -> Environ:
    """Return the environ of a request with the body `source`."""
    line, scheme, client = request.line, request.scheme, request.client
    mounted_at = "" if request.match is None else request.match.prefix
    path = _decode(path_below(line.raw_path, mounted_at))
    query = f"?{line.query_string}" if line.query_string else ""
    root = "" if path == "*" else request.root_path
    name, port = _server_of(request)
    environ: Environ = {
        "REQUEST_METHOD": line.method,
        "SCRIPT_NAME": _decode(request.prefix),
        "PATH_INFO": "/" if path == "*" else path,  # of `OPTIONS *`; a path begins with a slash
        "QUERY_STRING": line.query_string,
        "REQUEST_URI": f"{root}{line.raw_path}{query}",  # not decoded
        "SERVER_NAME": name,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{request.http_version}",
        "REMOTE_ADDR": "" if client is None or client.host.startswith("uid=") else client.host,
        "REMOTE_PORT": "" if client is None or not client.port else str(client.port),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": source.stream,
        "wsgi.input_terminated": True,  # it ends with the body, also without CONTENT_LENGTH
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,  # there may be several workers
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
    }
    _add_fields(environ, request.headers.by_name)
    if host := request.host:  # of the target, or as a trusted proxy reports it
        environ["HTTP_HOST"] = host
    if source.length is not None and request.section.is_chunked:
        environ["CONTENT_LENGTH"] = str(source.length)
    return environ


def _server_of(request: Request) -> tuple[str, str]:
    """Return the name and the port of the server. Over a Unix socket, they are those of the Host.

    RFC 3875 section 4.1.14
    """
    host, port = request.transport.ends.local or ("", None)
    if port is None:
        name = request.host.removesuffix(":" + _port_in(request.host))
        return name or "localhost", _port_in(request.host) or _DEFAULT_PORTS[request.scheme]
    return f"[{host}]" if ":" in host else host, str(port)


def _add_fields(environ: Environ, fields: dict[str, str]) -> None:
    for name, value in fields.items():
        if "_" not in name:
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
    environ.pop("HTTP_TRANSFER_ENCODING", None)  # it is decoded
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if (value := environ.pop(f"HTTP_{name}", None)) is not None:
            environ[name] = value


def _decode(raw_path: str) -> str:
    """Return a path with its escapes decoded to bytes, and each byte as a character."""
    if "%" not in raw_path:
        return raw_path
    return unquote_to_bytes(raw_path).decode("latin-1")


def _port_in(host: str) -> str:
    """Return the port of a valid host, an empty text without one."""
    return host[host.rfind("]") + 1 :].partition(":")[2]
