"""Origins as clients send them in `Origin`: those of web pages, and of apps that are pages.

CORS, the protection from CSRF and the handshake of a WebSocket have one grammar. RFC 6454 section
6.2. A redirect may have to stay on the request's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeGuard
from urllib.parse import urlsplit

from ..errors import ConfigurationError

EVERY_ORIGIN = "*"
NULL = "null"  # of sandboxed frames, among others: every page can make one

# origin = scheme "://" host [ ":" port ]. That of a local file has no host.
_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.\-]*+://(?:[a-z0-9._\-]++|\[[0-9a-f:.]++\])(?::[0-9]{1,5}+)?|file://|null"
)
_LOCAL_FILE = "file://"
_USUAL_PORTS = {"http": ":80", "https": ":443"}

_ESCAPED_SLASHES = frozenset(("%2f", "%5c", "%09", "%0a", "%0d"))

EXPECTED = (
    "as browsers send it, such as 'https://shop.example', 'capacitor://app', 'file://' or 'null': "
    "in lower case, with a scheme, without a path and without the scheme's usual port"
)


def is_origin(text: object) -> TypeGuard[str]:
    """Whether `text` is an origin as clients send it."""
    if not isinstance(text, str) or _ORIGIN.fullmatch(text) is None:
        return False
    return without_usual_port(text) == text


def is_sites_origin(text: object) -> TypeGuard[str]:
    """Whether `text` is the origin of a site: no page but its own can have it."""
    return is_origin(text) and text not in (NULL, _LOCAL_FILE)


def without_usual_port(origin: str) -> str:
    """Return an origin without the port that its scheme has anyway."""
    usual = _USUAL_PORTS.get(origin.partition("://")[0])
    return origin.removesuffix(usual) if usual is not None else origin


def parse_origins(origins: Iterable[str] | None) -> frozenset[str]:
    """Return the origins that a route lets in beside its own; `*` is every one.

    Raises: ConfigurationError for text that no browser would send as an origin.
    """
    listed = frozenset((origins,) if isinstance(origins, str) else origins or ())
    for origin in listed - {EVERY_ORIGIN}:
        if not is_origin(origin):
            raise ConfigurationError(
                f"origins: expected '*', or each origin {EXPECTED}, got {origin!r:.80}"
            )
    return listed


def is_within(url: str, scheme: str, host: str) -> bool:
    """Return whether a browser that follows `url` stays on the origin of `scheme` and `host`.

    `url` is percent-encoded: a browser would take a raw backslash for a slash, and drop raw control
    characters and spaces. Their escapes are harmless, unless something on the way decodes them.
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
