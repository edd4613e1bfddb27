"""The scope of an ASGI call, from a request.

https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from ..http.tls import TLSInfo
from ..request import Request
from ..server.addresses import is_unix
from .asgi_fields import fields_of
from .asgi_types import Scope

_ASGI = {"version": "3.0", "spec_version": "2.4"}
_SOCKET_SCHEMES = {"http": "ws", "https": "wss"}
_TLS_VERSIONS = {"1.2": 0x0303, "1.3": 0x0304}


def http_scope(request: Request, state: dict[str, Any]) -> Scope:
    """Return the scope of a request; `state` is that of the lifespan, which is copied.

    The values of `request.state`, which middleware has set, are in its state too.
    """
    # Without the properties of `request`, because each request needs a scope: 5.3 us, not 5.9.
    line, match = request.line, request.match
    ends = request.transport.ends
    client, scheme, host, root, port = ends.origin or request._find_origin()
    if port is not None:
        host = request.host
    path, prefix = line.raw_path, root if match is None else root + match.prefix
    if root and path != "*":
        path = root + path
    extensions: dict[str, Any] = {
        "http.response.pathsend": {},
        "http.response.trailers": {},
        "http.response.early_hint": {},
    }
    if ends.has_tls and (tls := request.tls) is not None:
        extensions["tls"] = _tls_extension(tls)
    return {
        "type": "http",
        "asgi": _ASGI.copy(),
        "http_version": "1.1" if request.section.minor_version else "1.0",
        "method": line.method,
        "scheme": scheme,
        "path": unquote(path) if "%" in path else path,
        "raw_path": path.encode("ascii"),
        "query_string": line.query_string.encode("ascii"),
        "root_path": unquote(prefix) if prefix else "",
        "headers": fields_of(request, host),
        "client": tuple(client) if client is not None and not is_unix(client) else None,
        "server": ends.local,
        "state": state.copy() if request._state is None else state | vars(request._state),
        "extensions": extensions,
    }


def socket_scope(request: Request, state: dict[str, Any], subprotocols: tuple[str, ...]) -> Scope:
    """Return the scope of a WebSocket, whose handshake is `request`."""
    scope = http_scope(request, state)
    del scope["method"]
    tls = scope["extensions"].get("tls")
    scope.update(
        type="websocket",
        scheme=_SOCKET_SCHEMES[request.scheme],
        subprotocols=list(subprotocols),
        extensions={"websocket.http.response": {}} | ({} if tls is None else {"tls": tls}),
    )
    return scope


def _tls_extension(tls: TLSInfo) -> dict[str, object]:
    """Return the TLS extension. https://asgi.readthedocs.io/en/latest/specs/tls.html"""
    from ssl import DER_cert_to_PEM_cert

    client = tls.client
    return {
        "server_cert": None,
        "client_cert_chain": [] if client is None else [DER_cert_to_PEM_cert(client.der)],
        "client_cert_name": None if client is None else client.subject,
        "client_cert_error": None,
        "tls_version": _TLS_VERSIONS.get(tls.version),
        "cipher_suite": None,
    }
