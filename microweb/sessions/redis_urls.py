"""The check of a Redis URL, made before anything connects."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigurationError


def check_redis_url(user: str, url: object) -> None:
    """Raise ConfigurationError, which shows no password, if `url` is not the URL of a Redis.

    `user` is the name of the class that got `url`.
    """
    if not isinstance(url, str):
        raise ConfigurationError(
            f"{user}: expected a URL such as 'redis://localhost:6379/0', got {type(url).__name__}"
        )
    from redis.asyncio import ConnectionPool
    from redis.exceptions import RedisError

    try:
        pool: Any = ConnectionPool.from_url(url)
        pool.make_connection()  # this does not connect yet
    except (ValueError, TypeError, RedisError):  # its text may contain a password
        raise ConfigurationError(
            f"{user}: expected a URL such as 'redis://localhost:6379/0', 'rediss://...' or "
            "'unix:///path', with options that redis knows, got an invalid one: percent-encode the "
            "special characters of a password"
        ) from None
