"""Sessions that are kept in Redis: a `SessionStore`, each step of which is one command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol

from ..concurrency.throttle import Throttle
from ..errors import ConfigurationError, MissingExtra, ServiceUnavailable
from ..logs import Log
from .redis_urls import check_redis_url

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
