"""Sessions: the middleware behind `request.session`.

The signed cookie holds the session itself, or with a store only the session's id. A session in a
cookie is read at the first use of `request.session`, a session in a store before the endpoint runs,
because `request.session` can't wait. It is written once, before the header section is sent, if its
encoded form has changed. Nothing is encrypted: without a store the client can read its session, but
not change it.

The signature covers the cookie's name and path. A cookie of this name that does not verify is
ignored, because a neighbouring subdomain, or another app on the same host, can set it.

RFC 6265; caches: RFC 9111 sections 5.2.2 and 7.3; signatures: `sessions.signed`.
"""

from __future__ import annotations

import random
import secrets
import time
from asyncio import sleep
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from ..errors import (
    ConfigurationError,
    InvalidSessionNumber,
    LocalProtocolError,
    ServiceUnavailable,
    SessionTooLarge,
)
from ..http.cookies import MAX_NAME_AND_VALUE, SetCookie, cookie_values
from ..http.headers import MutableHeaders, add_vary, list_members
from ..http.request_log import name_in_log
from ..http.urlencoded import percent_decode
from ..logs import Log
from ..remedies import names_keywords
from ..request import Handler, Request
from ..response import Response
from ..sessions.session import (
    EMPTY,
    Session,
    check_session,
    encode_session,
    is_surely_unchanged,
    merge_session,
    parse_session,
)
from ..sessions.signed import SignedValues
from ..sessions.store import SessionStore

_MIN_KEY_BYTES = 32
_MIN_KEY_DIFFERENT = 8  # bytes: 32 random hexadecimal digits have fewer once in 10**7
_TWO_WEEKS_S = 14 * 24 * 3600
_MAX_BYTES = 64 * 1024  # of a session in a store, which long values from clients must not fill
_ID_TAG_CHARACTERS = 8
# Of one name in a request: browsers send one for each path that has set it. To verify one takes
# 5 us, and a request can have 580.
_MAX_COOKIES = 32

# For retries if other requests change the entry at the same time. One of them always succeeds; the
# others pause for a random time, whose upper bound doubles from the first value to the second.
_MERGE_S = 5.0
_PAUSE_S = 0.001, 1.0

# Browsers send these as they are typed, but links from `url_for` have them percent-encoded.
_SENT_BOTH_WAYS = frozenset("&'()+;[]^|")

_PERSONAL = MutableHeaders({"Vary": "Cookie", "Cache-Control": "private"})

_REMEDY = (
    'make one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`, '
    "keep it out of the code and pass it here: Sessions(os.environ['SECRET_KEY'])"
)

_log = Log("microweb.app")


