"""CSRF: a request that changes something must come from a page of this origin. No token needed.

Browsers say where a request comes from, in fields that no page can set. The rule is that of Go
1.25's `http.CrossOriginProtection`:

1. GET, HEAD and OPTIONS pass: they must change nothing (RFC 9110 section 9.2.1).
2. `Sec-Fetch-Site` (W3C Fetch Metadata; in every browser since 2023) passes as
   `same-origin`, and as `none` (typed, or a bookmark). A sibling subdomain, `same-site`, does not.
3. Without it, an `Origin` (RFC 6454 section 7) whose host and port are those of `Host` passes; the
   scheme is not compared, since the proxy that ends TLS may hide ours. `null` does not pass.
4. Without both it is no browser, which carries no one else's cookies, and passes.
5. An `Origin` in `trusted_origins` passes in any case.

All else is 403. A browser too old for both fields is protected by `SameSite` cookies alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import ConfigurationError, Forbidden
from ..http.origins import is_sites_origin
from ..request import Handler, Request
from ..response import Response

_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_OWN_SITES = frozenset(("same-origin", "none"))


class CSRFProtection:
    """Refuse, with 403, what another site's page had a browser send: `app.use(CSRFProtection())`.

    `trusted_origins` are those whose pages may send all the same, as browsers write them:
    `https://accounts.example.org`, with a port only where it is not the scheme's.

    Raises: ConfigurationError for what is no such origin.
    """

    def __init__(self, trusted_origins: Iterable[str] = ()) -> None:
        if isinstance(trusted_origins, str):
            raise ConfigurationError(
                f"CSRFProtection: expected a list of origins, write [{trusted_origins!r}]"
            )
        self._trusted = frozenset(trusted_origins)
        for origin in self._trusted:
            if not is_sites_origin(origin):
                raise ConfigurationError(
                    "CSRFProtection: expected an origin as browsers write it, such as "
                    f"'https://example.org', in lower case, without path and usual port, "
                    f"got {origin[:80]!r}"
                )

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        if request.line.method in _SAFE_METHODS or self.allows(request):
            return await call_next(request)
        raise Forbidden(
            "another site's page sent this request, which only pages of this site may send"
        )

    def allows(self, request: Request) -> bool:
        """Whether a request that changes something comes from here, or from no browser."""
        fields = request.headers.by_name
        site, origin = fields.get("sec-fetch-site"), fields.get("origin")
        if site is not None:
            return site in _OWN_SITES or origin in self._trusted
        if origin is None or origin in self._trusted:
            return True
        _, _, host = origin.lower().partition("://")
        return host == request.host.lower() != ""
