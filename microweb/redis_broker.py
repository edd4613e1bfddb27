"""The broker between processes and machines: Redis 6.2 or newer.

A channel is a stream in Redis, which gives ids and order and keeps the last messages, and a name to
subscribe to, by which a new entry is told. One script does both, so that all processes hear
the entries in the stream's order. Telling reaches only connections that are there. Therefore a
process asks the stream for what came after its last entry each time that Redis confirms a
subscription: the first, and those after a connection was lost. If that last entry is gone, so is
what came after it, and a gap is told.

The connection that hears is one per process, whatever the number of channels, and is read by one
task, from the first subscriber to the end of `channels.life`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from .brokers import Link, Receiver
from .errors import BrokerUnavailable, ConfigurationError, MissingExtra
from .messages import Entry

try:
    import redis.asyncio
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError, ResponseError
except ImportError as error:
    raise MissingExtra("microweb.redis_broker", "redis") from error

_log = logging.getLogger("microweb.error")

_TIMEOUT_S = 5.0  # for Redis to connect, and to answer
_SILENCE_S = 10.0  # then the connection that hears is asked whether it lives
_PAUSE_S = 0.05, 1.0  # before it is made anew: doubled each time up to the second
_CONNECTIONS = 16  # that publish at once; others wait for one
_NAMES_AT_ONCE = 500

# To all: KEYS[1] the stream, which is the name to subscribe to as well.
# A stream begins with an entry that is no message, so that there always is a last one to ask for.
_BEGIN = """
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('XADD', KEYS[1], '*', 'b', '') end
redis.call('EXPIRE', KEYS[1], ARGV[1])
"""
_PUBLISH = (
    _BEGIN
    + """
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'm', ARGV[3])
redis.call('PUBLISH', KEYS[1], id .. ' ' .. ARGV[3])
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
local last = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])
if #last == 1 then return {1, redis.call('XRANGE', KEYS[1], '(' .. ARGV[2], '+')} end
return {0, redis.call('XRANGE', KEYS[1], '-', '+')}
"""
)
_KEEP = "for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[1]) end"


class RedisBroker:
    """Messages between all processes that use the same Redis: `Channels(100, RedisBroker(url))`.

    `url` is such as `redis://localhost:6379/0`, of one server, not a cluster. Keys begin with
    `prefix`. At least `backlog` messages of a channel are kept in Redis, whatever the history, for
    processes that lost their connection for a while. A channel that nobody has used for `expire_s`
    is removed from Redis.

    While Redis does not answer, publishing and subscribing raise `BrokerUnavailable` within 5 s;
    those who are subscribed stay, and go on where they were. Raises: ConfigurationError.
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
        self.prefix = prefix
        self.backlog = backlog
        self.expire_s = expire_s
        self._url = url

    def connect(self, receiver: Receiver, history: int) -> Link:
        """Return a link for the running loop."""
        return RedisLink(self, receiver, history)

    def new_client(self) -> Any:  # redis types but some of its methods
        """Return a client that tries once: what was published may not be published twice.

        Its users set the deadlines: the client's own cost a task each time that it sends.
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
    """Set once a channel is received, or Redis has refused that."""

    refusal: BrokerUnavailable | None = None


class RedisLink:
    """The connections of one loop to Redis, and the task that reads what is told."""

    def __init__(self, broker: RedisBroker, receiver: Receiver, history: int) -> None:
        self._broker = broker
        self._receiver = receiver
        self._history = history
        self._client: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._connection: Any = None  # the one that hears, while it is there
        self._is_lost = False
        self._opened: dict[str, _Opening] = {}  # by the stream's key: all that is wanted
        self._last: dict[str, str] = {}  # the id of the last entry that was received
        self._overlapping: set[str] = set()  # what is told next may have been received already

    # --- the link

    async def start(self) -> None:
        """Begin; connections are made when they are needed."""
        if self._client is None:
            self._client = self._broker.new_client()

    async def aclose(self) -> None:
        """End the task and close all connections."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])
        client, self._client = self._client, None
        self._opened.clear()
        if client is not None:
            await client.aclose()
            await client.connection_pool.disconnect()

    async def publish(self, name: str, payload: bytes) -> str:
        """Publish, and return the id. Raises: BrokerUnavailable."""
        kept = max(self._history, self._broker.backlog) + 1
        id = await self._run(_PUBLISH, self._key(name), kept, payload)
        return text_of(id)

    async def open(self, name: str) -> None:
        """Receive a channel. Raises: BrokerUnavailable."""
        self._started()
        key = self._key(name)
        opened = self._opened.get(key)
        if opened is None:
            opened = self._opened[key] = _Opening()
            await self._tell("SUBSCRIBE", key)
        if self._reader is None:
            self._reader = asyncio.create_task(self._read(), name="channels: Redis")
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await opened.wait()
        except TimeoutError as error:
            raise BrokerUnavailable("channels: Redis did not answer a subscription") from error
        if opened.refusal is not None:
            raise opened.refusal

    async def close(self, name: str) -> None:
        """Receive it no longer."""
        key = self._key(name)
        if self._opened.pop(key, None) is not None:
            self._last.pop(key, None)
            self._overlapping.discard(key)
            await self._tell("UNSUBSCRIBE", key)

    async def end(self, name: str) -> None:
        """Have all receivers hear `end(name)`. Raises: BrokerUnavailable."""
        await self._run("return redis.call('PUBLISH', KEYS[1], ' ')", self._key(name))

    # --- asking

    def _key(self, name: str) -> str:
        return self._broker.prefix + name

    def _name(self, key: str) -> str:
        return key.removeprefix(self._broker.prefix)

    def _started(self) -> Any:
        if self._client is None:
            raise ConfigurationError(
                "channels with a RedisBroker live as long as their app: "
                "app.lifespan(channels.life), or elsewhere `async with channels.life():`"
            )
        return self._client

    async def _run(self, script: str, key: str, *arguments: object) -> Any:
        """Run a script on one stream. Raises: BrokerUnavailable."""
        client = self._started()
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await client.execute_command(
                    "EVAL", script, 1, key, self._broker.expire_s, *arguments
                )
        except (RedisError, OSError, TimeoutError) as error:
            raise BrokerUnavailable(f"channels: Redis: {type(error).__name__}: {error}") from error

    # --- hearing

    async def _tell(self, *command: str) -> None:
        """Send a command by the connection that hears, if it is there; at once, at the first step.

        It has been sent even where waiting is cancelled, which then costs that connection.
        """
        if self._connection is not None and self._connection.is_connected:
            with suppress(RedisError, OSError):  # whoever reads there hears of it, and begins anew
                await self._connection.send_command(*command, check_health=False)

    async def _read(self) -> None:
        """Read what is told until the link is closed, by one connection after the other."""
        pause, longest = _PAUSE_S
        while True:
            try:
                await self._listen()
            except (RedisError, OSError, BrokerUnavailable) as error:
                pause = _PAUSE_S[0] if not self._is_lost else min(2 * pause, longest)
                self._lose(error)
            except Exception:  # such as what somebody else has written there
                pause = longest
                _log.exception("channels: can't read what Redis tells, trying again")
            await asyncio.sleep(pause)

    def _lose(self, error: Exception) -> None:
        if not self._is_lost:
            self._is_lost = True
            _log.warning("channels: lost Redis, trying again: %s: %s", type(error).__name__, error)

    def _find(self) -> None:
        if self._is_lost:
            self._is_lost = False
            _log.warning("channels: Redis is back")

    async def _listen(self) -> None:
        connection = self._started().connection_pool.make_connection()
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await connection.connect()
                self._connection = connection
                for keys in batches(tuple(self._opened)):
                    await connection.send_command("SUBSCRIBE", *keys, check_health=False)
                await connection.send_command("PING", check_health=False)
            await self._hear_all(connection)
        finally:
            self._connection = None
            await connection.disconnect(nowait=True)

    async def _hear_all(self, connection: Any) -> None:
        kept_at, is_asked = monotonic(), False
        while True:
            answer = await connection.read_response(
                timeout=_SILENCE_S, disconnect_on_error=False, push_request=True
            )
            if answer is not None:
                await self._hear(answer)
                self._find()  # not before: one that still loads its data lets us connect
            elif is_asked:
                raise ConnectionError("it is silent")
            else:
                await connection.send_command("PING", check_health=False)
            is_asked = answer is None
            if monotonic() - kept_at > self._broker.expire_s / 3:
                kept_at = monotonic()
                await self._keep()

    async def _hear(self, answer: Any) -> None:
        if not isinstance(answer, list) or len(answer) != 3:
            return  # it lives
        kind, key = text_of(answer[0]), text_of(answer[1])
        if kind == "message" and key in self._opened:
            self._take(key, answer[2])
            await asyncio.sleep(0)  # of many that came at once, subscribers take one after another
        elif kind == "subscribe" and key in self._opened:
            await self._catch_up(key)
        elif kind in ("message", "subscribe"):
            await self._tell("UNSUBSCRIBE", key)

    def _take(self, key: str, told: bytes) -> None:
        id, _, payload = told.partition(b" ")
        if not id:
            self._receiver.end(self._name(key))
        elif key in self._last:
            self._pass_on(key, Entry(id.decode(), payload))

    def _pass_on(self, key: str, entry: Entry) -> None:
        number = number_of(entry.id)
        if key in self._overlapping:
            if number <= number_of(self._last[key]):
                return
            self._overlapping.discard(key)
        self._last[key] = entry.id
        self._receiver.receive(self._name(key), entry)

    async def _catch_up(self, key: str) -> None:
        """Take from the stream what came since the last entry; from now on the rest is told.

        What Redis refuses for one key (its type, its size) is no fault of the connection.
        """
        try:
            await self._take_missed(key)
        except BrokerUnavailable as error:
            if not isinstance(error.__cause__, ResponseError):
                raise
            await self._refuse(key, error)

    async def _refuse(self, key: str, refusal: BrokerUnavailable) -> None:
        if key in self._last:  # who is subscribed stays: what is told from now on is received
            _log.warning("channels: %r: messages may be lost: %s", self._name(key)[:80], refusal)
            self._overlapping.add(key)
            self._receiver.miss(self._name(key))
        elif (opened := self._opened.pop(key, None)) is not None:
            opened.refusal = refusal
            opened.set()
            await self._tell("UNSUBSCRIBE", key)

    async def _take_missed(self, key: str) -> None:
        last = self._last.get(key)
        if last is None:
            found = await self._run(_LATEST, key, self._history + 1)
            self._begin(key, [entry_of(each) for each in reversed(found)])
            return
        is_known, found = await self._run(_SINCE, key, last)
        entries = [entry_of(each) for each in found]
        if key not in self._opened:
            return
        if not is_known:
            self._receiver.miss(self._name(key))
        for entry in entries:
            if self._last.get(key) is None:
                return
            self._last[key] = entry.id
            if entry.payload is not None:
                self._receiver.receive(self._name(key), entry)
                await asyncio.sleep(0)
        self._overlapping.add(key)

    def _begin(self, key: str, entries: Sequence[Entry]) -> None:
        if key in self._opened:  # nobody has left meanwhile
            self._last[key] = entries[-1].id
            self._overlapping.add(key)
            self._receiver.begin(self._name(key), entries)
            self._opened[key].set()

    async def _keep(self) -> None:
        """Have Redis keep what somebody is subscribed to, though nobody publishes."""
        for keys in batches(tuple(self._opened)):
            async with asyncio.timeout(_TIMEOUT_S):
                await self._started().execute_command(
                    "EVAL", _KEEP, len(keys), *keys, self._broker.expire_s
                )


def batches(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the keys, so many at once that a command with them is not too large."""
    for start in range(0, len(keys), _NAMES_AT_ONCE):
        yield keys[start : start + _NAMES_AT_ONCE]


def entry_of(found: Any) -> Entry:
    """Return an entry of a stream: its id, and its only field with a value."""
    id, (field, value, *_) = found
    return Entry(text_of(id), value if field == b"m" else None)


def text_of(value: Any) -> str:
    """Return a word of Redis."""
    return value.decode() if isinstance(value, bytes) else str(value)


def number_of(id: str) -> tuple[int, int]:
    """Return what an id of a stream is ordered by. Raises: ValueError for another id."""
    milliseconds, _, number = id.partition("-")
    return int(milliseconds), int(number)
