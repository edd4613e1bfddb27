"""Sessions in Redis: a `SessionStore`, whose methods each send one command."""

from __future__ import annotations

from ..concurrency.throttle import Throttle
from ..errors import ServiceUnavailable
from ..logs import Log
from .redis_client import RedisClient, RedisCommands

_TIMEOUT_S = 5.0  # to connect to Redis, for its answer, and to wait for a free connection

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


class RedisStore:
    """Sessions in Redis: they outlive the process, and all processes share them.

    `client` is a URL such as `redis://localhost:6379/0`, or a client of your own, which you close.
    For a URL, the store opens up to 32 connections as they are needed. Close them by
    `app.on_shutdown(store.aclose)`. Keys begin with `prefix`.

    If Redis does not answer within 5 s, or refuses a command, the methods raise ServiceUnavailable,
    which is a 503. The log `microweb.app` has the reason, at most one line a minute.

    Raises: MissingExtra for a URL without the extra `redis`; ConfigurationError
    for a wrong URL.
    """

    def __init__(self, client: RedisClient | str, *, prefix: str = "session:") -> None:
        self._prefix = prefix
        self._commands = RedisCommands("RedisStore", client, _TIMEOUT_S)
        self._outages = Throttle()

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
        await self._commands.aclose()

    async def _command(self, *args: object) -> object:
        try:
            return await self._commands.send(*args)
        except self._commands.failures as error:
            if self._outages.permits():
                _log.error(
                    "Redis failed, so requests that need a session get a 503: %s: %s",
                    type(error).__name__,
                    error,
                )
            raise ServiceUnavailable("sessions can't be read or written now") from error
