"""Rate limit: a token bucket per client, or per key; 429 with `Retry-After` if it is empty.

RFC 6585 section 4 (429), RFC 9110 section 10.2.3 (`Retry-After`), and the fields `RateLimit` and
`RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-11. `RateLimit` says that `r` requests
are left, and that after `t` seconds there is one more. A policy allows `q` requests in `w` seconds.
A client that prefers JSON gets a refusal as the draft's problem type `quota-exceeded`.

A bucket is one number, the time at which it will be full again (the "virtual scheduling" form of
GCRA, ITU-T I.371). Each request moves that time on by `window_s / quota`. A request that would move
it more than `window_s` ahead is refused. So there is nothing to refill, and no timer. Buckets that
are full again are dropped. At most `max_keys` are kept: beyond that, the least recently used one is
dropped, so that a peer with many addresses can't use more memory.
"""

from __future__ import annotations

import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from itertools import islice
from os import urandom
from typing import Any, Protocol

from ..concurrency.callables import check_parameters, describe, is_async
from ..concurrency.per_process import note_per_process
from ..endpoints.described import Described
from ..errors import ConfigurationError, TooManyRequests
from ..remedies import names_keywords
from ..request import Handler, Request
from ..response import Response
from ..server.addresses import network_of

MAX_KEYS = 65536  # some 14 MB

_PROBLEM_TYPE = "https://iana.org/assignments/http-problem-types#quota-exceeded"
_DROPPED_PER_NEW = 2  # full buckets, for each new one, so that their number falls
_ROUNDING = 1e-6  # of a token
_NAME = re.compile(r"[A-Za-z0-9_\-]{1,64}+")


class BucketStore(Protocol):
    """Counts that several processes share."""

    async def take(self, key: str, quota: int, window_s: int) -> tuple[int, int] | None:
        """Take a token; return how many are left, and the seconds until there is one more.

        Return -1 as the number if there was no token, and None if the store can't count now: then
        the process counts for itself.
        """


class RateLimit:
    """Allow each client `quota` requests in `window_s` seconds: `app.use(RateLimit(100, 60))`.

    A client may use its quota immediately; it comes back evenly, one request each `window_s /
    quota`. A client is an IPv4 address, or the first 64 bits of an IPv6 address, because one
    customer gets all addresses below them; behind trusted proxies it is the client that they name.
    `key(request)` returns another key to count by, such as an API key or a user, or None for a
    request that is not counted. `name` is the name of the policy, for responses with two policies.
    `clock` returns seconds, for tests.

    Each process counts separately, unless `store` is a `RedisBuckets`. In a store, limits with the
    same `name`, `quota` and `window_s` count together.

    Raises: ConfigurationError for an invalid argument.
    """

    @names_keywords
    def __init__(
        self,
        quota: int,
        window_s: int,
        *,
        key: Callable[[Request], str | None] | None = None,
        name: str = "default",
        max_keys: int = MAX_KEYS,
        clock: Callable[[], float] = time.monotonic,
        store: BucketStore | None = None,
    ) -> None:
        numbers = {"quota": quota, "window_s": window_s, "max_keys": max_keys}
        for argument, value in numbers.items():
            if not isinstance(value, int) or value < 1:
                raise ConfigurationError(
                    f"RateLimit: expected {argument} as an int of 1 or more, got {value!r:.80}"
                )
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                "RateLimit: expected a name of at most 64 letters, digits, '-' and '_', "
                f"got {name[:80]!r}"
            )
        if key is not None:
            check_parameters(key, "RateLimit: key", "request")
            if is_async(key):
                raise ConfigurationError(
                    f"RateLimit: {describe(key)}: expected a plain def as key, got an async one: "
                    "find the key in middleware outside RateLimit, and pass it in request.state"
                )
        if store is None:
            note_per_process(
                self,
                "each worker counts for itself, so a client gets up to the quota of each: divide "
                "the quota by the number of workers, limit in the proxy, or use "
                "store=RedisBuckets(url)",
                is_wrong=False,
            )
        elif not hasattr(store, "take"):
            raise ConfigurationError(
                f"RateLimit: expected store=RedisBuckets(url), got {store!r:.80}"
            )
        self._store = store
        self._quota = quota
        self._window_s = window_s
        self._buckets = TokenBuckets(quota, window_s, max_keys=max_keys, clock=clock)
        self._key = key
        # Processes that count together need the same digests.
        self._salt = urandom(16) if store is None else b""
        self._name = name
        self._policy = f'"{name}";q={quota};w={window_s}'

    def described(self) -> Described:
        """Return the part of an OpenAPI document that this middleware adds."""
        return Described(responses={429: "The client sent too many requests"})

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        if self._key is None:
            key: str | bytes = client_key(request)
        else:
            named = self._key(request)
            if named is None:
                return await call_next(request)
            # A digest has one size for keys of any length, and keeps no secret in memory.
            text = named.encode("utf-8", "surrogatepass")
            key = blake2b(text, digest_size=16, key=self._salt).digest()
        taken = None
        if self._store is not None:
            taken = await self._store.take(self._key_in_store(key), self._quota, self._window_s)
        left, next_s = self._buckets.take(key) if taken is None else taken
        if left < 0:
            raise self._refusal(next_s)
        response = await call_next(request)
        response.headers.add("RateLimit-Policy", self._policy)
        response.headers.add("RateLimit", f'"{self._name}";r={left};t={next_s}')
        return response

    def _key_in_store(self, key: str | bytes) -> str:
        text = key if isinstance(key, str) else key.hex()
        return f"{self._name}:{self._quota}/{self._window_s}:{text}"

    def _refusal(self, wait_s: int) -> TooManyRequests:
        members: dict[str, Any] = {"type": _PROBLEM_TYPE, "violated-policies": [self._name]}
        return TooManyRequests(
            f"more than {self._quota} requests in {self._window_s} s: try again in {wait_s} s",
            headers={
                "Retry-After": str(wait_s),
                "RateLimit-Policy": self._policy,
                "RateLimit": f'"{self._name}";r=0;t={wait_s}',
            },
            **members,
        )


