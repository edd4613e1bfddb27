"""Where sessions are kept on the server's side: in memory, or in Redis.

Both are a `SessionStore` of `microweb.sessions`, whose `set` compares before it writes, so that of
two requests at once none overwrites what the other wrote, and a session that was ended stays ended.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable
from itertools import islice
from time import monotonic
from typing import NamedTuple, Protocol

from .errors import ConfigurationError, MissingExtra, ServiceUnavailable, SessionTooLarge
from .logs import Log
from .redis_urls import check_redis_url
from .throttle import Throttle

_OVERHEAD_BYTES = 370  # of an entry: its id, its record, its places in the dicts (seen: 339 to 398)
_TIMEOUT_S = 5.0  # for Redis to connect, and to answer; and to wait for a connection
_CONNECTIONS = 32  # of one process; the next user waits for a free one

_log = Log("microweb.app")

# Compare and set in one step. `SET ... IFEQ` does the same from Redis 8.4 on.
_REPLACE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""

# The client sends a command again if the connection broke before its answer came. Nobody else knows
# the new id, so an entry that has it is that of the first time.
_MOVE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.call('EXISTS', KEYS[2]) end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
redis.call('DEL', KEYS[1])
return 1
"""


class _Entry(NamedTuple):
    data: bytes
    expires_at: float
    is_used: bool  # a later request has read it

    @property
    def size(self) -> int:
        """The memory that it takes, in bytes."""
        return len(self.data) + _OVERHEAD_BYTES


class MemoryStore:
    """Sessions in this process: gone when it ends, and no other process sees them.

    It takes at most about `max_bytes` of memory. Sessions that no request has read since they began
    make room first, then those that are in use; of both the large ones before the small ones, and
    of one size the one that was used longest ago. An eighth of the room is for the new ones, so
    that a client can log in while all the rest is in use.
    """

    def __init__(self, *, max_bytes: int = 64 * 1024 * 1024) -> None:
        if max_bytes <= 0:
            raise ConfigurationError(f"MemoryStore: expected a positive max_bytes, got {max_bytes}")
        self._max_bytes = max_bytes
        self._bytes = 0
        self._new_bytes = 0  # of these, those that no request has read
        self._entries: dict[str, _Entry] = {}
        # The ids by (is_used, size to a power of two), each queue in the order of use. A dict is
        # searched from its front, where what was removed leaves gaps: with 50,000 entries a write
        # took 45 to 60 us, not 4.
        self._queues: dict[tuple[bool, int], OrderedDict[str, None]] = {}

    def __len__(self) -> int:
        """How many sessions are kept."""
        self._drop_expired()
        return len(self._entries)

    async def get(self, id: str) -> bytes | None:
        """Return what was set, None where nothing is or it has expired."""
        entry = self._find(id)
        if entry is None:
            return None
        if entry.is_used:
            self._queues[_queue_of(entry)].move_to_end(id)
        else:
            self._remove(id)
            self._keep(id, entry._replace(is_used=True))
        return entry.data

    async def set(self, id: str, data: bytes, max_age: int, *, replacing: bytes | None) -> bool:
        """Keep `data` for `max_age` seconds where `replacing` is what is kept; say whether.

        Raises: SessionTooLarge for more than `max_bytes`.
        """
        return self._put(id, id, data, max_age, replacing)

    async def delete(self, id: str) -> None:
        """Forget it, if it is there."""
        self._remove(id)

    async def move(
        self, id: str, new_id: str, data: bytes, max_age: int, *, replacing: bytes
    ) -> bool:
        """Keep `data` under `new_id`, and nothing under `id`, if `replacing` is kept there."""
        return self._put(id, new_id, data, max_age, replacing)

    def _put(
        self, id: str, new_id: str, data: bytes, max_age: int, replacing: bytes | None
    ) -> bool:
        before = self._find(id)
        if (None if before is None else before.data) != replacing:
            return False
        entry = _Entry(data, monotonic() + max_age, before is not None)
        if entry.size > self._max_bytes:
            raise SessionTooLarge(
                f"the session would be larger than all room of the store: it is {len(data)} bytes"
            )
        self._remove(id)
        self._remove(new_id)
        self._keep(new_id, entry)
        self._drop_expired()
        self._make_room(new_id)
        return True

    def _find(self, id: str) -> _Entry | None:
        entry = self._entries.get(id)
        if entry is not None and entry.expires_at <= monotonic():
            self._remove(id)
            return None
        return entry

    def _keep(self, id: str, entry: _Entry) -> None:
        self._entries[id] = entry
        self._queues.setdefault(_queue_of(entry), OrderedDict())[id] = None
        self._count(entry, 1)

    def _remove(self, id: str) -> None:
        entry = self._entries.pop(id, None)
        if entry is not None:
            del self._queues[_queue_of(entry)][id]
            self._count(entry, -1)

    def _count(self, entry: _Entry, sign: int) -> None:
        self._bytes += sign * entry.size
        if not entry.is_used:
            self._new_bytes += sign * entry.size

    def _drop_expired(self) -> None:
        """Remove those that have expired and were used the longest ago.

        One that was used shortly before it expired waits for its turn, or for its next look.
        """
        now = monotonic()
        for queue in self._queues.values():
            while queue and self._entries[oldest := next(iter(queue))].expires_at <= now:
                self._remove(oldest)

    def _make_room(self, latest: str) -> None:
        """Remove entries until the rest fit, but not the one that was written just now."""
        while self._bytes > self._max_bytes:
            spares_new = self._new_bytes <= self._max_bytes // 8
            by_rank = sorted(self._queues, key=lambda key: (key[0] is not spares_new, -key[1]))
            found = (id for key in by_rank for id in islice(self._queues[key], 2) if id != latest)
            self._remove(next(found))


