"""Sessions: the middleware behind `request.session`.

The cookie has the session itself, signed, or with a store the session's id, signed. It is read at
the first look (an entry of a store as soon as its cookie came, since looking does not wait) and
written once, before the head is sent, where the encoded form has changed. Nothing in it is
encrypted: without a store the client can read what is remembered of it, but not change it.

RFC 6265; caches RFC 9111 sections 5.2.2 and 7.3; HMAC-SHA-256 by itsdangerous.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from .cookies import MAX_NAME_AND_VALUE, SetCookie
from .endpoints import Handler
from .errors import ConfigurationError, LocalProtocolError, MissingExtra, ServiceUnavailable
from .headers import MutableHeaders, list_members
from .request import Request
from .response import Response
from .session import (
    EMPTY,
    Session,
    check_session,
    encode_session,
    merge_session,
    parse_session,
)

try:
    from itsdangerous import BadSignature, TimestampSigner, base64_decode, base64_encode
except ImportError as error:
    raise MissingExtra("microweb.sessions", "itsdangerous") from error

_MIN_KEY_BYTES = 32
_MIN_KEY_DIFFERENT = 8  # of its bytes: 32 random hexadecimal digits have fewer once in 10**7
_TWO_WEEKS_S = 14 * 24 * 3600
_ATTEMPTS = 16  # at an entry that others change meanwhile; of those at once one is always through

_REMEDY = (
    'make one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`, '
    "keep it out of the code and give it here: Sessions(os.environ['SECRET_KEY'])"
)

_log = logging.getLogger("microweb.app")


class SessionStore(Protocol):
    """Where sessions are kept by id. See `microweb.session_stores`."""

    async def get(self, id: str) -> bytes | None:
        """Return what was set, None where nothing is or it has expired."""

    async def set(self, id: str, data: bytes, max_age: int, *, replacing: bytes | None) -> bool:
        """Keep `data` for `max_age` seconds where `replacing` is what is kept; say whether.

        `replacing=None` means: where nothing is. Comparing and setting are one step for others.
        """

    async def delete(self, id: str) -> None:
        """Forget it, if it is there."""


class Sessions:
    """Gives each request its `session`: `app.use(Sessions(os.environ["SECRET_KEY"]))`.

    `secret_key` signs the cookie: 32 characters or more; of a list the first signs and the others
    still read, so that a key can be replaced. With a `store` the cookie has an id, and the session
    is kept there. It ends `max_age` seconds after its last change. A `cookie` named `__Host-...` is
    for https alone, and no neighbouring subdomain can set it.

    Raises: ConfigurationError for a key that is missing or weak, without showing it.
    """

    def __init__(
        self,
        secret_key: str | bytes | Sequence[str | bytes],
        *,
        store: SessionStore | None = None,
        cookie: str = "session",
        max_age: int = _TWO_WEEKS_S,
    ) -> None:
        keys = _checked_keys(secret_key)
        try:
            SetCookie(cookie)
        except ValueError as error:
            raise ConfigurationError(f"Sessions: cookie: {error}") from error
        if type(max_age) is not int or max_age <= 0:
            raise ConfigurationError(
                f"Sessions: expected max_age as a positive int of seconds, got {max_age!r}"
            )
        self.cookie = cookie
        self._max_age = max_age
        self._store = store
        # What one signed is nothing to a cookie of another name, or that holds the other thing.
        purpose = f"microweb.sessions {'data' if store is None else 'id'} {cookie}".encode()
        # Derived here, once: itsdangerous would do it for each cookie, at 4 us of its 19.
        derived = [hmac.digest(key, purpose, "sha256") for key in keys]
        self._signer = TimestampSigner(
            derived[::-1],  # it signs with the last
            key_derivation="none",
            digest_method=hashlib.sha256,
        )

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Answer by `call_next`, then set the cookie where the session has changed."""
        visit = _Visit(self, request)
        request.use_session(visit)
        try:
            if self._store is not None:
                await self._fetch(visit, self._store)
            response = await call_next(request)
        finally:
            visit.is_over = True
            if visit.session is not None:
                visit.session.is_over = True
        if visit.session is not None:
            await self._finish(visit, visit.session, response)
        return response

    async def start(self, values: Mapping[str, Any]) -> str:
        """Begin a session outside of any request, and return its cookie's value: for tests."""
        data = encode_session(values)
        check_session(values, data)
        return await self._begin(data)

    def read(self, request: Request) -> bytes:
        """Return what the cookie was signed for; nothing where it is missing, forged or old."""
        signed = request.cookies.get(self.cookie)
        if signed is None:
            return b""
        try:
            value, signed_at = self._signer.unsign(signed, return_timestamp=True)
        except BadSignature:
            return b""
        # Not by `unsign(max_age=)`: that refuses what a server whose clock is ahead has signed.
        return value if time.time() - signed_at.timestamp() <= self._max_age else b""

    async def _fetch(self, visit: _Visit, store: SessionStore) -> None:
        id = self.read(visit.request).decode()
        data = await store.get(id) if id else None
        visit.before = EMPTY
        if data is not None:  # else a new id: never one that the client chose
            visit.id, visit.before = id, data

    async def _finish(self, visit: _Visit, session: Session, response: Response) -> None:
        headers = response.headers
        _vary_on_cookie(headers)
        data = encode_session(session)
        if data == visit.before and not session.is_renewed:
            if "cache-control" not in headers:
                headers["Cache-Control"] = "private"
            return
        check_session(session, data)
        value = await self._keep(visit, session, data)
        if value:
            response.set_cookie(self.cookie, value, max_age=self._max_age)
        elif value is not None and self.cookie in visit.request.cookies:
            response.delete_cookie(self.cookie)
        _keep_out_of_shared_caches(headers)

    async def _keep(self, visit: _Visit, session: Session, data: bytes) -> str | None:
        """Return the cookie's new value, empty for none, None to leave it as it is."""
        id, store = visit.id, self._store
        if store is not None and id is not None:
            if not session.is_renewed:
                is_kept = await self._update(store, id, visit.before, session, data)
                return self._sign(id.encode()) if is_kept else None
            await store.delete(id)
        return "" if data == EMPTY else await self._begin(data)

    async def _begin(self, data: bytes) -> str:
        if self._store is None:
            value = self._sign(base64_encode(data))
            size = len(self.cookie) + len(value)
            if size > MAX_NAME_AND_VALUE:
                raise LocalProtocolError(
                    f"a session of {len(data)} bytes makes a cookie of {size}, browsers drop what "
                    f"is over {MAX_NAME_AND_VALUE}: keep less in it, or keep it on the server: "
                    "Sessions(..., store=MemoryStore()) from microweb.session_stores"
                )
            return value
        id = secrets.token_urlsafe(32)
        await self._store.set(id, data, self._max_age, replacing=None)
        return self._sign(id.encode())

    async def _update(
        self, store: SessionStore, id: str, before: bytes, session: Session, data: bytes
    ) -> bool:
        """Write an entry's changes over what is there; return False where it was ended meanwhile.

        Were it written all the same, a slow request would bring a session back that logged out.
        """
        seen = before
        for _ in range(_ATTEMPTS):
            if await store.set(id, data, self._max_age, replacing=seen):
                return True
            now = await store.get(id)
            if now is None:
                _log.info("a session was ended while a request changed it: the change is dropped")
                return False
            merged = merge_session(parse_session(before), session, parse_session(now))
            seen, data = now, encode_session(merged)
        raise ServiceUnavailable("too many requests change one session at once")

    def _sign(self, value: bytes) -> str:
        return self._signer.sign(value).decode("ascii")


