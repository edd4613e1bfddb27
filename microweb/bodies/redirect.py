"""The Location of a redirect, and redirects that stay on the request's origin.

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
    """Return `url` for a Location field: percent-encode all characters that a URL can't hold."""
    return quote(url, safe=_URL_SAFE)


def check_redirecting(status: int) -> None:
    """Raise LocalProtocolError if a response of this status has no Location."""
    if status not in _REDIRECTING:
        expected = ", ".join(map(str, sorted(_REDIRECTING)))
        raise LocalProtocolError(
            f"expected a redirecting status, one of {expected}, got {status!r:.80}"
        )


def local_url(raw_path: str, query_string: str) -> str:
    """Return the URL of a path on this origin."""
    # After two slashes at the start a client expects an authority. RFC 3986 section 4.2
    path = "/" + raw_path.lstrip("/\\")
    return f"{path}?{query_string}" if query_string else path


class LocalRedirect(RenderedBody):
    """The content of a redirect whose Location must stay on the request's origin."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes = b"") -> None:
        self._content = content

    def render(self, request: RequestInfo | None, head: Head) -> bytes:
        """Return the content. Replace a Location on another origin by the root."""
        scheme, host = ("", "") if request is None else (request.scheme, request.host)
        if not is_within(head.headers["location"], scheme, host):
            head.headers["Location"] = "/" if request is None else f"{request.root_path}/"
        return self._content

    def replaced(self, body: bytes) -> RenderedBody:
        """Return a `LocalRedirect` with the content `body`."""
        return LocalRedirect(body)