def _queue_of(entry: _Entry) -> tuple[bool, int]:
    return entry.is_used, max(entry.size.bit_length(), 10)  # all below 1 KiB are small


class RedisClient(Protocol):
    """As much of `redis.asyncio.Redis`, or `RedisCluster`, as is used."""

    def execute_command(self, *args: object) -> Awaitable[object]:
        """Send a command and return its answer."""


class RedisStore:
    """Sessions in Redis: they outlive the process, and all processes share them.

    `client` is a URL such as `redis://localhost:6379/0`, for which connections are made as they are
    needed, up to 32, and closed by `aclose()`: `app.on_shutdown(store.aclose)`; or a client of your
    own, which you close. Keys begin with `prefix`.

    If Redis does not answer within 5 s, or refuses a command, the methods raise ServiceUnavailable,
    which is a 503, and one line a minute says why in the log `microweb.app`. Raises: MissingExtra
    for a URL without redis: pip install 'microweb[redis]'; ConfigurationError for a wrong URL.
    """

    def __init__(self, client: RedisClient | str, *, prefix: str = "session:") -> None:
        self._prefix = prefix
        self._url = client if isinstance(client, str) else None
        self._client = None if isinstance(client, str) else client
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outages = Throttle()
        self._failures: tuple[type[Exception], ...] = (OSError,)
        try:
            from redis.exceptions import RedisClusterException, RedisError
        except ImportError as error:
            if self._url is not None:
                raise MissingExtra("RedisStore", "redis") from error
        else:
            self._failures = (OSError, RedisError, RedisClusterException)
        if self._url is not None:
            check_redis_url("RedisStore", self._url)
        elif not hasattr(client, "execute_command"):
            raise ConfigurationError(
                "RedisStore: expected a URL such as 'redis://localhost:6379/0', or a client of "
                f"redis.asyncio, got {type(client).__name__}"
            )

    async def get(self, id: str) -> bytes | None:
        """Return what was set, None where nothing is or it has expired."""
        data = await self._command("GET", self._prefix + id)
        if isinstance(data, str):  # of a client with decode_responses
            return data.encode()
        return data if isinstance(data, bytes) else None

    async def set(self, id: str, data: bytes, max_age: int, *, replacing: bytes | None) -> bool:
        """Keep `data` for `max_age` seconds where `replacing` is what is kept; say whether."""
        key = self._prefix + id
        if replacing is None:
            return bool(await self._command("SET", key, data, "EX", max_age, "NX"))
        return bool(await self._command("EVAL", _REPLACE, 1, key, replacing, data, max_age))

    async def delete(self, id: str) -> None:
        """Forget it, if it is there."""
        await self._command("DEL", self._prefix + id)

    async def move(
        self, id: str, new_id: str, data: bytes, max_age: int, *, replacing: bytes
    ) -> bool:
        """Keep `data` under `new_id`, and nothing under `id`, if `replacing` is kept there."""
        keys = self._prefix + id, self._prefix + new_id
        return bool(await self._command("EVAL", _MOVE, 2, *keys, replacing, data, max_age))

    async def aclose(self) -> None:
        """Close the connections that were made for a URL; the next use makes new ones."""
        client, self._loop = self._client, None
        if self._url is not None and client is not None:
            self._client = None
            await client.aclose()  # type: ignore[attr-defined]

    async def _command(self, *args: object) -> object:
        try:
            # In all: a client waits for a connection, connects, and asks, each for as long.
            async with asyncio.timeout(_TIMEOUT_S):
                return await self._connected_client().execute_command(*args)
        except self._failures as error:
            if self._outages.permits():
                _log.error(
                    "Redis does not serve sessions, requests that need one get a 503: %s: %s",
                    type(error).__name__,
                    error,
                )
            raise ServiceUnavailable("sessions can't be read or written now") from error

    def _connected_client(self) -> RedisClient:
        client = self._client
        if self._url is not None:
            # Connections belong to a loop, and one app may be run by one after the other.
            loop = asyncio.get_running_loop()
            if client is None or self._loop is not loop:
                client = self._client = _client_for(self._url)
                self._loop = loop
        assert client is not None
        return client


def _client_for(url: str) -> RedisClient:
    """Return a client whose users wait for a connection, and that tries a command twice at most."""
    import redis.asyncio
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS,
        timeout=_TIMEOUT_S,
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        retry=Retry(NoBackoff(), 1),
    )
    client: RedisClient = redis.asyncio.Redis.from_pool(pool)
    return client
