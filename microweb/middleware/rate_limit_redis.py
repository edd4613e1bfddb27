"""Rate limits in Redis: several processes, on several machines, count together.

Each request is one script in Redis, which does the arithmetic of `TokenBuckets` (GCRA) in one step.
It uses the clock of Redis, so that the clocks of the machines do not matter. A key expires when its
bucket is full again, so that Redis holds only the clients of the last window.
"""

from __future__ import annotations

from time import monotonic

from ..concurrency.throttle import Throttle
from ..logs import Log
from ..sessions.redis_client import RedisClient, RedisCommands

_TIMEOUT_S = 1.0  # a request waits at most so long for Redis
_PAUSE_S = 1.0  # after a failure, until one request tries again

_log = Log("microweb.app")

# Times are microseconds. `%.17g` keeps all digits of a number; `tostring` keeps only 14.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local token, fill = tonumber(ARGV[1]), tonumber(ARGV[2])
local full_at = tonumber(redis.call('GET', KEYS[1]) or now)
local debt = math.min(math.max(full_at - now, 0), fill)
local tokens = (fill - debt) / token + 1e-6
local whole = math.floor(tokens)
if whole >= 1 then
  debt = debt + token
  local full_in_ms = math.ceil(debt / 1000)
  redis.call('SET', KEYS[1], string.format('%.17g', now + debt), 'PX', full_in_ms)
end
return {whole - 1, math.ceil((whole + 1 - tokens) * token / 1000000)}
"""


class RedisBuckets:
    """The counts of `RateLimit` in Redis: `RateLimit(100, 60, store=RedisBuckets(url))`.

    `client` is a URL such as `redis://localhost:6379/0`, or a client of your own, which you close.
    Close the connections of a URL by `app.on_shutdown(buckets.aclose)`. Keys begin with `prefix`.

    If Redis fails, or does not answer within 1 s, each process counts for itself: a request is
    neither lost nor unlimited. Redis is then asked again once a second. The log `microweb.app` has
    the reason, at most one line a minute.

    Raises: MissingExtra for a URL without the extra `redis`; ConfigurationError
    for a wrong URL.
    """

    def __init__(self, client: RedisClient | str, *, prefix: str = "ratelimit:") -> None:
        self._prefix = prefix
        self._commands = RedisCommands("RedisBuckets", client, _TIMEOUT_S)
        self._pauses_until = 0.0
        self._has_failed = False
        self._outages = Throttle()

    async def take(self, key: str, quota: int, window_s: int) -> tuple[int, int] | None:
        """Take a token; return how many are left, and the seconds until there is one more.

        Return -1 as the number if there was no token, and None if Redis can't count now.
        """
        now = monotonic()
        if self._has_failed:
            if now < self._pauses_until:
                return None
            self._pauses_until = now + _PAUSE_S  # only this request tries
        fill_us = window_s * 1_000_000
        try:
            taken = await self._commands.send(
                "EVAL", _TAKE, 1, self._prefix + key, f"{fill_us / quota:.17g}", fill_us
            )
        except self._commands.failures as error:
            self._fail(error)
            return None
        self._has_failed = False
        assert isinstance(taken, list)
        left, next_s = taken
        return int(left), int(next_s)

    async def aclose(self) -> None:
        """Close the connections that were made for a URL; the next request makes new ones."""
        await self._commands.aclose()

    def _fail(self, error: Exception) -> None:
        self._has_failed, self._pauses_until = True, monotonic() + _PAUSE_S
        if self._outages.permits():
            _log.error(
                "Redis failed, so each process counts for itself in RateLimit: %s: %s",
                type(error).__name__,
                error,
            )
