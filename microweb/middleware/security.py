"""Security headers: fields that make a browser handle the responses with more care.

| field | by default | specification |
|---|---|---|
| `Strict-Transport-Security`, on https alone | a year | RFC 6797 sections 6.1, 7.2 |
| `X-Content-Type-Options` | `nosniff` | WHATWG Fetch |
| `X-Frame-Options` | `DENY` | WHATWG HTML; `frame_ancestors` of a policy overrides it |
| `Referrer-Policy` | `strict-origin-when-cross-origin` | W3C Referrer Policy |
| `Cross-Origin-Opener-Policy` | `same-origin` | WHATWG HTML |
| `Permissions-Policy` | not sent | W3C Permissions Policy |
| `Content-Security-Policy` | not sent | W3C Content Security Policy Level 3 |

`no-referrer` is not the default, because browsers then send `Origin: null` with a site's own forms,
and `CSRFProtection` could not recognise them.
"""

from __future__ import annotations

import re
from base64 import b64encode
from os import urandom

from ..errors import ConfigurationError, LocalProtocolError
from ..http.headers import MutableHeaders
from ..request import Handler, Request
from ..response import Response

_NONCE_BYTES = 18  # at least 128 bits (CSP3 section 7.1); base64 writes 18 bytes without padding

_DIRECTIVES = frozenset(
    (
        "base-uri child-src connect-src default-src fenced-frame-src font-src form-action "
        "frame-ancestors frame-src img-src manifest-src media-src object-src report-to report-uri "
        "require-trusted-types-for sandbox script-src script-src-attr script-src-elem style-src "
        "style-src-attr style-src-elem trusted-types upgrade-insecure-requests worker-src"
    ).split()
)
# Keywords that a policy needs in quotes: without them a browser reads a host of that name.
_KEYWORDS = frozenset(
    (
        "allow-duplicates inline-speculation-rules none nonce report-sample script self "
        "strict-dynamic unsafe-eval unsafe-hashes unsafe-inline wasm-unsafe-eval"
    ).split()
)
_HASH = re.compile(r"'?(sha(?:256|384|512)-[A-Za-z0-9+/_\-]++={0,2})'?")
_SOURCE = re.compile(r"[\x21-\x2b\x2d-\x3a\x3c-\x7e]++")  # visible ASCII but for "," and ";"
_NONCE = "'nonce'"


class ContentSecurityPolicy:
    """A policy with one argument per directive: `default_src="self", script_src="self nonce"`.

    Separate sources by spaces. Write keywords and hashes without quotes. `nonce` becomes a new
    nonce in each response; templates read it as `request.state.csp_nonce`. Set a directive without
    a value, such as `upgrade_insecure_requests`, to True. With `report_only` the browser reports
    a violation and does not block it.

    Raises: ConfigurationError for an unknown directive or an invalid source.
    """

    def __init__(self, *, report_only: bool = False, **directives: str | bool) -> None:
        self.field = "Content-Security-Policy" + ("-Report-Only" if report_only else "")
        parts = [_directive(name.replace("_", "-"), value) for name, value in directives.items()]
        if not parts:
            raise ConfigurationError("ContentSecurityPolicy: expected a directive, got none")
        self._pieces = "; ".join(parts).split(_NONCE)
        self.has_nonce = len(self._pieces) > 1

    def __str__(self) -> str:
        return _NONCE.join(self._pieces)

    def with_nonce(self, nonce: str) -> str:
        """Return the field's value for one response."""
        return f"'nonce-{nonce}'".join(self._pieces)


class SecurityHeaders:
    """Set the fields that the endpoint has not set: `app.use(SecurityHeaders())`.

    `hsts`, `frame_options`, `referrer_policy`, `opener_policy` and `permissions_policy` are field
    values; None leaves a field out. With a nonce in `csp`, each request has its own in
    `request.state.csp_nonce`. Such a policy is not sent with a 304, because a 304's fields replace
    those of the stored page (RFC 9111 section 3.2).

    Raises: ConfigurationError for an invalid field value.
    """

    def __init__(
        self,
        csp: ContentSecurityPolicy | None = None,
        *,
        hsts: str | None = "max-age=31536000",
        frame_options: str | None = "DENY",
        referrer_policy: str | None = "strict-origin-when-cross-origin",
        opener_policy: str | None = "same-origin",
        permissions_policy: str | None = None,
    ) -> None:
        fields = {
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": frame_options,
            "Referrer-Policy": referrer_policy,
            "Cross-Origin-Opener-Policy": opener_policy,
            "Permissions-Policy": permissions_policy,
        }
        self._csp = csp if csp is not None and csp.has_nonce else None
        if csp is not None and self._csp is None:
            fields[csp.field] = str(csp)
        self._fields = _checked(fields)
        self._https_fields = _checked({**fields, "Strict-Transport-Security": hsts})

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        csp, nonce = self._csp, ""
        if csp is not None:
            nonce = _nonce_of(request)
        response = await call_next(request)
        headers = response.headers
        headers.set_missing(self._https_fields if request.scheme == "https" else self._fields)
        if csp is not None and csp.field not in headers and response.status != 304:
            headers[csp.field] = csp.with_nonce(nonce)
        return response


def _nonce_of(request: Request) -> str:
    """Return the request's nonce, made at the first call, so that nested policies share one."""
    state = request.state
    nonce: str | None = getattr(state, "csp_nonce", None)
    if nonce is None:
        nonce = state.csp_nonce = b64encode(urandom(_NONCE_BYTES), b"-_").decode("ascii")
    return nonce


def _checked(fields: dict[str, str | None]) -> MutableHeaders:
    try:
        return MutableHeaders([(name, text) for name, text in fields.items() if text is not None])
    except LocalProtocolError as error:
        raise ConfigurationError(f"SecurityHeaders: {error}") from error


def _directive(name: str, value: str | bool) -> str:
    if name not in _DIRECTIVES:
        known = ", ".join(sorted(_DIRECTIVES))
        raise ConfigurationError(
            f"ContentSecurityPolicy: got unknown directive {name[:80]!r}, expected one of {known}"
        )
    if value is True:
        return name
    sources = [_source(name, source) for source in value.split()] if isinstance(value, str) else []
    if not sources:
        raise ConfigurationError(
            f"ContentSecurityPolicy: {name}: expected a str of sources, got {value!r:.80}"
        )
    return " ".join([name, *sources])


def _source(directive: str, source: str) -> str:
    bare = source[1:-1] if source[:1] == source[-1:] == "'" else source
    if bare in _KEYWORDS:
        return f"'{bare}'"
    if match := _HASH.fullmatch(source):
        return f"'{match[1]}'"
    if not _SOURCE.fullmatch(source) or "'" in source:
        hint = ": write nonce, for a new one in each response" if bare.startswith("nonce-") else ""
        raise ConfigurationError(
            f"ContentSecurityPolicy: {directive}: expected sources separated by spaces, "
            f"got {source[:80]!r}{hint}"
        )
    return source
