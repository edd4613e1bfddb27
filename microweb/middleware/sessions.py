"""Sessions: the middleware behind `request.session`.

The cookie has the session itself, signed, or with a store the session's id, signed. It is read at
the first look (an entry of a store as soon as its cookie came, since looking does not wait) and
written once, before the head is sent, where the encoded form has changed. Nothing in it is
encrypted: without a store the client can read what is remembered of it, but not change it.

The signature covers the cookie's name and path. Cookies of the name that do not verify are passed
over, because a neighbouring subdomain, or another app below the same host, can set them.

RFC 6265; caches RFC 9111 sections 5.2.2 and 7.3; HMAC-SHA-256 by itsdangerous.
"""

from __future__ import annotations

import hashlib
import hmac
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
    MissingExtra,
    ServiceUnavailable,
    SessionTooLarge,
)
from ..http.cookies import MAX_NAME_AND_VALUE, SetCookie, cookie_values
from ..http.headers import MutableHeaders, list_members
from ..http.urlencoded import percent_decode
from ..logs import Log
from ..remedies import names_keywords
from ..request import Handler, Request, name_in_log
from ..response import Response
from ..sessions.session import (
    EMPTY,
    Session,
    check_session,
    encode_session,
    merge_session,
    parse_session,
)
from ..sessions.store import SessionStore

try:
    from itsdangerous import BadSignature, TimestampSigner, base64_decode, base64_encode
except ImportError as error:
    raise MissingExtra("microweb.middleware.sessions", "itsdangerous") from error

_MIN_KEY_BYTES = 32
_MIN_KEY_DIFFERENT = 8  # of its bytes: 32 random hexadecimal digits have fewer once in 10**7
_TWO_WEEKS_S = 14 * 24 * 3600
_MAX_BYTES = 64 * 1024  # of a session on the server: a login with a long name must not fill it
_SIGNATURE_CHARACTERS = 43  # of 32 bytes in base64
_ID_TAG_CHARACTERS = 8

# At an entry that others change meanwhile. Of those at once one is always through; the pause, which
# is random and doubled each time, spreads the others, until each has its turn.
_MERGE_S = 5.0
_PAUSE_S = 0.001, 1.0

# Browsers send these as they are typed, and links that `url_for` made have them encoded.
_SENT_BOTH_WAYS = frozenset("&'()+;[]^|")

_REMEDY = (
    'make one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`, '
    "keep it out of the code and give it here: Sessions(os.environ['SECRET_KEY'])"
)

_log = Log("microweb.app")