class TokenBuckets:
    """At most `max_keys` buckets by key. Each holds `size` tokens and fills in `fill_s` seconds."""

    def __init__(
        self, size: int, fill_s: float, *, max_keys: int, clock: Callable[[], float]
    ) -> None:
        self._fill_s = fill_s
        self._token_s = fill_s / size
        self._max_keys = max_keys
        self._clock = clock
        # The most recently used one is last. To find the oldest, a dict would walk each time over
        # all entries that were deleted from its front.
        self._full_at: OrderedDict[str | bytes, float] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of buckets kept: all that are not full, and a few that may be."""
        return len(self._full_at)

    def take(self, key: str | bytes) -> tuple[int, int]:
        """Take a token; return how many are left, and the seconds until there is one more.

        Return -1 as the number if there was no token to take. The seconds are rounded up.
        """
        now, full_at = self._clock(), self._full_at
        token_s, fill_s = self._token_s, self._fill_s
        known = full_at.get(key)
        if known is None:
            self._make_room(now)
            debt_s = 0.0
        else:
            debt_s = min(max(known - now, 0.0), fill_s)
        # After the wait that a refusal announced, a token must be there in spite of rounding.
        tokens = (fill_s - debt_s) / token_s + _ROUNDING
        whole = int(tokens)
        if whole:
            debt_s += token_s
        full_at[key] = now + debt_s
        full_at.move_to_end(key)
        return whole - 1, math.ceil((whole + 1 - tokens) * token_s)

    def _make_room(self, now: float) -> None:
        """Drop a few old buckets that are full; if there is still no room, drop the oldest."""
        full_at = self._full_at
        for oldest in tuple(islice(full_at, _DROPPED_PER_NEW)):
            if full_at[oldest] > now:
                break
            del full_at[oldest]
        if len(full_at) >= self._max_keys:
            full_at.popitem(last=False)


def client_key(request: Request) -> str | bytes:
    """Return the key of a client: its IPv4 address, or the /64 network of its IPv6 address."""
    client = request.client
    return "" if client is None else network_of(client.host)
