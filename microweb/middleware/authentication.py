"""Basic and Bearer authentication.

RFC 9110 section 11 (the framework), RFC 7617 (Basic), RFC 6750 (Bearer). The middleware stores
secrets as keyed digests, compares them in constant time, and puts none in a message. Both schemes
send their secret with each request: use them over TLS only.

Order: inside CORS, because preflights carry no credentials, and outside everything that is for
authenticated users only.
"""

from __future__ import annotations

import binascii
import hashlib
import re
import secrets
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterable, Mapping
from hmac import compare_digest
from inspect import Parameter
from typing import Any

from ..concurrency.annotated import signature_of
from ..concurrency.callables import check_parameters
from ..endpoints.described import Described
from ..endpoints.handler import as_async
from ..endpoints.signature import REQUEST, hints_of
from ..errors import BadRequest, ConfigurationError, Unauthorized
from ..http.headers import check_value
from ..request import Handler, Request
from ..response import Response

# credentials = auth-scheme [ 1*SP ( token68 / ... ) ]                      RFC 9110 section 11.4
# token68 = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
# b64token of RFC 6750 section 2.1 is the same.
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]++=*+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_KEY_BYTES = 32


class BasicAuth:
    """Middleware that requires a name and a password. RFC 7617

    `check` is a mapping of names to passwords, or a function of (name, password). The function
    returns the user, True to use the name as the user, or None or False to refuse. It may take the
    request too, by the parameter name `request` or by the annotation. A plain `def` runs in a
    thread, so it may hash as slowly as passwords need. `request.state.user` is the user, with a
    mapping the name. Names and passwords are UTF-8.

    Raises: ConfigurationError for an invalid realm, name or password.
    """

    def __init__(
        self, check: Mapping[str, str] | Callable[..., object], *, realm: str = "site"
    ) -> None:
        function = _Passwords(check).check if isinstance(check, Mapping) else check
        self._check = _with_request(function, "BasicAuth", "name", "password")
        self._refused = {
            "WWW-Authenticate": f'Basic realm={_quoted(realm)}, charset="UTF-8"',
        }

    def described(self) -> Described:
        """Return the part of an OpenAPI document that this middleware adds."""
        scheme = {"type": "http", "scheme": "basic"}
        return Described({"basic": scheme}, {401: "The name or the password is missing or wrong"})

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        given = _credentials(request, "basic")
        pair = None if given is None else _name_and_password(given)
        if pair is None:
            raise Unauthorized("expected a name and a password", headers=self._refused)
        user = await self._check(request, *pair)
        if user is None or user is False:
            raise Unauthorized("wrong name or password", headers=self._refused)
        request.state.user = pair[0] if user is True else user
        return await call_next(request)


class BearerAuth:
    """Middleware that requires a token, and reads it from the Authorization field only. RFC 6750

    `check` is a mapping of tokens to users, an iterable of tokens, or a function of the token. The
    function returns the user, or None or False to refuse. It may take the request too, by the
    parameter name `request` or by the annotation. A plain `def` runs in a thread.
    `request.state.user` is the user; for an iterable of tokens it is True.

    Raises: ConfigurationError for an invalid realm, token or user.
    """

    def __init__(
        self,
        check: Mapping[str, object] | Iterable[str] | Callable[..., object],
        *,
        realm: str = "site",
    ) -> None:
        function = check if callable(check) else _Tokens(check).check
        self._check = _with_request(function, "BearerAuth", "token")
        challenge = f"Bearer realm={_quoted(realm)}"
        self._missing = {"WWW-Authenticate": challenge}  # without an error code: section 3.1
        self._invalid = {"WWW-Authenticate": f'{challenge}, error="invalid_token"'}
        self._malformed = {"WWW-Authenticate": f'{challenge}, error="invalid_request"'}

    def described(self) -> Described:
        """Return the part of an OpenAPI document that this middleware adds."""
        scheme = {"type": "http", "scheme": "bearer"}
        responses = {400: "The token is malformed", 401: "The token is missing or wrong"}
        return Described({"bearer": scheme}, responses)

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        token = _credentials(request, "bearer")
        if token is None:
            raise Unauthorized("expected a bearer token", headers=self._missing)
        if not _TOKEN68.fullmatch(token):
            raise BadRequest("expected one bearer token", headers=self._malformed)
        user = await self._check(request, token)
        if user is None or user is False:
            raise Unauthorized("the token is not valid", headers=self._invalid)
        request.state.user = user
        return await call_next(request)


