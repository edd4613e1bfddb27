"""Origins of web pages, and of apps made of web pages, as clients send them. RFC 6454 section 6.2.

CORS, CSRF protection and the WebSocket handshake share this grammar. `is_within` is for redirects
that must stay on the origin of their request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeGuard
from urllib.parse import urlsplit

from ..errors import ConfigurationError

EVERY_ORIGIN = "*"
NULL = "null"  # sandboxed frames, among others, send it: every page can make one

# origin = scheme "://" host [ ":" port ]; the origin of a local file has no host
# It is compiled at its first use, as most regexes that few requests need.
_ORIGIN = r"[a-z][a-z0-9+.\-]*+://(?:[a-z0-9._\-]++|\[[0-9a-f:.]++\])(?::[0-9]{1,5}+)?|file://|null"
_LOCAL_FILE = "file://"
_USUAL_PORTS = {"http": ":80", "https": ":443"}

_ESCAPED_SLASHES = frozenset(("%2f", "%5c", "%09", "%0a", "%0d"))

EXPECTED = (
    "as browsers send it, such as 'https://shop.example', 'capacitor://app', 'file://' or 'null': "
    "in lower case, with a scheme, without a path and without the scheme's default port"
)


def is_origin(text: object) -> TypeGuard[str]:
    """Return whether `text` is an origin as clients send it."""
    if not isinstance(text, str) or re.fullmatch(_ORIGIN, text) is None:
        return False
    return without_usual_port(text) == text


def is_sites_origin(text: object) -> TypeGuard[str]:
    """Return whether `text` is the origin of a site, which pages of other sites can't have."""
    return is_origin(text) and text not in (NULL, _LOCAL_FILE)


def without_usual_port(origin: str) -> str:
    """Return an origin without the default port of its scheme."""
    usual = _USUAL_PORTS.get(origin.partition("://")[0])
    return origin.removesuffix(usual) if usual is not None else origin


def parse_origins(origins: Iterable[str] | None) -> frozenset[str]:
    """Return the origins that a route allows besides its own; `*` means every origin.

    Raises: ConfigurationError for text that no browser would send as an origin.
    """
    listed = frozenset((origins,) if isinstance(origins, str) else origins or ())
    for origin in listed - {EVERY_ORIGIN}:
        if not is_origin(origin):
            raise ConfigurationError(
                f"origins: expected '*', or each origin {EXPECTED}, got {origin!r:.80}"
            )
    return listed


def hostname_of(host: str) -> str:
    """Return a valid host in lower case, without its port and its brackets."""
    host = host.lower()
    if host.startswith("["):
        return host[1 : host.index("]")]
    return host.partition(":")[0]


def is_within(url: str, scheme: str, host: str) -> bool:
    """Return whether a browser that follows `url` stays on the origin of `scheme` and `host`.

    `url` is percent-encoded: a browser would read a raw backslash as a slash, and drop raw control
    characters and spaces. Their escapes are harmless, unless a proxy decodes them.
    """
    if url.startswith("/"):
        return url[1:2] != "/" and url[1:4].lower() not in _ESCAPED_SLASHES
    try:
        parts = urlsplit(url)
    except ValueError:  # a bracket that is not closed
        return False
    if not parts.scheme and not parts.netloc:
        return True
    return parts.netloc.lower() == host.lower() != "" and parts.scheme == scheme
