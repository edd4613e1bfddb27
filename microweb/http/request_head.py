"""The head of a request as values: its request line, and its header section with the framing.

Plain functions make these values from a method, a target and fields. They refuse those that RFC
9112 forbids, with a stable reason. The values never change, so requests that repeat the same bytes
can share them.
"""

from __future__ import annotations

from ..errors import MalformedRequest, UnknownCoding, UnknownMethod
from .framing import CLOSE, KEEP_ALIVE
from .grammar import ABSOLUTE_FORM, CONTENT_LENGTH, TOKEN_TEXT
from .headers import MAX_MEMBERS, Headers, list_members, parse_header_section
from .hosts import MAX_HOST_LENGTH, is_host

_MAX_LENGTH_DIGITS = 18  # below an exabyte: no body is longer, and `int()` stays cheap
_MEMO_LINES = 1024
_MEMO_LINE_BYTES = 256
_MEMO_HEADS = 128
_MEMO_HEAD_BYTES = 1024
_FRAMING_FIELDS = frozenset(("connection", "content-length", "expect", "transfer-encoding"))


class RequestLine:
    """A parsed request line without its version. RFC 9112 section 3."""

    __slots__ = ("authority", "match_key", "method", "query_string", "raw_path", "target")

    def __init__(
        self, method: str, target: str, raw_path: str, query_string: str, authority: str | None
    ) -> None:
        self.method = method
        self.target = target
        self.raw_path = raw_path
        self.query_string = query_string
        self.authority = authority  # of an absolute-form; it replaces Host
        self.match_key = f"{method} {raw_path}" if authority is None else ""  # for App's memo


class RequestLines(dict[bytes, RequestLine]):
    """One server's memo of HTTP/1.1 request lines without a query; a key includes the CRLF.

    `first_heads` are whole heads that began connections: health checks repeat one for each of
    theirs. A known head takes 1 us, a new one 8.
    """

    __slots__ = ("first_heads",)

    def __init__(self) -> None:
        self.first_heads: dict[bytes, tuple[RequestLine, HeaderSection]] = {}

    def keep_first(self, head: bytes, line: RequestLine, section: HeaderSection) -> None:
        """Keep a valid head, unless it is long."""
        if len(head) <= _MEMO_HEAD_BYTES:
            if len(self.first_heads) >= _MEMO_HEADS:
                self.first_heads.clear()
            self.first_heads[head] = line, section

    def parse(self, line: bytes) -> RequestLine:
        """Parse a line that `REQUEST_LINE` matches, and keep a usual one. Raises: ProtocolError."""
        method, target, version = line.decode("ascii").split(" ")
        parsed = parse_request_line(method, target)
        is_usual = version == "HTTP/1.1\r\n" and not parsed.query_string
        if is_usual and len(line) <= _MEMO_LINE_BYTES:
            if len(self) >= _MEMO_LINES:
                self.clear()
            self[line] = parsed
        return parsed


class HeaderSection:
    """A header section, with the framing and persistence that it decides. RFC 9112 section 6.

    The initial values are those of an HTTP/1.1 request without content.
    """

    __slots__ = (
        "content_length",
        "expects_continue",
        "has_body",
        "is_chunked",
        "minor_version",
        "parsed",
        "persistence",
        "received",
    )

    received: bytes  # as received, with the empty line; b"" if the fields were never bytes
    parsed: Headers | None  # None until the fields of a plain section are used

    def __init__(self, headers: Headers) -> None:
        self.received = b""
        self.parsed = headers
        self.minor_version = 1
        self.content_length = 0
        self.is_chunked = False
        self.has_body = False
        self.persistence = b""  # the response's Connection field line, CLOSE if it is the last one
        self.expects_continue = False

    @property
    def http_version(self) -> str:
        """The version of HTTP: `1.1` or `1.0`."""
        return "1.1" if self.minor_version else "1.0"

    @property
    def takes_chunks(self) -> bool:
        """Whether a response without a length is sent in chunks."""
        return self.minor_version > 0

    @property
    def headers(self) -> Headers:
        """The fields, parsed at the first use."""
        if self.parsed is None:
            self.parsed = parse_header_section(self.received[:-4].split(b"\r\n"))
        return self.parsed

    @property
    def raw(self) -> bytes:
        """The bytes as received, with the empty line; encoded from the fields if there are none."""
        if self.received:
            return self.received
        lines = [f"{name}: {value}\r\n" for name, value in self.headers.pairs()]
        return "".join(lines).encode("latin-1", "replace") + b"\r\n"


class PlainSection(HeaderSection):
    """The section of a request without content, parsed when its fields are first used.

    The parser sets `received`, which it has checked, and `parsed` to None.
    """

    __slots__ = ()

    __init__ = object.__init__  # class attributes cost less than setting these values

    minor_version = 1
    content_length = 0
    is_chunked = False
    has_body = False
    persistence = b""
    expects_continue = False