# --- credentials in a request ---------------------------------------------------------


def _credentials(request: Request, scheme: str) -> str | None:
    """Return the credentials of this scheme in Authorization; None if there are none."""
    name, _, rest = request.headers.get("authorization", "").partition(" ")
    return rest.strip(" ") if name.lower() == scheme else None


def _name_and_password(credentials: str) -> tuple[str, str] | None:
    """Return the name and password in Basic credentials; None if malformed. RFC 7617 section 2"""
    try:
        text = b64decode(credentials, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    name, colon, password = text.partition(":")
    return (name, password) if colon and not _CONTROL.search(text) else None


def _quoted(realm: str) -> str:
    try:
        check_value(realm)
    except ValueError as error:
        raise ConfigurationError(f"realm: {error}") from error
    escaped = realm.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _with_request(
    check: Callable[..., object], role: str, *names: str
) -> Callable[..., Awaitable[object]]:
    """Return an async function of (request, *names) that calls `check`, with the request if it can.

    Raises: ConfigurationError if `check` takes other parameters.
    """
    call = as_async(check)
    hints = hints_of(check)
    parameters = signature_of(check).parameters.values()
    taken = [each for each in parameters if REQUEST.is_taken_by(each.name, hints.get(each.name))]
    if not taken:
        check_parameters(check, role, *names)
        return lambda request, *given: call(*given)
    if taken[0].kind is Parameter.KEYWORD_ONLY:
        name = taken[0].name
        return lambda request, *given: call(*given, **{name: request})
    at = list(parameters).index(taken[0])
    check_parameters(check, role, *names[:at], "request", *names[at:])
    return lambda request, *given: call(*given[:at], request, *given[at:])


# --- stored secrets -------------------------------------------------------------------


class _Digests:
    """Digests of one length, with a secret key: a client can't foresee how two compare."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(_KEY_BYTES)

    def of(self, text: str) -> bytes:
        data = text.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, key=self._key, digest_size=_KEY_BYTES).digest()


class _Passwords:
    def __init__(self, passwords: Mapping[str, str]) -> None:
        self._digest = _Digests().of
        self._by_name: dict[bytes, bytes] = {}
        for name, password in passwords.items():
            if not isinstance(password, str) or not password:
                raise ConfigurationError(
                    f"BasicAuth: expected a non-empty str as the password of {name!r:.80}"
                )
            if ":" in name or _CONTROL.search(name + password):
                raise ConfigurationError(
                    "BasicAuth: expected a name without a colon, and no control character in the "
                    f"name or the password: check the entry {name!r:.80}"
                )
            self._by_name[self._digest(name)] = self._digest(password)
        self._unknown = secrets.token_bytes(_KEY_BYTES)

    async def check(self, name: str, password: str) -> bool:
        # An unknown name costs the same time. The time of the dict's lookup tells nothing, because
        # a client can't foresee a digest.
        known = self._by_name.get(self._digest(name), self._unknown)
        return compare_digest(known, self._digest(password))


class _Tokens:
    def __init__(self, tokens: Mapping[str, Any] | Iterable[str]) -> None:
        if isinstance(tokens, str):
            tokens = (tokens,)
        users = tokens if isinstance(tokens, Mapping) else dict.fromkeys(tokens, True)
        self._digest = _Digests().of
        self._users: dict[bytes, Any] = {}
        for token, user in users.items():
            if not isinstance(token, str) or not _TOKEN68.fullmatch(token):
                raise ConfigurationError(
                    "BearerAuth: expected each token to have ASCII letters, digits and -._~+/ "
                    "only, and '=' only at its end"
                )
            if user is None or user is False:
                raise ConfigurationError(f"BearerAuth: expected a user for each token, got {user}")
            self._users[self._digest(token)] = user

    async def check(self, token: str) -> Any:
        given, user = self._digest(token), None
        for known, owner in self._users.items():  # compare all: the time tells nothing
            if compare_digest(known, given):
                user = owner
        return user
