"""The answer that sends the client elsewhere. RFC 9110 section 10.2.2"""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from ..errors import LocalProtocolError
from ..http.response_head import HeadCache
from ..request import Request
from ..response import Response

_ESCAPED_SLASHES = frozenset(("%2f", "%5c", "%09", "%0a", "%0d"))
_URL_SAFE = "!#$%&'()*+,/:;=?@[]~"


class RedirectResponse(Response):
    """An answer that sends the client elsewhere. RFC 9110 section 10.2.2"""

    __slots__ = ("_is_local",)

    needs_prepare = True

    def __init__(self, url: str, status: int = 303, *, local: bool = False) -> None:
        if status not in (201, 301, 302, 303, 307, 308):
            raise LocalProtocolError(f"expected a redirecting status, got {status!r}")
        super().__init__(b"", status)
        self._is_local = local
        self.headers["Location"] = quote(url, safe=_URL_SAFE)

    async def prepare(self, request: Request) -> Response:
        return self._for(request)

    def encode(self, request: Request, heads: HeadCache, connection: bytes) -> bytes | None:
        return self._for(request).encode(request, heads, connection)

    def _for(self, request: Request) -> Response:
        response = self._as_plain(self._body)
        if self._is_local and not _is_same_origin(self.headers["location"], request):
            response.headers["Location"] = "/"
        return response


def _is_same_origin(url: str, request: Request) -> bool:
    # `url` is quoted: a browser would take a raw backslash for a slash, and drop raw control
    # characters and spaces. Their escapes are harmless, unless something on the way decodes them.
    if url.startswith("/"):
        return url[1:2] != "/" and url[1:4].lower() not in _ESCAPED_SLASHES
    try:
        parts = urlsplit(url)
    except ValueError:  # a bracket that is not closed
        return False
    if not parts.scheme and not parts.netloc:
        return True
    is_this_host = parts.netloc.lower() == request.host.lower() != ""
    return is_this_host and parts.scheme == request.scheme