class _Visit:
    """One request's way to its session, opened at the first look."""

    __slots__ = ("_sessions", "before", "id", "is_over", "request", "session")

    def __init__(self, sessions: Sessions, request: Request) -> None:
        self._sessions = sessions
        self.request = request
        self.session: Session | None = None
        self.before = b""  # the encoded form as it was found; with a store it is known first
        self.id: str | None = None  # of the store's entry, where there is one
        self.is_over = False

    def open(self) -> Session:
        """Return the session, the same at each call. Raises: LocalProtocolError."""
        session = self.session
        if session is None:
            if self.is_over:
                raise LocalProtocolError(
                    "request.session was first looked at once the answer was decided: "
                    "do that before the endpoint returns, not in what it streams or leaves running"
                )
            if not self.before:
                data = self._sessions.read(self.request)
                self.before = base64_decode(data) if data else EMPTY
            session = self.session = Session(parse_session(self.before))
        return session


def _checked_keys(secret_key: str | bytes | Sequence[str | bytes]) -> list[bytes]:
    """Return the keys as bytes. Raises: ConfigurationError, which shows none of them."""
    given = list(secret_key) if isinstance(secret_key, (list, tuple)) else [secret_key]
    if not given or not all(given):
        raise ConfigurationError(f"Sessions: expected a secret key, got none: {_REMEDY}")
    keys = []
    for key in given:
        if not isinstance(key, (str, bytes)):
            kind = type(key).__name__
            raise ConfigurationError(f"Sessions: expected the key as a str, got {kind}: {_REMEDY}")
        data = key.encode() if isinstance(key, str) else key
        if len(data) < _MIN_KEY_BYTES or len(set(data)) < _MIN_KEY_DIFFERENT:
            raise ConfigurationError(
                f"Sessions: expected a secret key of {_MIN_KEY_BYTES} random characters or more, "
                f"got one of {len(data)} with {len(set(data))} different: {_REMEDY}"
            )
        keys.append(data)
    return keys


def _vary_on_cookie(headers: MutableHeaders) -> None:
    if "vary" not in headers:
        headers["Vary"] = "Cookie"
    elif not {"*", "cookie"} & set(list_members(headers["vary"].lower())):
        headers["Vary"] += ", Cookie"


def _keep_out_of_shared_caches(headers: MutableHeaders) -> None:
    """Have no shared cache give this Set-Cookie to another client. RFC 9111 section 7.3

    What the application said for shared caches gives way, the rest stays.
    """
    said = list_members(headers.get("cache-control", ""))
    kept = [each for each in said if each.partition("=")[0].lower() not in ("public", "s-maxage")]
    if not {"private", "no-store"} & {each.lower() for each in kept}:
        kept.append("private")
    headers["Cache-Control"] = ", ".join(kept)