class Sessions:
    """Give each request its `session`: `app.use(Sessions(os.environ["SECRET_KEY"]))`.

    `secret_key`, of 32 characters or more, signs the cookie. In a list of keys the first signs, and
    all verify, so that a key can be replaced. With a `store` the cookie holds an id, and the store
    holds the session, up to 64 KiB. A session ends `max_age` seconds after its last change. A
    `cookie` named `__Host-...` works over https only, and no neighbouring subdomain can set it. By
    default, the cookie's `path` is `/`, or a mounted app's prefix, so that apps share no cookie.

    Raises: ConfigurationError for a missing or weak key, without showing it.
    """

    sole_source_of = "request.session"

    @names_keywords
    def __init__(
        self,
        secret_key: str | bytes | Sequence[str | bytes],
        *,
        store: SessionStore | None = None,
        cookie: str = "session",
        path: str | None = None,
        max_age: int = _TWO_WEEKS_S,
    ) -> None:
        self._keys = _checked_keys(secret_key)
        if type(max_age) is not int or max_age <= 0:
            raise ConfigurationError(
                f"Sessions: expected max_age as a positive int of seconds, got {max_age!r}"
            )
        if isinstance(store, type):
            name = store.__name__
            raise ConfigurationError(
                f"Sessions: expected a store, got the class {name}: write store={name}(...)"
            )
        self.cookie = cookie
        self._max_age = max_age
        self._store = store
        # A browser takes a `__Host-` cookie with this path only.
        self._path = "/" if path is None and cookie.lower().startswith("__host-") else path
        self._is_below_root = self._path is None  # the cookie's path begins with the root_path
        self._sign_for(self.path)

    @property
    def path(self) -> str:
        """Return the path of the cookie."""
        return "/" if self._path is None else self._path

    def mounted_at(self, prefix: str) -> Sessions:
        """Return these sessions for an app mounted at `prefix`, which becomes the cookie's path.

        Raises: ConfigurationError if a cookie can't have that path.
        """
        if self._path is not None:
            return self
        if found := _SENT_BOTH_WAYS.intersection(percent_decode(prefix)):
            raise ConfigurationError(
                "Sessions: expected a prefix that all clients write in the same way, because "
                f"browsers compare the cookie's path as text, got {min(found)!r} in "
                f"{percent_decode(prefix)!r}: set a path, as in Sessions(..., path='/'), or change "
                "the prefix"
            )
        placed = copy(self)
        placed._path = prefix or "/"
        placed._sign_for(placed.path)
        return placed

    def _sign_for(self, path: str) -> None:
        try:
            SetCookie(self.cookie, path=path)
        except ValueError as error:
            raise ConfigurationError(f"Sessions: cookie: {error}") from error
        # A signature must not verify for a cookie of another name, or an id's signature for data.
        held = "data" if self._store is None else "id"
        purpose = f"microweb.sessions {held} {self.cookie}"
        if path != "/":
            purpose += f" {path}"  # a cookie's name can't contain a space
        self._signed = SignedValues(
            self._keys, purpose, self._max_age, is_text=self._store is not None
        )

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Return the response of `call_next`, with a new cookie if the session has changed."""
        visit = _Visit(self, request)
        request.exchange.use_session(visit)
        try:
            if self._store is not None:
                await self._fetch(visit, self._store)
            response = await call_next(request)
        finally:
            visit.close()
        if visit.session is not None:
            try:
                await self._finish(visit, visit.session, response)
            except SessionTooLarge as error:
                _log.warning("%s: %s: %s", name_in_log(request), error.detail, self._remedy)
                raise
            except InvalidSessionNumber as error:
                _log.warning(
                    "%s: %s: check numbers from clients first, as with math.isfinite",
                    name_in_log(request),
                    error.detail,
                )
                raise
        return response

    async def start(self, values: Mapping[str, Any]) -> str:
        """Start a session without a request, for tests, and return the value of its cookie."""
        data = encode_session(values)
        self._check_size(data)
        check_session(values, data)
        return await self._begin(data)

    def read(self, request: Request) -> bytes:
        """Return the JSON of the session from the cookie, or with a store its id.

        Return b"" if the cookie is missing, forged or expired. Return b"" too if two different
        cookies verify: one of them is another user's session. More cookies of this name than
        `_MAX_COOKIES` are not verified: some of them are of another site.
        """
        found, cookie = b"", request.headers.by_name.get("cookie", "")
        values = cookie_values(cookie, self.cookie, _MAX_COOKIES + 1)
        if len(values) > _MAX_COOKIES:
            return b""
        for signed in values:
            value = self._signed.value_of(signed)
            if value and found and value != found:
                return b""
            found = value or found
        return found

    async def _fetch(self, visit: _Visit, store: SessionStore) -> None:
        id = self.read(visit.request).decode()
        data = await store.get(id) if id else None
        visit.before = EMPTY
        if data is not None:  # else a new id is made: a client must not choose it
            visit.id, visit.before = id, data

    async def _finish(self, visit: _Visit, session: Session, response: Response) -> None:
        headers = response.headers
        if "vary" in headers.lines:
            add_vary(headers, "Cookie")
        if not session.is_renewed and is_surely_unchanged(session):
            headers.set_missing(_PERSONAL)
            return
        data = encode_session(session)
        if data == visit.before and not session.is_renewed:
            headers.set_missing(_PERSONAL)
            return
        self._check_size(data)
        check_session(session, data)
        value = await self._keep(visit, session, data)
        path = self.path
        if self._is_below_root and (root := visit.request.root_path):
            path = root if path == "/" else root + path
        if value:
            response.set_cookie(self.cookie, value, max_age=self._max_age, path=path)
        elif value is not None and self.cookie in visit.request.cookies:
            response.delete_cookie(self.cookie, path=path)
        if "cache-control" in headers.lines:
            _keep_out_of_shared_caches(headers)
        headers.set_missing(_PERSONAL)

    @property
    def _remedy(self) -> str:
        if self._store is not None:
            return "keep less in the session"
        return (
            "keep less in the session, or keep it on the server: "
            "Sessions(..., store=MemoryStore()) from microweb.sessions.memory"
        )

    def _check_size(self, data: bytes) -> None:
        """Raise SessionTooLarge if `data` is too large, before it is parsed or signed."""
        largest = _MAX_BYTES if self._store is not None else MAX_NAME_AND_VALUE
        if len(data) > largest:
            raise SessionTooLarge(
                f"expected a session of at most {largest} bytes, got {len(data)} bytes"
            )

    async def _keep(self, visit: _Visit, session: Session, data: bytes) -> str | None:
        """Return the cookie's new value: "" to delete the cookie, None to leave it unchanged."""
        id, store = visit.id, self._store
        if store is not None and id is not None:
            if not session.is_ended:
                kept_as = await self._update(store, id, visit.before, session, data)
                return self._signed.sign(kept_as.encode()) if kept_as is not None else None
            await store.delete(id)
        return "" if data == EMPTY else await self._begin(data)

    async def _begin(self, data: bytes) -> str:
        if self._store is None:
            value = self._signed.sign(data)
            size = len(self.cookie) + len(value)
            if size > MAX_NAME_AND_VALUE:
                raise SessionTooLarge(
                    f"expected a session that fits in a cookie of {MAX_NAME_AND_VALUE} bytes, "
                    f"got a cookie of {size} bytes"
                )
            return value
        id = _new_id()
        await self._store.set(id, data, self._max_age, replacing=None)
        return self._signed.sign(id.encode())

    async def _update(
        self, store: SessionStore, id: str, before: bytes, session: Session, data: bytes
    ) -> str | None:
        """Merge the session's changes into the store's current entry, and return its id.

        Return None, and write nothing, if the session was ended meanwhile. Otherwise a slow request
        would restore a session that logged out.
        """
        new_id = _new_id(id) if session.is_renewed else None
        seen, pause_s, ends_at = before, _PAUSE_S[0], time.monotonic() + _MERGE_S
        while True:
            if new_id is None:
                is_kept = await store.set(id, data, self._max_age, replacing=seen)
            else:
                is_kept = await store.move(id, new_id, data, self._max_age, replacing=seen)
            if is_kept:
                return new_id or id
            if time.monotonic() > ends_at:
                raise ServiceUnavailable("too many requests change one session at the same time")
            await sleep(random.uniform(0, pause_s))
            pause_s = min(2 * pause_s, _PAUSE_S[1])
            now = await store.get(id)
            if now is None:
                _log.info("a session was ended while a request changed it: the change is dropped")
                return None
            merged = merge_session(parse_session(before), session, parse_session(now))
            seen, data = now, encode_session(merged)
            self._check_size(data)


