"""Security headers: what tells a browser to be careful with our answers.

| field | by default | specification |
|---|---|---|
| `Strict-Transport-Security`, on https alone | a year | RFC 6797 sections 6.1, 7.2 |
| `X-Content-Type-Options` | `nosniff` | WHATWG Fetch |
| `X-Frame-Options` | `DENY` | WHATWG HTML; `frame_ancestors` of a policy goes before it |
| `Referrer-Policy` | `strict-origin-when-cross-origin` | W3C Referrer Policy |
| `Cross-Origin-Opener-Policy` | `same-origin` | WHATWG HTML |
| `Permissions-Policy` | not sent | W3C Permissions Policy |
| `Content-Security-Policy` | not sent | W3C Content Security Policy Level 3 |

`no-referrer` is not the default, since browsers then send `Origin: null` with a site's own forms,
and `CSRFProtection` could not know them.
"""

from __future__ import annotations

import re
from base64 import b64encode
from os import urandom

from ..errors import ConfigurationError, LocalProtocolError
from ..http.headers import MutableHeaders
from ..request import Handler, Request
from ..response import Response

_NONCE_BYTES = 18  # 128 bits are asked for (CSP3 section 7.1); base64 writes these without padding

_DIRECTIVES = frozenset(
    (
        "base-uri child-src connect-src default-src fenced-frame-src font-src form-action "
        "frame-ancestors frame-src img-src manifest-src media-src object-src report-to report-uri "
        "require-trusted-types-for sandbox script-src script-src-attr script-src-elem style-src "
        "style-src-attr style-src-elem trusted-types upgrade-insecure-requests worker-src"
    ).split()
)
# What a policy means only in quotes: without them a browser looks for a host of that name.
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
    """A policy of one argument per directive: `default_src="self", script_src="self nonce"`.

    Sources are separated by spaces. Keywords and hashes need no quotes of their own. `nonce` stands
    for one that is new in each answer, which templates find as `request.state.csp_nonce`. A
    directive without a value, `upgrade_insecure_requests`, is True. `report_only` has the browser
    report and not refuse.

    Raises: ConfigurationError for an unknown directive, or a value that would end one.
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
        """Return the field's value for one answer."""
        return f"'nonce-{nonce}'".join(self._pieces)


class SecurityHeaders:
    """Set what the endpoint has not set: `app.use(SecurityHeaders())`. None leaves a field out.

    `hsts`, `frame_options`, `referrer_policy`, `opener_policy` and `permissions_policy` are field
    values. A policy with a nonce has each request get one as `request.state.csp_nonce`; it is not
    sent with a 304, whose fields would replace those that the stored page was sent with (RFC 9111
    section 3.2).

    Raises: ConfigurationError for what is no field value.
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
    """Return the request's nonce, made at the first call: policies may stand around each other."""
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
        raise ConfigurationError(f"ContentSecurityPolicy: no directive {name!r}, there is {known}")
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
        hint = ", write nonce: it is made anew" if bare.startswith("nonce-") else ""
        raise ConfigurationError(
            f"ContentSecurityPolicy: {directive}: expected sources separated by spaces, "
            f"got {source[:80]!r}{hint}"
        )
    return source
