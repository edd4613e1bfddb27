"""Sessions in Redis: a `SessionStore`, whose methods each send one command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol

from ..concurrency.throttle import Throttle
from ..errors import ConfigurationError, MissingExtra, ServiceUnavailable
from ..logs import Log
from .redis_urls import check_redis_url

_TIMEOUT_S = 5.0  # to connect to Redis, for its answer, and to wait for a free connection
_CONNECTIONS = 32  # of one process; further commands wait for a free one

_log = Log("microweb.app")

# Compare and set in one step. `SET ... IFEQ` does the same from Redis 8.4 on.
_REPLACE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""

# The client repeats a command if the connection breaks before the answer arrives. No other client
# knows the new id, so an entry under it was written by the first attempt.
_MOVE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.call('EXISTS', KEYS[2]) end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
redis.call('DEL', KEYS[1])
return 1
"""


class RedisClient(Protocol):
    """The method of `redis.asyncio.Redis`, or `RedisCluster`, that the store calls."""

    def execute_command(self, *args: object) -> Awaitable[object]:
        """Send a command and return its answer."""


class RedisStore:
    """Sessions in Redis: they outlive the process, and all processes share them.

    `client` is a URL such as `redis://localhost:6379/0`, or a client of your own, which you close.
    For a URL, the store opens up to 32 connections as they are needed. Close them by
    `app.on_shutdown(store.aclose)`. Keys begin with `prefix`.

    If Redis does not answer within 5 s, or refuses a command, the methods raise ServiceUnavailable,
    which is a 503. The log `microweb.app` has the reason, at most one line a minute.

    Raises: MissingExtra for a URL without redis: pip install 'microweb[redis]'; ConfigurationError
    for a wrong URL.
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
        """Return the data of a session, None if there is none or it has expired."""
        data = await self._command("GET", self._prefix + id)
        if isinstance(data, str):  # of a client with decode_responses
            return data.encode()
        return data if isinstance(data, bytes) else None

    async def set(self, id: str, data: bytes, max_age: int, *, replacing: bytes | None) -> bool:
        """Store `data` for `max_age` seconds if `replacing` is stored; return whether it was."""
        key = self._prefix + id
        if replacing is None:
            return bool(await self._command("SET", key, data, "EX", max_age, "NX"))
        return bool(await self._command("EVAL", _REPLACE, 1, key, replacing, data, max_age))

    async def delete(self, id: str) -> None:
        """Remove a session, if it exists."""
        await self._command("DEL", self._prefix + id)

    async def move(
        self, id: str, new_id: str, data: bytes, max_age: int, *, replacing: bytes
    ) -> bool:
        """Move a session to `new_id`, with new `data`, if `id` has `replacing`."""
        keys = self._prefix + id, self._prefix + new_id
        return bool(await self._command("EVAL", _MOVE, 2, *keys, replacing, data, max_age))

    async def aclose(self) -> None:
        """Close the connections that were made for a URL; the next command makes new ones."""
        client, self._loop = self._client, None
        if self._url is not None and client is not None:
            self._client = None
            await client.aclose()  # type: ignore[attr-defined]

    async def _command(self, *args: object) -> object:
        try:
            # For all steps together: a client waits for a connection, connects, and sends the
            # command, and each of these may take as long.
            async with asyncio.timeout(_TIMEOUT_S):
                return await self._connected_client().execute_command(*args)
        except self._failures as error:
            if self._outages.permits():
                _log.error(
                    "Redis failed, so requests that need a session get a 503: %s: %s",
                    type(error).__name__,
                    error,
                )
            raise ServiceUnavailable("sessions can't be read or written now") from error

    def _connected_client(self) -> RedisClient:
        client = self._client
        if self._url is not None:
            # Connections belong to one event loop, but an app may run on several in turn.
            loop = asyncio.get_running_loop()
            if client is None or self._loop is not loop:
                client = self._client = _client_for(self._url)
                self._loop = loop
        assert client is not None
        return client


def _client_for(url: str) -> RedisClient:
    """Return a client that waits for a free connection, and sends a command at most twice."""
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
