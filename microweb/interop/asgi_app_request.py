"""The scope of an ASGI connection as a `RequestLine` and a `HeaderSection`.

The other server has parsed the head. The rules that an application relies on are checked again,
because servers differ: one valid Host, one Content-Length, no control characters, a visible ASCII
path. A WebSocket has the fields of its handshake in HTTP/1.1, also over HTTP/2. RFC 6455, RFC 8441
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote

from ..errors import MalformedRequest
from ..http.grammar import TOKEN_TEXT
from ..http.headers import CheckedHeaders, Headers, check_name, check_value
from ..http.request_head import HeaderSection, RequestLine, decide_framing, parse_request_line
from .asgi_types import Scope

_MAX_LINE_BYTES = 256  # of a method and a path without a query that are kept
_MAX_NAME_BYTES = 64

# The characters of a path that need no percent-encoding: those of `pchar`, and the slash.
_PATH = "/!$&'()*+,;=:@"
# All visible ASCII: a path that was sent is not encoded twice.
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))

_WITHOUT_BODY = frozenset(("GET", "HEAD", "DELETE", "OPTIONS", "TRACE"))

# The server has made the handshake, and compresses messages itself.
_OF_HANDSHAKE = frozenset(
    """
    connection content-length sec-websocket-extensions sec-websocket-key sec-websocket-protocol
    sec-websocket-version transfer-encoding upgrade
    """.split()
)
_HANDSHAKE = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
]


class ScopeSection(HeaderSection):
    """The header section of a scope. The other server frames the answer, so it takes no chunks."""

    __slots__ = ("_version",)

    takes_chunks = False

    def __init__(self, decided: HeaderSection, version: str) -> None:
        super().__init__(decided.headers)
        self._version = version
        self.minor_version = 0 if version == "1.0" else 1
        self.content_length = decided.content_length
        self.is_chunked = decided.is_chunked
        self.has_body = decided.has_body

    @property
    def http_version(self) -> str:
        """The version of HTTP: `1.1`, `1.0`, `2` or `3`."""
        return self._version


def root_path_of(scope: Scope) -> str:
    """Return the path where the application is mounted, percent-encoded, without a last slash."""
    root: str = scope.get("root_path") or ""
    return quote(root, safe=_PATH).rstrip("/") if root else ""


def line_of(scope: Scope, root: str) -> RequestLine:
    """Return the request line, whose path begins with `root`. Raises: ProtocolError.

    Some servers take the root off the path, some leave it there.
    """
    raw_path: bytes | None = scope.get("raw_path")
    if raw_path is None:
        raw_path = quote(scope["path"], safe=_PATH).encode("ascii")
    query: bytes = scope.get("query_string") or b""
    method: str = scope.get("method", "GET")
    if not query and len(method) + len(raw_path) <= _MAX_LINE_BYTES:
        return _known_line(method, raw_path, root)
    return _make_line(method, raw_path, root, query)


def _make_line(method: str, raw_path: bytes, root: str, query: bytes = b"") -> RequestLine:
    path = _visible(raw_path.partition(b"?")[0])
    if root and path != root and not path.startswith(root + "/"):
        path = root + path
    if not path.startswith("/"):
        path = path if path == "*" else "/" + path
    if not TOKEN_TEXT.fullmatch(method):
        raise MalformedRequest("a method that is not a token", method)
    return parse_request_line(method, f"{path}?{_visible(query)}" if query else path)


_known_line = lru_cache(maxsize=1024)(_make_line)


def _visible(data: bytes) -> str:
    """Return a part of a target as visible ASCII; other bytes are percent-encoded."""
    text = data.decode("latin-1")
    if text.isascii() and text.isprintable() and " " not in text:
        return text
    return quote(data, safe=_VISIBLE)


def section_of(scope: Scope) -> HeaderSection:
    """Return the header section, with the fields of a handshake for a WebSocket.

    Raises: ProtocolError.
    """
    version: str = scope.get("http_version", "1.1")
    is_socket, is_later = scope["type"] == "websocket", not version.startswith("1")
    fields = list(_fields_of(scope))
    if is_socket:
        fields = [field for field in fields if field[0] not in _OF_HANDSHAKE]
        fields += _HANDSHAKE
        if offered := scope.get("subprotocols"):
            fields.append(("sec-websocket-protocol", ", ".join(offered)))
    headers = CheckedHeaders(fields)
    # HTTP/2 requires no Host, as HTTP/1.0.
    decided = decide_framing(headers, 0 if is_later or version == "1.0" else 1)
    section = ScopeSection(decided, version)
    if is_later and not is_socket and "content-length" not in headers.by_name:
        section.has_body = scope.get("method") not in _WITHOUT_BODY
    return section


def may_have_body(section: HeaderSection) -> bool:
    """Whether to read a body: only HTTP/2 and later have one without a field that says so."""
    if section.http_version.startswith("1"):
        return section.has_body
    return section.has_body or "content-length" not in section.headers.by_name


def _fields_of(scope: Scope) -> Iterable[tuple[str, str]]:
    fields: Iterable[tuple[bytes, bytes]] = scope.get("headers") or ()
    for raw_name, raw_value in fields:
        known = len(raw_name) <= _MAX_NAME_BYTES
        name = _known_name(raw_name) if known else _name_of(raw_name)
        value = raw_value.decode("latin-1")
        if name.startswith(":"):
            if name == ":authority":
                yield "host", value
            continue
        if not value.isprintable():
            _check_value(value)
        yield name, value.strip(" \t")


def _name_of(raw_name: bytes) -> str:
    name = raw_name.decode("latin-1").lower()
    try:
        return name if name.startswith(":") else check_name(name)
    except ValueError:
        raise MalformedRequest("a field name that is not a token", name) from None


_known_name = lru_cache(maxsize=256)(_name_of)


def _check_value(value: str) -> None:
    try:
        check_value(value)
    except ValueError:
        raise MalformedRequest("a control byte in a field value", value) from None


# For the answer to a scope that is not a valid request.
NO_LINE, NO_SECTION = (
    RequestLine("GET", "", "", "", None),
    ScopeSection(HeaderSection(Headers()), "1.1"),
)