class _Visit:
    """The session of one request, which is read at the first use."""

    __slots__ = ("_sessions", "before", "id", "is_over", "request", "session")

    def __init__(self, sessions: Sessions, request: Request) -> None:
        self._sessions = sessions
        self.request = request
        self.session: Session | None = None
        self.before = b""  # the encoded form before the request; with a store set before `open`
        self.id: str | None = None  # of the store's entry, if there is one
        self.is_over = False

    def open(self) -> Session:
        """Return the session, the same at each call. Raises: LocalProtocolError if it is late."""
        session = self.session
        if session is None:
            if self.is_over:
                raise LocalProtocolError(
                    "request.session was first used after the response was made: use it before "
                    "the endpoint returns, not in a stream or a background task"
                )
            if not self.before:
                self.before = self._sessions.read(self.request) or EMPTY
            session = self.session = Session(parse_session(self.before))
        return session

    def close(self) -> None:
        self.is_over = True
        if self.session is not None:
            self.session.is_over = True

    def reopen(self) -> None:
        self.is_over = False
        if self.session is not None:
            self.session.is_over = False


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


def _new_id(old: str | None = None) -> str:
    """Return a random id; an id that replaces `old` keeps its tag in braces.

    A Redis Cluster hashes only the part of a key in braces. So the entries of both ids are on one
    node, and one script can move the session between them.
    """
    tag = secrets.token_urlsafe(6) if old is None else old[1 : 1 + _ID_TAG_CHARACTERS]
    return f"{{{tag}}}{secrets.token_urlsafe(32)}"


def _keep_out_of_shared_caches(headers: MutableHeaders) -> None:
    """Forbid shared caches to give this Set-Cookie to another client. RFC 9111 section 7.3

    Directives of the application for shared caches are removed; its other directives stay.
    """
    said = list_members(headers["cache-control"])
    kept = [each for each in said if each.partition("=")[0].lower() not in ("public", "s-maxage")]
    if not {"private", "no-store"} & {each.lower() for each in kept}:
        kept.append("private")
    headers["Cache-Control"] = ", ".join(kept)
