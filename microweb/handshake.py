"""The opening handshake of a WebSocket, as far as it is decided by the request alone.

Plain functions on a request: whether it asks for a WebSocket, whether it does so rightly, whether a
page of its origin may. RFC 6455 sections 4.2 and 10.2.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable

from .errors import BadRequest, ConfigurationError, Forbidden, HTTPError
from .headers import list_members
from .request import Request

_VERSION = "13"
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# origin = scheme "://" host [ ":" port ]                                     RFC 6454 section 6.2
_ORIGIN = re.compile(r"[a-z][a-z0-9+.\-]*+://(?:[a-z0-9._\-]++|\[[0-9a-f:.]++\])(?::[0-9]++)?")
_USUAL_PORTS = {"http": ":80", "https": ":443"}

EVERY_ORIGIN = "*"


def check_handshake(request: Request) -> None:
    """Refuse what is no opening handshake. RFC 6455 sections 4.2.1 and 4.4

    Raises: HTTPError (426, which names the protocol and its version) for an ordinary request and
    for another version; BadRequest for a handshake that is malformed.
    """
    headers = request.headers
    if not _is_upgrade(request):
        raise HTTPError(
            426, "this is a WebSocket: it can't be asked for directly", headers=_WHAT_TO_SEND
        )
    versions = headers.get_all("sec-websocket-version")
    if versions != [_VERSION]:
        raise HTTPError(426, f"expected WebSocket version {_VERSION}", headers=_WHAT_TO_SEND)
    keys = headers.get_all("sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise BadRequest("expected one Sec-WebSocket-Key, 16 bytes in base64")
    if request.section.has_body:
        raise BadRequest("expected no body in a WebSocket handshake")


_WHAT_TO_SEND = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",  # RFC 9110 section 7.8
    "Sec-WebSocket-Version": _VERSION,
}


def _is_upgrade(request: Request) -> bool:
    """Whether a request asks for a WebSocket; HTTP/1.0 can't. RFC 9110 section 7.8"""
    return (
        request.method == "GET"
        and request.section.minor_version > 0
        and "upgrade" in _members(request, "connection")
        and "websocket" in _members(request, "upgrade")
    )


def _members(request: Request, name: str) -> list[str]:
    return list_members(",".join(request.headers.get_all(name)).lower())


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def accept_of(request: Request) -> str:
    """Return what Sec-WebSocket-Accept answers to a request's key. RFC 6455 section 4.2.2"""
    digest = hashlib.sha1((request.headers["sec-websocket-key"] + _GUID).encode("latin-1"))
    return base64.b64encode(digest.digest()).decode()


def offered_subprotocols(request: Request) -> tuple[str, ...]:
    """Return the subprotocols that the client can speak, the ones it likes best first."""
    return tuple(list_members(",".join(request.headers.get_all("sec-websocket-protocol"))))


# --- origins --------------------------------------------------------------------------


def parse_origins(origins: Iterable[str] | None) -> frozenset[str]:
    """Return the origins that a route lets in beside its own; `*` is every one.

    Raises: ConfigurationError for what no browser would send as an origin.
    """
    listed = frozenset((origins,) if isinstance(origins, str) else origins or ())
    for origin in listed - {EVERY_ORIGIN, "null"}:
        is_origin = isinstance(origin, str) and _ORIGIN.fullmatch(origin)
        if not is_origin or _plain(origin) != origin:
            raise ConfigurationError(
                f"origins: expected '*' or origins as browsers write them, in lower case, without "
                f"path and usual port, as in 'https://example.org', got {origin!r:.80}"
            )
    return listed


def check_origin(request: Request, allowed: frozenset[str]) -> None:
    """Refuse a page of another site: browsers send it our cookies. RFC 6455 section 10.2

    Who sends no Origin is no browser. Raises: Forbidden.
    """
    origins = request.headers.get_all("origin")
    if not origins or EVERY_ORIGIN in allowed:
        return
    if len(origins) == 1:
        origin, host = _plain(origins[0].lower()), request.host.lower()
        if origin in allowed or (host and origin == _plain(f"{request.scheme}://{host}")):
            return
    raise Forbidden("a page of another origin can't have this WebSocket")


def _plain(origin: str) -> str:
    """Return an origin without the port that its scheme has anyway."""
    usual = _USUAL_PORTS.get(origin.partition("://")[0])
    return origin.removesuffix(usual) if usual is not None else origin
