"""CSRF: a request that changes something must come from a page of this origin. No token needed.

Browsers report the origin of a request in fields that a page can't set. The rule is that of Go
1.25's `http.CrossOriginProtection`:

1. GET, HEAD and OPTIONS pass: they must change nothing (RFC 9110 section 9.2.1).
2. `Sec-Fetch-Site` (W3C Fetch Metadata; in every browser since 2023) passes as `same-origin`, and
   as `none` (a typed address or a bookmark). A sibling subdomain, `same-site`, does not.
3. Without it, an `Origin` (RFC 6454 section 7) passes if its host and port are those of `Host`. The
   scheme is not compared, because the proxy that ends TLS may hide it. `null` does not pass.
4. A request without both fields passes: its client is not a browser, and carries no other user's
   cookies.
5. An `Origin` in `trusted_origins` always passes.

Every other request is answered 403. A browser too old for both fields has only the protection of
`SameSite` cookies.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..endpoints.described import Described
from ..errors import ConfigurationError, Forbidden
from ..http.origins import is_sites_origin
from ..request import Handler, Request
from ..response import Response

_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_OWN_SITES = frozenset(("same-origin", "none"))


class CSRFProtection:
    """Refuse, with 403, a request that another site's page makes: `app.use(CSRFProtection())`.

    `trusted_origins` are origins whose pages may make it too. Write them as browsers do:
    `https://accounts.example.org`, with a port only if it is not the scheme's default.

    Raises: ConfigurationError for an invalid origin.
    """

    def __init__(self, trusted_origins: Iterable[str] = ()) -> None:
        if isinstance(trusted_origins, str):
            raise ConfigurationError(
                "CSRFProtection: expected a list of origins, got a str: write "
                f"[{trusted_origins[:80]!r}]"
            )
        self._trusted = frozenset(trusted_origins)
        for origin in self._trusted:
            if not is_sites_origin(origin):
                raise ConfigurationError(
                    "CSRFProtection: expected an origin as browsers write it, such as "
                    "'https://example.org', in lower case, without a path or a default port, "
                    f"got {origin[:80]!r}"
                )

    def described(self) -> Described:
        """Return the part of an OpenAPI document that this middleware adds."""
        return Described(responses={403: "A page of another site sent the request"})

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        if request.line.method in _SAFE_METHODS or self.allows(request):
            return await call_next(request)
        raise Forbidden(
            "another site's page sent this request: only pages of this site may send it"
        )

    def allows(self, request: Request) -> bool:
        """Return whether a request comes from a permitted page, or not from a browser."""
        fields = request.headers.by_name
        site, origin = fields.get("sec-fetch-site"), fields.get("origin")
        if site is not None:
            return site in _OWN_SITES or origin in self._trusted
        if origin is None or origin in self._trusted:
            return True
        _, _, host = origin.lower().partition("://")
        return host == request.host.lower() != ""
