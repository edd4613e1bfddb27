"""The broker between processes and machines: Redis 6.2 or newer.

A channel is a stream and a Pub/Sub name in Redis. The stream gives ids and order, and keeps the
last messages. The Pub/Sub name announces new entries. It contains the number of the database,
because Redis sends announcements to subscribers in all databases. One script adds an entry and
announces it, so that all processes receive entries in the stream's order.

Announcements reach only open connections. So each time that Redis confirms a subscription, at first
and after a lost connection, the process reads the entries after its last one from the stream. If
that last entry is gone, so may be entries after it, and subscribers get a gap.

Each process has one connection for announcements (`channels.redis_listener`), for any number of
channels. One task reads it, from the first subscriber to the end of `channels.life`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any

from ..concurrency.throttle import Throttle
from ..errors import BrokerUnavailable, ConfigurationError, MissingExtra
from ..logs import Log
from ..sessions.redis_urls import check_redis_url
from .broker import Link, Receiver
from .message import Entry, checked_payload
from .redis_listener import RedisListener, batches, text_of

try:
    import redis.asyncio
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError, ResponseError
except ImportError as error:
    raise MissingExtra("microweb.channels.redis", "redis") from error

_log = Log("microweb.error")

_TIMEOUT_S = 5.0  # for Redis to connect, and to answer
_PAUSE_S = 0.05, 1.0  # before a new connection: doubled each time, up to the second value
_CONNECTIONS = 16  # that publish at the same time; other publishers wait for one
_TURN_S = 0.005  # of reading announcements, then other tasks have their turn

# In all scripts, KEYS[1] is the stream and ARGV[1] the number of seconds until it expires.
# A stream begins with an entry that is not a message, so that it always has a last entry.
_BEGIN = """
if redis.call('XLEN', KEYS[1]) == 0 then redis.call('XADD', KEYS[1], '*', 'b', '') end
redis.call('EXPIRE', KEYS[1], ARGV[1])
"""
_PUBLISH = (
    _BEGIN
    + """
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'm', ARGV[4])
redis.call('PUBLISH', ARGV[2], id .. ' ' .. ARGV[4])
return id
"""
)
_LATEST = (
    _BEGIN
    + """
return redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[2])
"""
)
_SINCE = (
    _BEGIN
    + """
