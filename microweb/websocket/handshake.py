"""The opening handshake of a WebSocket: the part that depends on the request alone.

Plain functions on a request: whether it asks for a WebSocket, whether its handshake is valid, and
whether its origin is allowed. RFC 6455 sections 4.2 and 10.2.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable

from ..errors import BadRequest, Forbidden, HTTPError
from ..http.grammar import TOKEN_TEXT, without_escapes
from ..http.headers import MAX_MEMBERS, list_members
from ..http.origins import EVERY_ORIGIN, without_usual_port
from ..request import Request

_VERSION = "13"
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def check_handshake(request: Request) -> None:
    """Refuse a request that is not an opening handshake. RFC 6455 sections 4.2.1 and 4.4

    Raises: HTTPError (426, with the protocol and its version) for an ordinary request and for
    another version; BadRequest for a malformed handshake.
    """
    headers = request.headers
    if not _is_upgrade(request):
        raise HTTPError(
            426,
            "expected a WebSocket handshake, got an ordinary request: use a WebSocket client",
            headers=_UPGRADE_FIELDS,
        )
    versions = headers.get_all("sec-websocket-version")
    if versions != [_VERSION]:
        got = "another value" if versions else "none"
        raise HTTPError(
            426,
            f"expected Sec-WebSocket-Version {_VERSION}, got {got}",
            headers=_UPGRADE_FIELDS,
        )
    keys = headers.get_all("sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise BadRequest("expected one Sec-WebSocket-Key of 16 bytes in base64")
    if request.section.has_body:
        raise BadRequest("expected no body in a WebSocket handshake")


_UPGRADE_FIELDS = {
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
    return list_members(",".join(request.headers.get_all(name)).lower(), MAX_MEMBERS)


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def accept_of(request: Request) -> str:
    """Return the value of Sec-WebSocket-Accept for a request's key. RFC 6455 section 4.2.2"""
    digest = hashlib.sha1((request.headers["sec-websocket-key"] + _GUID).encode("latin-1"))
    return base64.b64encode(digest.digest()).decode()


def offered_subprotocols(request: Request) -> tuple[str, ...]:
    """Return the first 100 subprotocols of the client, in its order of preference."""
    fields = request.headers.get_all("sec-websocket-protocol")
    return tuple(list_members(",".join(fields), MAX_MEMBERS))


# --- extensions -----------------------------------------------------------------------

Offer = tuple[str, list[tuple[str, str | None]]]  # an extension and its parameters

# extension = token *( ";" token [ "=" ( token / quoted-string ) ] )         RFC 6455 section 9.1
_NAME = re.compile(rf"[ \t]*+({TOKEN_TEXT.pattern})[ \t]*+")
_PARAMETER = re.compile(
    rf";[ \t]*+({TOKEN_TEXT.pattern})[ \t]*+"
    rf'(?:=[ \t]*+(?:({TOKEN_TEXT.pattern})|"((?:[^"\\]++|\\.)*)")[ \t]*+)?'
)
_EMPTY = re.compile(r"[ \t,]*+")  # members may be empty. RFC 9110 section 5.6.1.2
_NEXT = re.compile(r",[ \t,]*+|\Z")


def parse_extensions(fields: Iterable[str], known: str) -> list[Offer]:
    """Return the extensions that `Sec-WebSocket-Extensions` offers. RFC 6455 section 9.1

    A quoted value must be a token after unquoting. Agents of TR-369 send other values, in an
    extension that this server does not have. So the rule is checked for the `known` extension only.

    Raises: BadRequest for malformed offers, and for more than 100 of them with their parameters.
    """
    text = ",".join(fields)
    offers: list[Offer] = []
    left = MAX_MEMBERS  # offers and parameters; browsers send 2
    position = _EMPTY.match(text).end()  # type: ignore[union-attr]  # it always matches
    while position < len(text):
        if (name := _NAME.match(text, position)) is None:
            raise _malformed(text, position)
        position = name.end()
        parameters: list[tuple[str, str | None]] = []
        while (found := _PARAMETER.match(text, position)) is not None:
            parameters.append((found[1], _value_of(found, must_be_token=name[1] == known)))
            position = found.end()
            if (left := left - 1) < 0:
                raise _too_many()
        if (after := _NEXT.match(text, position)) is None:
            raise _malformed(text, position)
        position = after.end()
        offers.append((name[1], parameters))
        if (left := left - 1) < 0:
            raise _too_many()
    return offers


def _value_of(found: re.Match[str], *, must_be_token: bool) -> str | None:
    token, quoted = found[2], found[3]
    if quoted is None:
        return token
    value = without_escapes(quoted)
    if must_be_token and TOKEN_TEXT.fullmatch(value) is None:
        raise _malformed(found.string, found.start(3))
    return value


def _malformed(text: str, position: int) -> BadRequest:
    return BadRequest(
        "expected Sec-WebSocket-Extensions in the form of RFC 6455 section 9.1, "
        f"got another form at index {position} of {len(text)}"
    )


def _too_many() -> BadRequest:
    return BadRequest(
        f"expected at most {MAX_MEMBERS} offers in Sec-WebSocket-Extensions, got more"
    )


# --- origins --------------------------------------------------------------------------


def check_origin(request: Request, allowed: frozenset[str]) -> None:
    """Refuse a page of another site, whose handshake has this site's cookies. RFC 6455 section 10.2

    A client that sends no Origin is not a browser, and is allowed. Raises: Forbidden.
    """
    origins = request.headers.get_all("origin")
    if not origins or EVERY_ORIGIN in allowed:
        return
    if len(origins) == 1:
        origin, host = without_usual_port(origins[0].lower()), request.host.lower()
        if origin in allowed:
            return
        if host and origin == without_usual_port(f"{request.scheme}://{host}"):
            return
    raise Forbidden("a page of another origin may not open this WebSocket")
