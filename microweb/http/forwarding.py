"""The values by which proxies describe a request: Forwarded, and the fields X-Forwarded-*.

These functions only parse. `server.proxies` decides which proxies wrote a value. RFC 7239
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple, NoReturn

from ..errors import MalformedRequest
from .grammar import BAD_ESCAPE, TOKEN_TEXT, without_escapes
from .hosts import MAX_HOST_LENGTH, USUAL_PORTS, is_host
from .interfaces import Address
from .urlencoded import percent_decode

MAX_HOPS = 32  # from the right; a chain of proxies is short, a header section can hold 3,400
_MAX_SEPARATORS = 8 * MAX_HOPS  # of Forwarded; RFC 7239 defines four parameters for an element
_MAX_PREFIX = 255  # characters, so that it fits into the path of a cookie

_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]++\]|[0-9.]++)(?::([0-9]{1,5}))?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_MAX_PORT = 65535

_SCHEME_OF_SOCKETS = {"ws": "http", "wss": "https"}  # Traefik sends these for a WebSocket

# forwarded-pair = token "=" ( token / quoted-string )                      RFC 7239 section 4
_QUOTED = r'"((?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]++|\\[\t \x21-\x7e\x80-\xff])*)"'
_PAIR = re.compile(rf"({TOKEN_TEXT.pattern})=(?:({TOKEN_TEXT.pattern})|{_QUOTED})")
# Between two pairs a semicolon, between two elements a comma. No space is allowed around `;`.
_SEPARATOR = re.compile(r"(;)|[ \t]*+(?:(,)[ \t]*+|\Z)")

# node = ( IPv4address / "[" IPv6address "]" / "unknown" / obfnode ) [ ":" node-port ]
# node-port = 1*5DIGIT / obfport; obfnode and obfport begin with "_"        RFC 7239 section 6
_HIDDEN = re.compile(r"(?i:unknown|_[a-z0-9._\-]++)(?::(?:[0-9]{1,5}+|_[A-Za-z0-9._\-]++))?")
_HIDDEN_PORT = re.compile(r":_[A-Za-z0-9._\-]++$")

# scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )                       RFC 3986 section 3.1
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*+")

# The characters that `url_for` leaves as they are, without the comma, which joins two fields.
_PREFIX = re.compile(r"(?:/(?:[A-Za-z0-9\-._~!$*=:@]|%[0-9A-Fa-f]{2})+)+")
_NOT_IN_PREFIX = re.compile(r"[/\\\x00-\x1f\x7f-\x9f]")


class Hop(NamedTuple):
    """An element of Forwarded: the proxy that wrote it says this about its own client."""

    address: Address | None  # None if it is left out, unknown or hidden
    scheme: str  # `http`, `https` or ""
    host: str | None


def parse_address(host: str) -> IPv4Address | IPv6Address | None:
    """Return an address, an IPv4 one for `::ffff:192.0.2.1`; None for other text."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def parse_hop(hop: str) -> Address | None:
    """Parse `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`."""
    match = _HOST_AND_PORT.fullmatch(hop)
    host, port = (match[1].strip("[]"), int(match[2] or 0)) if match else (hop, 0)
    address = None if "%" in host else parse_address(host)  # a zone could be any text
    if address is None or port > _MAX_PORT:
        return None
    return Address(str(address), port)


def parse_scheme(scheme: str) -> str:
    """Return `http` or `https`, `""` for any other text."""
    scheme = scheme.lower()
    scheme = _SCHEME_OF_SOCKETS.get(scheme, scheme)
    return scheme if scheme in USUAL_PORTS else ""


def parse_host(host: str) -> str | None:
    """Return a host with an optional port, as strictly as Host; None for other text."""
    return host if host and len(host) <= MAX_HOST_LENGTH and is_host(host) else None


def parse_port(port: str) -> int | None:
    """Return a port from 1 to 65535, None for other text."""
    number = int(port) if _PORT.fullmatch(port) else 0
    return number if 0 < number <= _MAX_PORT else None


def parse_prefix(prefix: str) -> str | None:
    """Return the start of a path without its last slash, `""` for the root, None for other text.

    Every client must read it as the same path on the same host. So it has no empty segment, no
    dot-segment, and no character that ends a path or means something in a cookie or in HTML.
    """
    if prefix in ("", "/"):
        return ""
    prefix = prefix.removesuffix("/")
    if len(prefix) > _MAX_PREFIX or BAD_ESCAPE.search(prefix) or not _PREFIX.fullmatch(prefix):
        return None
    for segment in prefix.split("/"):
        try:
            decoded = percent_decode(segment)
        except ValueError:
            return None
        if decoded in (".", "..") or _NOT_IN_PREFIX.search(decoded):
            return None
    return prefix


# --- Forwarded


def check_separators(lines: Sequence[str]) -> None:
    """Raise MalformedRequest if the lines of Forwarded have more commas and semicolons than usual.

    To parse an empty element costs 1 us, and a header section can have 32,000 of them.
    """
    if sum([line.count(",") + line.count(";") for line in lines]) > _MAX_SEPARATORS:
        raise MalformedRequest("more elements in Forwarded than the limit")


def parse_forwarded(line: str) -> list[dict[str, str]]:
    """Return the elements of one line of Forwarded, each as names in lower case -> values.

    Raises: MalformedRequest for a line that RFC 7239 does not allow, or with too many elements.
    """
    elements, pairs, position = list[dict[str, str]](), dict[str, str](), 0
    while True:
        if match := _PAIR.match(line, position):
            name = match[1].lower()
            if name in pairs:
                raise MalformedRequest("a parameter of Forwarded that is given twice", name)
            pairs[name] = match[2] or without_escapes(match[3] or "")
            position = match.end()
        separator = _SEPARATOR.match(line, position)
        if separator is None:
            _refuse(line)
        position = separator.end()
        if separator[1]:
            continue
        if pairs:
            elements.append(pairs)
            pairs = {}
        if len(elements) > MAX_HOPS:
            raise MalformedRequest("more elements in Forwarded than the limit")
        if not separator[2]:
            return elements


def parse_element(pairs: dict[str, str]) -> Hop:
    """Return what an element of Forwarded says. Raises: MalformedRequest."""
    node, scheme, host = pairs.get("for"), pairs.get("proto", "http"), pairs.get("host")
    if not _SCHEME.fullmatch(scheme):
        _refuse(f"proto={scheme}")
    if host is not None and parse_host(host) is None:
        _refuse(f"host={host}")
    address = None if node is None else _parse_node(node)
    return Hop(address, parse_scheme(pairs.get("proto", "")), host)


def _parse_node(node: str) -> Address | None:
    if _HIDDEN.fullmatch(node):
        return None
    known = _HIDDEN_PORT.sub("", node)
    # An address of IPv6 needs its brackets here. RFC 7239 section 6.1
    address = parse_hop(known) if _HOST_AND_PORT.fullmatch(known) else None
    if address is None:
        _refuse(f"for={node}")
    return address


def _refuse(text: str) -> NoReturn:
    raise MalformedRequest("a Forwarded field that is malformed", text)
