"""HTTPS redirect: answer an http request with a 308 to the same place over https.

308 keeps method and content (RFC 9110 section 15.4.9). The redirect goes to the host that the
request names, without its port. `AllowedHosts`, outside this middleware, checks that host. Without
it, a cache in front may store a redirect to an attacker's host, and give it to other clients.

If a proxy ends TLS, the scheme is the one that `trusted_proxies` report. Names of this machine are
served over http, because browsers count them as secure (W3C Secure Contexts section 3.1).
"""

from __future__ import annotations

from ..errors import BadRequest
from ..logs import Log
from ..request import Handler, Request
from ..response import Response

_LOCAL = frozenset(("localhost", "127.0.0.1", "::1"))

_log = Log("microweb.app")


class HTTPSRedirect:
    """Redirect http requests to https: `app.use(HTTPSRedirect())`, after `AllowedHosts`.

    `localhost`, the names below it, `127.0.0.1` and `::1` are not redirected, so that development
    needs no certificate. A request without a host is answered 400.
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
            raise BadRequest("expected a host, to redirect to https, got a request without one")
        self._warn_of_loop(request)
        host = f"[{hostname}]" if ":" in hostname else hostname
        line = request.line
        path = "" if line.raw_path == "*" else line.raw_path
        query = f"?{line.query_string}" if line.query_string else ""
        return Response.redirect(f"https://{host}{request.root_path}{path}{query}", 308)

    def _warn_of_loop(self, request: Request) -> None:
        """Log one warning if a proxy that is not trusted causes endless redirects."""
        if self._has_warned or request.headers.get("x-forwarded-proto", "").lower() != "https":
            return
        self._has_warned = True
        _log.warning(
            "HTTPSRedirect: got 'X-Forwarded-Proto: https' from %s, which is not a trusted proxy. "
            "If it is your proxy, add its network to trusted_proxies: without it, browsers are "
            "redirected forever",
            request.client.host if request.client is not None else "the peer",
        )
