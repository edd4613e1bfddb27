"""HTTPS redirect: what came by http is sent to the same place by https, with 308.

308 keeps method and content (RFC 9110 section 15.4.9). The target's host is the one that the
request names, without its port; nothing else that a client sends gets there. Whether a client's
Host is one of ours is the business of `AllowedHosts`, which stands before this: without it, a
cache in front may keep, and give to others, a redirect to the host that one forger has named.

TLS ends at a proxy, so the scheme is what `trusted_proxies` say. Names of this machine are served
by http, as browsers count them as secure (W3C Secure Contexts section 3.1).
"""

from __future__ import annotations

from ..errors import BadRequest
from ..logs import Log
from ..request import Handler, Request
from ..response import Response

_LOCAL = frozenset(("localhost", "127.0.0.1", "::1"))

_log = Log("microweb.app")


class HTTPSRedirect:
    """Answer http with a redirect to https: `app.use(HTTPSRedirect())`, behind `AllowedHosts`.

    Not for `localhost`, the names below it, `127.0.0.1` and `::1`, so that development needs no
    certificate. A request that names no host is a 400.
    """

    def __init__(self) -> None:
        self._has_warned = False

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        if request.scheme == "https":
            return await call_next(request)
        hostname = request.hostname
        if hostname in _LOCAL or hostname.endswith(".localhost"):
            return await call_next(request)
        if not hostname:
            raise BadRequest("this site is reached by https, and the request names no host")
        self._look_for_loop(request)
        host = f"[{hostname}]" if ":" in hostname else hostname
        line = request.line
        path = "" if line.raw_path == "*" else line.raw_path
        query = f"?{line.query_string}" if line.query_string else ""
        return Response.redirect(f"https://{host}{path}{query}", 308)

    def _look_for_loop(self, request: Request) -> None:
        """Tell once what makes a browser be redirected for ever."""
        if self._has_warned or request.headers.get("x-forwarded-proto", "").lower() != "https":
            return
        self._has_warned = True
        _log.warning(
            "HTTPSRedirect: X-Forwarded-Proto says https, but %s is no trusted proxy: if it is "
            "yours, name its network in trusted_proxies, or browsers are redirected for ever",
            request.peer.host if request.peer is not None else "the peer",
        )
