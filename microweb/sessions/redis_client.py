"""The client of a Redis, as the stores of sessions and of rate limits use it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol

from ..errors import ConfigurationError, MissingExtra
from .redis_urls import check_redis_url

_CONNECTIONS = 32  # of one process; further commands wait for a free one


class RedisClient(Protocol):
    """The method of `redis.asyncio.Redis`, or `RedisCluster`, that the stores call."""

    def execute_command(self, *args: object) -> Awaitable[object]:
        """Send a command and return its answer."""


class RedisCommands:
    """Sends commands by a client of the application, or by one that is made for a URL.

    `user` is the name of the class for messages. `failures` are the exceptions of `send`.

    Raises: MissingExtra for a URL without the extra `redis`; ConfigurationError
    for a wrong URL.
    """

    def __init__(self, user: str, client: RedisClient | str, timeout_s: float) -> None:
        self._url = client if isinstance(client, str) else None
        self._client = None if isinstance(client, str) else client
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timeout_s = timeout_s  # to connect, for an answer, and for a free connection
        self.failures: tuple[type[Exception], ...] = (OSError,)
        try:
            from redis.exceptions import RedisClusterException, RedisError
        except ImportError as error:
            if self._url is not None:
                raise MissingExtra(user, "redis") from error
        else:
            self.failures = (OSError, RedisError, RedisClusterException)
        if self._url is not None:
            check_redis_url(user, self._url)
        elif not hasattr(client, "execute_command"):
            raise ConfigurationError(
                f"{user}: expected a URL such as 'redis://localhost:6379/0', or a client of "
                f"redis.asyncio, got {type(client).__name__}"
            )

    async def send(self, *args: object) -> object:
        """Send a command and return its answer. Raises: one of `failures`."""
        # For all steps together: a client waits for a connection, connects, and sends the
        # command, and each of these may take as long.
        async with asyncio.timeout(self._timeout_s):
            return await self._connected_client().execute_command(*args)

    async def aclose(self) -> None:
        """Close the connections that were made for a URL; the next command makes new ones."""
        client, self._loop = self._client, None
        if self._url is not None and client is not None:
            self._client = None
            await client.aclose()  # type: ignore[attr-defined]

    def _connected_client(self) -> RedisClient:
        client = self._client
        if self._url is not None:
            # Connections belong to one event loop, but an app may run on several in turn.
            loop = asyncio.get_running_loop()
            if client is None or self._loop is not loop:
                client = self._client = _client_for(self._url, self._timeout_s)
                self._loop = loop
        assert client is not None
        return client


def _client_for(url: str, timeout_s: float) -> RedisClient:
    """Return a client that waits for a free connection, and sends a command at most twice."""
    import redis.asyncio
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 1),
    )
    client: RedisClient = redis.asyncio.Redis.from_pool(pool)
    return client