class LengthSection(PlainSection):
    """A plain section with content of a known length."""

    __slots__ = ("content_length",)

    has_body = True

    def __init__(self, content_length: int) -> None:
        self.content_length = content_length


class LastSection(PlainSection):
    """A plain section with `Connection: close`."""

    __slots__ = ()

    persistence = CLOSE


def marked_section(before: bytes | None, behind: bytes | None) -> PlainSection | None:
    """Return the section with these marks before and behind Host: `close`, or a length of content.

    Return None for two lengths, or none of content: such a section is not plain.
    """
    section: PlainSection | None = None
    if b"close" in (before, behind):
        section = LastSection()
    elif not (before and behind) and (length := int(before or behind or b"0")):
        section = LengthSection(length)
    return section


def parse_request_line(method: str, target: str) -> RequestLine:
    """Parse a method, which is a token, and a target of visible ASCII. RFC 9112 section 3.

    Raises: UnknownMethod for CONNECT; MalformedRequest for a target whose form the method does not
    allow.
    """
    if method == "CONNECT":
        raise UnknownMethod("CONNECT, which is for proxies", method)
    if target.startswith("/"):
        raw_path, _, query_string = target.partition("?")
        return RequestLine(method, target, raw_path, query_string, None)
    if target == "*" and method == "OPTIONS":
        return RequestLine(method, target, target, "", None)
    match = ABSOLUTE_FORM.fullmatch(target)
    if match is None:
        raise MalformedRequest("a target in none of the forms that HTTP allows", target)
    authority, raw_path, query_string = match.groups()
    if len(authority) > MAX_HOST_LENGTH or not is_host(authority):
        raise MalformedRequest("an authority that is not a host", authority)
    if not raw_path:  # the root, or the whole server for OPTIONS: RFC 9112 section 3.2.4
        raw_path = "*" if method == "OPTIONS" and "?" not in target else "/"
    return RequestLine(method, target, raw_path, query_string, authority)


def decide_framing(headers: Headers, minor_version: int) -> HeaderSection:
    """Return the section with its length, coding and persistence. RFC 9112 sections 6.3, 9.3

    Raises: ProtocolError.
    """
    fields = headers.by_name
    host = fields.get("host")
    if host is None:
        if minor_version == 1:
            raise MalformedRequest("no Host field in HTTP/1.1")
    elif host and (len(host) > MAX_HOST_LENGTH or not is_host(host)):
        # An empty Host is valid, for a target without authority.
        raise MalformedRequest("more than one Host field, or one that is not a host", host)
    if minor_version == 1 and _FRAMING_FIELDS.isdisjoint(fields):
        return HeaderSection(headers)
    is_persistent = minor_version == 1
    connection = fields.get("connection")
    if connection is not None:
        options = list_members(connection.lower(), MAX_MEMBERS)
        is_persistent = "close" not in options and (is_persistent or "keep-alive" in options)
    length, coding = fields.get("content-length"), fields.get("transfer-encoding")
    if coding is not None:
        _check_coding(coding, minor_version, has_length=length is not None)
    expectations = list_members(fields.get("expect", "").lower(), MAX_MEMBERS)
    expects_continue = minor_version == 1 and "100-continue" in expectations
    section = HeaderSection(headers)
    section.minor_version = minor_version
    section.content_length = 0 if length is None else _parse_length(length)
    section.is_chunked = coding is not None
    section.has_body = section.is_chunked or section.content_length > 0
    if not is_persistent:
        section.persistence = CLOSE
    elif minor_version == 0:
        section.persistence = KEEP_ALIVE
    section.expects_continue = expects_continue
    return section


def _parse_length(value: str) -> int:
    if not CONTENT_LENGTH.fullmatch(value):
        raise MalformedRequest("expected 1*DIGIT once in Content-Length", value, CONTENT_LENGTH)
    if len(value) > _MAX_LENGTH_DIGITS:
        raise MalformedRequest("a Content-Length larger than any body", value)
    return int(value)


def _check_coding(coding: str, minor_version: int, *, has_length: bool) -> None:
    if minor_version == 0:
        raise MalformedRequest("Transfer-Encoding in HTTP/1.0")
    if has_length:
        raise MalformedRequest("both Transfer-Encoding and Content-Length")
    codings = coding.lower().split(",", MAX_MEMBERS)
    for name in codings:
        if not TOKEN_TEXT.fullmatch(name.strip(" \t")):
            raise MalformedRequest("a Transfer-Encoding that is not a list of codings", coding)
        if name.strip(" \t") != "chunked":
            raise UnknownCoding("a transfer coding other than chunked", coding)
    if len(codings) > 1:
        raise MalformedRequest("chunked applied more than once", coding)