local known = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])
local latest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
return {#known, redis.call('XRANGE', KEYS[1], '(' .. ARGV[2], '+'), latest[1][1]}
"""
)
_END = "return redis.call('PUBLISH', ARGV[2], ' ')"
_KEEP = "for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[1]) end"


class RedisBroker:
    """The broker of all processes that use the same Redis: `Channels(100, RedisBroker(url))`.

    `url` is the URL of one server, not of a cluster, such as `redis://localhost:6379/0`. Keys begin
    with `prefix`, and so do Pub/Sub names, such as `channel:0:lobby`. Redis keeps at least
    `backlog` messages of a channel, even with a shorter history, for processes that lost their
    connection for a while. Redis removes a channel that is not used for `expire_s`.

    While Redis does not answer, publishing and subscribing raise `BrokerUnavailable`, a 503, within
    5 s, and the log gives the reason once a minute. Subscriptions stay, and continue after the
    last message that they got. Raises: ConfigurationError for an invalid argument or URL.
    """

    is_local = False

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "channel:",
        backlog: int = 1000,
        expire_s: int = 3600,
    ) -> None:
        if backlog < 1 or expire_s < 60:
            raise ConfigurationError(
                "RedisBroker: expected a backlog of at least 1 and an expire_s of at least 60, "
                f"got {backlog} and {expire_s}"
            )
        check_redis_url("RedisBroker", url)
        self.prefix = prefix
        self.backlog = backlog
        self.expire_s = expire_s
        self._url = url

    def connect(self, receiver: Receiver, history: int) -> Link:
        """Return a link for the running loop."""
        return RedisLink(self, receiver, history)

    def new_client(self) -> Any:  # redis has types for some of its methods only
        """Return a client that tries once, because a retry could publish a message twice.

        Its callers set the deadlines: the client's own deadlines cost a task for each command.
        """
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            self._url,
            max_connections=_CONNECTIONS,
            timeout=_TIMEOUT_S,
            socket_timeout=None,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        return redis.asyncio.Redis.from_pool(pool)


class _Opening(asyncio.Event):
    """Set when a channel is received, or when Redis has refused to send it."""

    refusal: BrokerUnavailable | None = None

    def refuse(self, refusal: BrokerUnavailable) -> None:
        """End all waits for this channel by an error."""
        self.refusal = refusal
        self.set()


class RedisLink:
    """The connections of one event loop to Redis, and the task that reads announcements."""

    def __init__(self, broker: RedisBroker, receiver: Receiver, history: int) -> None:
        self._broker = broker
        self._receiver = receiver
        self._history = history
        self._client: Any = None
        self._pubsub_prefix = ""  # of Pub/Sub names, set by `start`
        self._listener = RedisListener(self, "")
        self._reader: asyncio.Task[None] | None = None
        self._is_lost = False
        self._outage_is_logged = False
        self._outages = Throttle()  # else each client that reconnects would cause a log line
        self._refusals = Throttle()
        self._opened: dict[str, _Opening] = {}  # all channels to receive
        self._last: dict[str, str] = {}  # name -> id of the last entry received
        self._overlapping: set[str] = set()  # the next announcements may be known from the stream
        self._turn_ends_at = 0.0
        self._kept_at = monotonic()

    # --- the link

    async def start(self) -> None:
        """Start the link; connections are made when they are needed."""
        if self._client is None:
            self._client = self._broker.new_client()
            number = self._client.connection_pool.connection_kwargs.get("db") or 0
            self._pubsub_prefix = f"{self._broker.prefix}{number}:"
            self._listener = RedisListener(self, self._pubsub_prefix)

    async def aclose(self) -> None:
        """End the task and close all connections."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])
        client, self._client = self._client, None
        for opened in self._opened.values():
            opened.refuse(BrokerUnavailable())
        self._opened.clear()
        if client is not None:
            await client.aclose()
            await client.connection_pool.disconnect()

    async def publish(self, name: str, payload: bytes) -> str:
        """Publish a payload and return its id. Raises: BrokerUnavailable."""
        kept = max(self._history, self._broker.backlog) + 1
        id = await self._run(_PUBLISH, name, self._pubsub_prefix + name, kept, payload)
        return text_of(id)

    async def open(self, name: str) -> None:
        """Start to receive a channel. Raises: BrokerUnavailable."""
        self._started()
        opened = self._opened.get(name)
        if opened is None:
            opened = self._opened[name] = _Opening()
            await self._listener.subscribe(name)
        if self._reader is None:
            self._reader = asyncio.create_task(self._read(), name="channels: Redis")
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await opened.wait()
        except TimeoutError as error:
            self._log_outage(error)
            raise BrokerUnavailable from error
        if opened.refusal is not None:
            raise opened.refusal

    async def close(self, name: str) -> None:
        """Stop receiving a channel."""
        if self._forget(name) is not None:
            await self._listener.unsubscribe(name)

    async def end(self, name: str) -> None:
        """Call `end(name)` of all receivers. Raises: BrokerUnavailable."""
        await self._run(_END, name, self._pubsub_prefix + name)

    def _forget(self, name: str) -> _Opening | None:
        self._last.pop(name, None)
        self._overlapping.discard(name)
        return self._opened.pop(name, None)

    # --- commands

    def _started(self) -> Any:
        if self._client is None:
            raise ConfigurationError(
                "channels: expected a running RedisBroker: write app.lifespan(channels.life), or "
                "without an app `async with channels.life():`"
            )
        return self._client

    async def _run(self, script: str, name: str, *arguments: object) -> Any:
        """Run a script on the stream of a channel. Raises: BrokerUnavailable."""
        client = self._started()
        key = self._broker.prefix + name
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                found = await client.execute_command(
                    "EVAL", script, 1, key, self._broker.expire_s, *arguments
                )
        except ResponseError as error:
            if self._refusals.permits():
                _log.warning("channels: Redis refuses %r: %s", name[:80], error)
            raise BrokerUnavailable from error
        except (RedisError, OSError, TimeoutError) as error:
            self._log_outage(error)
            raise BrokerUnavailable from error
        self._log_return()
        return found

    # --- announcements

    async def _read(self) -> None:
        """Read announcements until the link is closed, by a new connection if one is lost."""
        pause, longest = _PAUSE_S
        while True:
            try:
                await self._listener.listen(self._started().connection_pool.make_connection())
            except (RedisError, OSError, BrokerUnavailable) as error:
                pause = _PAUSE_S[0] if not self._is_lost else min(2 * pause, longest)
                self._is_lost = True
                if not isinstance(error, BrokerUnavailable):  # which is logged already
                    self._log_outage(error)
            except Exception:  # such as for data that another program has written
                pause = longest
                if self._refusals.permits():
                    _log.exception("channels: can't read a message from Redis, trying again")
            await asyncio.sleep(pause)

    def _log_outage(self, error: Exception) -> None:
        if self._outages.permits():
            self._outage_is_logged = True
            _log.warning("channels: lost Redis, trying again: %s: %s", type(error).__name__, error)

    def _log_return(self) -> None:
        if self._outage_is_logged:
            self._outage_is_logged = False
            _log.warning("channels: Redis is back")

    # --- callbacks of the listener

    @property
    def wanted(self) -> Sequence[str]:
        return tuple(self._opened)

    async def answered(self) -> None:
        self._is_lost = False
        self._log_return()  # not before: Redis accepts connections while it loads its data
        if monotonic() - self._kept_at > self._broker.expire_s / 3:
            self._kept_at = monotonic()
            await self._keep()

    async def subscribed(self, name: str) -> None:
        if name in self._opened:
            await self._catch_up(name)
        else:
            await self._listener.unsubscribe(name)

    def refused(self, name: str, refusal: ResponseError) -> None:
        was_received = name in self._last
        opened = self._forget(name)
        if was_received:  # else its subscribers would wait forever
            self._receiver.miss(name)
            self._receiver.end(name)
        if self._refusals.permits():
            _log.warning("channels: Redis refuses to subscribe to %r: %s", name[:80], refusal)
        if opened is not None:
            error = BrokerUnavailable()
            error.__cause__ = refusal
            opened.refuse(error)

    async def announced(self, name: str, content: bytes) -> None:
        if name not in self._opened:
            await self._listener.unsubscribe(name)
            return
        id, _, payload = content.partition(b" ")
        if not id:
            self._receiver.end(name)
        elif name in self._last:
            self._pass_on(name, Entry(id.decode(), checked_payload(payload)))
        await self._leave_turns(name)

    def _pass_on(self, name: str, entry: Entry) -> None:
        number = number_of(entry.id)
        if name in self._overlapping:
            if number <= number_of(self._last[name]):
                return
            self._overlapping.discard(name)
        self._last[name] = entry.id
        self._receiver.receive(name, entry)

    async def _leave_turns(self, name: str) -> None:
        """Let other tasks have their turns: after 5 ms, and while a queue is full."""
        while self._receiver.is_full(name) or monotonic() >= self._turn_ends_at:
            await asyncio.sleep(0)
            self._turn_ends_at = monotonic() + _TURN_S

    async def _catch_up(self, name: str) -> None:
        """Receive the entries after the last one from the stream; then announcements follow.

        If Redis refuses one key (its type, its size), the connection goes on for the others.
        """
        try:
            await self._take_missed(name)
        except BrokerUnavailable as error:
            if not isinstance(error.__cause__, ResponseError):
                raise
            await self._refuse(name, error)

    async def _refuse(self, name: str, refusal: BrokerUnavailable) -> None:
        if name in self._last:  # its subscribers stay, and receive announcements from now on
            self._overlapping.add(name)
            self._receiver.miss(name)
        elif (opened := self._forget(name)) is not None:
            opened.refuse(refusal)
            await self._listener.unsubscribe(name)

    async def _take_missed(self, name: str) -> None:
        last = self._last.get(name)
        if last is None:
            found = await self._run(_LATEST, name, self._history + 1)
            self._begin(name, [entry_of(each) for each in reversed(found)])
            return
        is_known, found, latest = await self._run(_SINCE, name, last)
        entries = [entry_of(each) for each in found]
        if name not in self._opened:
            return
        if not is_known:  # such as after a failover to a replica without that entry
            self._receiver.miss(name)
            self._receiver.begin(name, () if entries else (Entry(text_of(latest), None),))
        for entry in entries:
            if self._last.get(name) is None:
                return
            self._last[name] = entry.id
            if entry.payload is not None:
                self._receiver.receive(name, entry)
                await self._leave_turns(name)
        if name in self._last:
            self._last[name] = text_of(latest)
            self._overlapping.add(name)

    def _begin(self, name: str, entries: Sequence[Entry]) -> None:
        if name in self._opened:  # it was not closed meanwhile
            self._last[name] = entries[-1].id
            self._overlapping.add(name)
            self._receiver.begin(name, entries)
            self._opened[name].set()

    async def _keep(self) -> None:
        """Renew the expiry of all subscribed channels, which may get no messages."""
        for names in batches(tuple(self._last)):
            keys = [self._broker.prefix + name for name in names]
            async with asyncio.timeout(_TIMEOUT_S):
                await self._started().execute_command(
                    "EVAL", _KEEP, len(keys), *keys, self._broker.expire_s
                )


def entry_of(found: Any) -> Entry:
    """Return an entry of a stream: its id, and its only field with a value."""
    id, (field, value, *_) = found
    return Entry(text_of(id), checked_payload(value) if field == b"m" else None)


def number_of(id: str) -> tuple[int, int]:
    """Return the sort key of a stream's id. Raises: ValueError for another id."""
    milliseconds, _, number = id.partition("-")
    return int(milliseconds), int(number)