class Sessions:
    """Gives each request its `session`: `app.use(Sessions(os.environ["SECRET_KEY"]))`.

    `secret_key` signs the cookie: 32 characters or more; of a list the first signs and the others
    still read, so that a key can be replaced. With a `store` the cookie has an id, and the session
    is kept there, up to 64 KiB. It ends `max_age` seconds after its last change. A `cookie` named
    `__Host-...` is for https alone, and no neighbouring subdomain can set it. The cookie's `path`
    is by default that of the app: the prefix of a mounted one, so that two do not share a cookie.

    Raises: ConfigurationError for a key that is missing or weak, without showing it.
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
            raise ConfigurationError(f"Sessions: store {name} is a class: make one, as {name}(...)")
        self.cookie = cookie
        self._max_age = max_age
        self._store = store
        # A browser takes a `__Host-` cookie with this path only.
        self._path = "/" if path is None and cookie.lower().startswith("__host-") else path
        self._sign_for(self.path)

    @property
    def path(self) -> str:
        """The path of the cookie."""
        return "/" if self._path is None else self._path

    def mounted_at(self, prefix: str) -> Sessions:
        """Return the same for an app that is mounted at `prefix`, with the path of its cookie.

        Raises: ConfigurationError if a cookie can't have that path.
        """
        if self._path is not None:
            return self
        if found := _SENT_BOTH_WAYS.intersection(percent_decode(prefix)):
            raise ConfigurationError(
                "Sessions: expected a prefix that all clients write alike, because browsers "
                f"compare the cookie's path as text, got {min(found)!r} in "
                f"{percent_decode(prefix)!r}: give a path, as in Sessions(..., path='/'), or "
                "change the prefix"
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
        # What one signed is nothing to a cookie of another name, or that holds the other thing.
        held = "data" if self._store is None else "id"
        purpose = f"microweb.sessions {held} {self.cookie}"
        if path != "/":
            purpose += f" {path}"  # no name has a space in it
        # Derived here, once: itsdangerous would do it for each cookie, at 4 us of its 19.
        derived = [hmac.digest(key, purpose.encode(), "sha256") for key in self._keys]
        self._signer = TimestampSigner(
            derived[::-1],  # it signs with the last
            key_derivation="none",
            digest_method=hashlib.sha256,
        )

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Answer by `call_next`, then set the cookie where the session has changed."""
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
                    "%s: %s: check the numbers of clients before, as by math.isfinite",
                    name_in_log(request),
                    error.detail,
                )
                raise
        return response

    async def start(self, values: Mapping[str, Any]) -> str:
        """Begin a session outside of any request, and return its cookie's value: for tests."""
        data = encode_session(values)
        self._check_size(data)
        check_session(values, data)
        return await self._begin(data)

    def read(self, request: Request) -> bytes:
        """Return the signed value of the cookie; nothing if it is missing, forged or old.

        Nothing, too, if two cookies of the name verify: one of them is somebody else's session.
        """
        found = b""
        for signed in cookie_values(request.headers.get("cookie", ""), self.cookie):
            value = self._verified(signed)
            if value and found and value != found:
                return b""
            found = value or found
        return found

    def _verified(self, signed: str) -> bytes:
        # Spares a digest, of 5 us, for each of a thousand short cookies.
        if len(signed.rpartition(".")[2]) != _SIGNATURE_CHARACTERS:
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
        self._check_size(data)
        check_session(session, data)
        value = await self._keep(visit, session, data)
        if value:
            response.set_cookie(self.cookie, value, max_age=self._max_age, path=self.path)
        elif value is not None and self.cookie in visit.request.cookies:
            response.delete_cookie(self.cookie, path=self.path)
        _keep_out_of_shared_caches(headers)

    @property
    def _remedy(self) -> str:
        if self._store is not None:
            return "keep less in it"
        return (
            "keep less in it, or keep it on the server: "
            "Sessions(..., store=MemoryStore()) from microweb.sessions.memory"
        )

    def _check_size(self, data: bytes) -> None:
        """Raises: SessionTooLarge, before any work of the data's size is done."""
        largest = _MAX_BYTES if self._store is not None else MAX_NAME_AND_VALUE
        if len(data) > largest:
            raise SessionTooLarge(
                f"the session would be larger than {largest} bytes: it is {len(data)}"
            )

    async def _keep(self, visit: _Visit, session: Session, data: bytes) -> str | None:
        """Return the cookie's new value, empty for none, None to leave it as it is."""
        id, store = visit.id, self._store
        if store is not None and id is not None:
            if not session.is_ended:
                kept_as = await self._update(store, id, visit.before, session, data)
                return self._sign(kept_as.encode()) if kept_as is not None else None
            await store.delete(id)
        return "" if data == EMPTY else await self._begin(data)

    async def _begin(self, data: bytes) -> str:
        if self._store is None:
            value = self._sign(base64_encode(data))
            size = len(self.cookie) + len(value)
            if size > MAX_NAME_AND_VALUE:
                raise SessionTooLarge(
                    f"the session would make a cookie larger than {MAX_NAME_AND_VALUE} bytes: "
                    f"it is {size}"
                )
            return value
        id = _new_id()
        await self._store.set(id, data, self._max_age, replacing=None)
        return self._sign(id.encode())

    async def _update(
        self, store: SessionStore, id: str, before: bytes, session: Session, data: bytes
    ) -> str | None:
        """Write an entry's changes over the entry of now, and return its id.

        Return None if it was ended meanwhile: written all the same, a slow request would bring
        back a session that logged out.
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
                raise ServiceUnavailable("too many requests change one session at once")
            await sleep(random.uniform(0, pause_s))
            pause_s = min(2 * pause_s, _PAUSE_S[1])
            now = await store.get(id)
            if now is None:
                _log.info("a session was ended while a request changed it: the change is dropped")
                return None
            merged = merge_session(parse_session(before), session, parse_session(now))
            seen, data = now, encode_session(merged)
            self._check_size(data)

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
    """Return an id that nobody can guess; one in place of `old` has its tag.

    Of a key with braces a Redis Cluster hashes the part between them alone, so that the entries of
    both ids lie on one node, and one script can move one to the other.
    """
    tag = secrets.token_urlsafe(6) if old is None else old[1 : 1 + _ID_TAG_CHARACTERS]
    return f"{{{tag}}}{secrets.token_urlsafe(32)}"


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
