"""What a request's head parses to: its line, and the section of its fields. RFC 9112

Both are values that are not changed, so that requests which repeat the same bytes can share them.
"""

from __future__ import annotations

from .framing import CLOSE
from .headers import Headers, parse_header_section
from .interfaces import MatchInfo


class RequestLine:
    """A parsed request line without its version. RFC 9112 section 3."""

    __slots__ = ("authority", "match", "method", "query_string", "raw_path", "target")

    def __init__(
        self, method: str, target: str, raw_path: str, query_string: str, authority: str | None
    ) -> None:
        self.method = method
        self.target = target
        self.raw_path = raw_path
        self.query_string = query_string
        self.authority = authority  # of the absolute-form, which wins over Host
        self.match: MatchInfo | None = None  # the app's memo for lines that are repeated


class HeaderSection:
    """A header section and what it decides about the exchange. RFC 9112 section 6.

    It begins as that of a request without content to HTTP/1.1.
    """

    __slots__ = (
        "_headers",
        "content_length",
        "expects_continue",
        "has_body",
        "is_chunked",
        "minor_version",
        "persistence",
        "received",
    )

    received: bytes  # to the empty line, as it came; not set where it was never bytes

    def __init__(self, headers: Headers) -> None:
        self._headers = headers
        self.minor_version = 1
        self.content_length = 0
        self.is_chunked = False
        self.has_body = False
        self.persistence = b""  # the Connection field line of the answer, CLOSE where it is last
        self.expects_continue = False

    @property
    def headers(self) -> Headers:
        """The fields."""
        return self._headers

    @property
    def raw(self) -> bytes:
        """The bytes to the empty line, as they came; made anew where there were none."""
        if hasattr(self, "received"):
            return self.received
        lines = [f"{name}: {value}\r\n" for name, value in self.headers.pairs()]
        return "".join(lines).encode("latin-1", "replace") + b"\r\n"


class PlainSection(HeaderSection):
    """A section of a request without content, parsed when it is first looked at.

    Who makes it sets `received`, which is known to be right.
    """

    __slots__ = ()

    __init__ = object.__init__  # these defaults cost less than setting them

    minor_version = 1
    content_length = 0
    is_chunked = False
    has_body = False
    persistence = b""
    expects_continue = False

    @property
    def headers(self) -> Headers:
        """The fields."""
        if not hasattr(self, "_headers"):
            self._headers = parse_header_section(self.received[:-4].split(b"\r\n"))
        return self._headers


class LastSection(PlainSection):
    """One whose client asks for no more."""

    __slots__ = ()

    persistence = CLOSE
