"""Where sessions are kept on the server's side: in memory, or in Redis.

Both are a `SessionStore` of `microweb.sessions`, whose `set` compares before it writes, so that of
two requests at once none overwrites what the other wrote, and a session that was ended stays ended.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable
from time import monotonic
from typing import NamedTuple, Protocol

from .errors import ConfigurationError, MissingExtra

_OVERHEAD_BYTES = 320  # of an entry: its id, its record, its place in the dict (seen: 278 to 312)
_TIMEOUT_S = 5.0  # for Redis to connect, and to answer

# Compare and set in one step. `SET ... IFEQ` does the same from Redis 8.4 on.
_REPLACE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""


class _Entry(NamedTuple):
    data: bytes
    expires_at: float


class MemoryStore:
    """Sessions in this process: gone when it ends, and no other process sees them.

    It takes at most about `max_bytes` of memory. What was written longest ago makes room.
    """

    def __init__(self, *, max_bytes: int = 64 * 1024 * 1024) -> None:
        if max_bytes <= 0:
            raise ConfigurationError(f"MemoryStore: expected a positive max_bytes, got {max_bytes}")
        self._max_bytes = max_bytes
        self._bytes = 0
        # In the order of writing, so mostly of expiry. A dict is searched from its front, where
        # what was removed leaves gaps: with 50,000 entries a write took 45 to 60 us, not 4.
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def __len__(self) -> int:
        """How many sessions are kept."""
        self._make_room()
        return len(self._entries)

    async def get(self, id: str) -> bytes | None:
        """Return what was set, None where nothing is or it has expired."""
        entry = self._entries.get(id)
        if entry is not None and entry.expires_at <= monotonic():
            self._remove(id)
            return None
        return entry.data if entry is not None else None

    async def set(self, id: str, data: bytes, max_age: int, *, replacing: bytes | None) -> bool:
        """Keep `data` for `max_age` seconds where `replacing` is what is kept; say whether."""
        if await self.get(id) != replacing:
            return False
        self._remove(id)
        self._entries[id] = _Entry(data, monotonic() + max_age)
        self._bytes += len(data) + _OVERHEAD_BYTES
        self._make_room()
        return True

    async def delete(self, id: str) -> None:
        """Forget it, if it is there."""
        self._remove(id)

    def _remove(self, id: str) -> None:
        entry = self._entries.pop(id, None)
        if entry is not None:
            self._bytes -= len(entry.data) + _OVERHEAD_BYTES

    def _make_room(self) -> None:
        """Remove what has expired, and what is too much, from the oldest on."""
        now = monotonic()
        while self._entries:
            oldest = next(iter(self._entries))
            if self._entries[oldest].expires_at > now and self._bytes <= self._max_bytes:
                return
            self._remove(oldest)


class RedisClient(Protocol):
    """As much of `redis.asyncio.Redis`, or `RedisCluster`, as is used."""

    def execute_command(self, *args: object) -> Awaitable[object]:
        """Send a command and return its answer."""


class RedisStore:
    """Sessions in Redis: they outlive the process, and all processes share them.

    `client` is a URL such as `redis://localhost:6379/0`, for which connections are made as they are
    needed and closed by `aclose()`: `app.on_shutdown(store.aclose)`; or a client of your own, which
    you close. Keys begin with `prefix`.

    Raises: MissingExtra for a URL without redis: pip install 'microweb[redis]'; from its methods
    what the client raises, where Redis does not answer within 5 s for one.
    """

    def __init__(self, client: RedisClient | str, *, prefix: str = "session:") -> None:
        self._prefix = prefix
        self._url = client if isinstance(client, str) else None
        self._client = None if isinstance(client, str) else client
        self._loop: asyncio.AbstractEventLoop | None = None
        if isinstance(client, str):
            try:
                import redis.asyncio
            except ImportError as error:
                raise MissingExtra("RedisStore", "redis") from error
            self._from_url = redis.asyncio.from_url

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

    async def aclose(self) -> None:
        """Close the connections that were made for a URL; the next use makes new ones."""
        client, self._loop = self._client, None
        if self._url is not None and client is not None:
            self._client = None
            await client.aclose()  # type: ignore[attr-defined]

    def _command(self, *args: object) -> Awaitable[object]:
        client = self._client
        if self._url is not None:
            # Connections belong to a loop, and one app may be run by one after the other.
            loop = asyncio.get_running_loop()
            if client is None or self._loop is not loop:
                client = self._from_url(
                    self._url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
                )
                self._client, self._loop = client, loop
        assert client is not None
        return client.execute_command(*args)
