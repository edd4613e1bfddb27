"""Where a redirect leads: its Location, which may have to stay on the request's own origin.

RFC 9110 section 10.2.2
"""

from __future__ import annotations

from urllib.parse import quote

from ..errors import LocalProtocolError
from ..http.origins import is_within
from .body import Head, RenderedBody, RequestInfo

_REDIRECTING = frozenset((201, 301, 302, 303, 307, 308))
_URL_SAFE = "!#$%&'()*+,/:;=?@[]~"


def location_of(url: str) -> str:
    """Return `url` as a field can hold it: all else in it is percent-encoded."""
    return quote(url, safe=_URL_SAFE)


def check_redirecting(status: int) -> None:
    """Raise LocalProtocolError for a status that a Location does not belong to."""
    if status not in _REDIRECTING:
        raise LocalProtocolError(f"expected a redirecting status, got {status!r}")


def local_url(raw_path: str, query_string: str) -> str:
    """Return the URL of another path of this origin."""
    # A path that begins with two slashes would be an authority. RFC 3986 section 4.2
    path = "/" + raw_path.lstrip("/\\")
    return f"{path}?{query_string}" if query_string else path


class LocalRedirect(RenderedBody):
    """The content of a redirect, mostly none, whose Location stays on the request's origin."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes = b"") -> None:
        self._content = content

    def render(self, request: RequestInfo | None, head: Head) -> bytes:
        """Return the content. A Location that leads elsewhere becomes `/`."""
        scheme, host = ("", "") if request is None else (request.scheme, request.host)
        if not is_within(head.headers["location"], scheme, host):
            head.headers["Location"] = "/"
        return self._content

    def replaced(self, body: bytes) -> RenderedBody:
        """Return this redirect with another content."""
        return LocalRedirect(body)
