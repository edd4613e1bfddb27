"""Channels: what is published to a name reaches all who are subscribed to it, in one order.

    channels = Channels(history=100)

    await channels["room:1"].publish({"text": "hello"})
    return Response.events(channels["room:1"].subscribe(last_event_id=request.last_event_id))

A `Channel` is but a name; what belongs to an event loop is made at the first use there, and gone
when nothing needs it: see `microweb.channels.topic`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Protocol
from weakref import WeakKeyDictionary

from ..concurrency.threads import is_in_loop_of_its_own
from ..errors import ClientDisconnected, ConfigurationError
from ..remedies import names_keywords
from .broker import Broker
from .memory import MemoryBroker
from .message import Message, encode_payload
from .subscription import Policy, Subscription
from .topic import Hub, Topic

_TRY_AGAIN_LATER = 1013  # of the registry that RFC 6455 section 11.7 began
_INTERNAL_ERROR = 1011


class FrameSocket(Protocol):
    """A WebSocket, as far as `forward` speaks to it."""

    async def open(self) -> None:
        """Make the handshake if nothing has made it yet. Raises: ClientDisconnected."""

    async def send_frame(self, frame: bytes) -> None:
        """Send a whole frame. Raises: ClientDisconnected once the socket is closed."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it, or do nothing where it is closed."""

    def pushing(self) -> AbstractContextManager[None]:
        """Say that the endpoint sends, and may wait without receiving, inside the block."""


class Channels:
    """Channels by their names, made when they are used: `channels["room:1"]`.

    `history` messages of each are kept, so that a client that reconnects with the id of the last
    it saw gets what it missed. `broker` carries them: by default within this process, by
    `RedisBroker` between all; then `app.lifespan(channels.life)` is needed. Publishers wait at most
    `wait_s` for subscribers whose policy is "wait". `json_default` is asked for what JSON doesn't
    know.

    `len()` and iteration are over the channels that have a subscriber in this process. A name that
    UTF-8 can't hold, as JSON from a client may, is a ValueError.
    """

    @names_keywords
    def __init__(
        self,
        history: int = 0,
        broker: Broker | None = None,
        *,
        wait_s: float = 5.0,
        json_default: Callable[[object], object] | None = None,
    ) -> None:
        if isinstance(history, str):
            raise ConfigurationError(
                f"Channels: expected a history of at least 0, got {history!r:.80}: write "
                "channels = Channels(), and channels[name] for the channel of a name"
            )
        if history < 0:
            raise ConfigurationError(f"Channels: expected a history of at least 0, got {history!r}")
        self.history = history
        self.broker = MemoryBroker() if broker is None else broker
        self.wait_s = wait_s
        self.json_default = json_default
        self._hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()

    def __getitem__(self, name: str) -> Channel:
        name.encode()  # here it is this caller's fault; later it would be the reader's, and all's
        return Channel(self, name)

    def __len__(self) -> int:
        return len(self.hub.topics)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self.hub.topics))

    @property
    def hub(self) -> Hub:
        """What belongs to the running loop. Raises: RuntimeError in a loop beside the app's."""
        loop = asyncio.get_running_loop()
        hub = self._hubs.get(loop)
        if hub is None:
            if is_in_loop_of_its_own() or self._is_used_elsewhere():
                raise RuntimeError(
                    "channels: nobody is subscribed in this event loop, which is not the app's: "
                    "from a thread write from_thread(channel.publish(message)), without "
                    "asyncio.run; for channels of this loop's own: `async with channels.life():`"
                )
            hub = self._hubs[loop] = Hub(self.broker, self.history)
        return hub

    def _is_used_elsewhere(self) -> bool:
        hubs = list(self._hubs.items())
        return any(loop.is_running() and (hub.lives or hub.topics) for loop, hub in hubs)

    @asynccontextmanager
    async def life(self, app: object = None) -> AsyncIterator[None]:
        """Own what channels need from start to end: `app.lifespan(channels.life)`.

        At its end all subscribers of this loop are ended, and the broker's task and connections
        are closed. From then on subscribing raises BrokerUnavailable, until another life begins.
        Elsewhere than in an app: `async with channels.life():`.
        """
        loop = asyncio.get_running_loop()
        hub = self._hubs.get(loop)
        if hub is None or hub.is_over:
            hub = self._hubs[loop] = Hub(self.broker, self.history)
        hub.lives += 1
        try:
            await hub.link.start()
            yield
        finally:
            hub.lives -= 1
            if not hub.lives:
                await hub.aclose()


class Channel:
    """One channel, which is its name: there is nothing to make or to remove.

    `len()` is how many subscribers it has in this process.
    """

    __slots__ = ("_channels", "name")

    def __init__(self, channels: Channels, name: str) -> None:
        self._channels = channels
        self.name = name

    def __repr__(self) -> str:
        return f"Channel({self.name!r})"

    def __len__(self) -> int:
        topic = self._channels.hub.topics.get(self.name)
        return 0 if topic is None else len(topic.subscriptions)

    async def publish(self, message: object) -> Message:
        """Send a str, bytes, or what JSON takes to all subscribers; return it with its id.

        Where it is cancelled, nothing was published; by a broker elsewhere, perhaps. If a
        subscriber has a full queue it waits a few turns of the loop, in which that one can take
        from it. It waits longer only for subscribers with the policy "wait", at most the channels'
        `wait_s` in all: one that has not made room by then is ended. From a plain `def`:
        `from_thread(channel.publish(message))`.

        Raises: TypeError or ValueError for what can't be sent; BrokerUnavailable.
        """
        payload = encode_payload(message, self._channels.json_default)
        hub = self._channels.hub
        if self.name in hub.topics:
            await asyncio.sleep(0)  # a publisher in a loop lets subscribers have their turn
        topic = hub.topics.get(self.name)
        if topic is None or topic.is_open:
            return Message(await hub.link.publish(self.name, payload), payload)
        async with topic.admission(self._channels.wait_s):
            return Message(await hub.link.publish(self.name, payload), payload)

    def subscribe(
        self,
        *,
        last_event_id: str | None = None,
        replay: bool = False,
        queue: int = 100,
        policy: Policy = "disconnect",
    ) -> Subscription:
        """Return a subscription: `async with channel.subscribe() as messages: async for ...`.

        It begins with what is kept of the messages after `last_event_id`, with a `Gap` before them
        where that is not known (any more), so that some may be missing; then come new ones. Without
        that id `replay` begins with all that is kept, and no gap. At most
        `queue` wait for a subscriber that is slow. When one more comes, `policy` decides:

        - "disconnect": the subscription ends after what waits; an event stream ends, so that the
          browser comes back with the id of the last event, and gets the rest from the history
        - "drop_oldest", "drop_newest": a `Gap` stands where messages were dropped
        - "wait": `publish` waits, at most `wait_s`; then as "disconnect"

        Entering raises BrokerUnavailable. Raises: ConfigurationError for another policy, a queue of
        less than 1, and "wait" where subscribers may be in another process.
        """
        if policy == "wait" and not self._channels.broker.is_local:
            raise ConfigurationError(
                'subscribe: the policy "wait" is for channels in one process: nobody can wait for '
                "subscribers that are elsewhere"
            )
        return Subscription(self._enter, last_event_id, replay, queue, policy)

    @asynccontextmanager
    async def forward(
        self,
        socket: FrameSocket,
        *,
        last_event_id: str | None = None,
        replay: bool = False,
        queue: int = 100,
        policy: Policy = "disconnect",
    ) -> AsyncIterator[Subscription]:
        """Send what is published to a WebSocket while the body runs: `async with`.

        The options are those of `subscribe`. Once subscribed it makes the handshake, unless that is
        made. Where the policy ends the subscription, the socket is
        closed with 1013; where sending fails otherwise, with 1011, and the error comes out of the
        `async with`. A client that leaves is no error. A gap is sent as its JSON. When the server
        stops, an endpoint that has received nothing inside the block is cancelled at once.
        """
        subscription = self.subscribe(
            last_event_id=last_event_id, replay=replay, queue=queue, policy=policy
        )
        async with subscription as messages:
            await socket.open()
            task = asyncio.create_task(_send_all(messages, socket), name=f"forward {self.name}")
            try:
                with socket.pushing():
                    yield messages
            except ClientDisconnected:
                if task.done() and not task.cancelled():
                    task.result()  # what has closed the socket
                raise
            finally:
                task.cancel()
                await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    async def close(self) -> None:
        """End all subscribers, in all processes: their iterations end after what waits.

        What was published is still in the history. Raises: BrokerUnavailable.
        """
        await self._channels.hub.link.end(self.name)

    async def _enter(self) -> Topic:
        return await self._channels.hub.enter(self.name)


async def _send_all(messages: Subscription, socket: FrameSocket) -> None:
    try:
        async for message in messages:
            await socket.send_frame(message.encode_frame())
        if messages.is_full:
            await socket.close(_TRY_AGAIN_LATER, "too slow")
    except ClientDisconnected:
        pass  # the body hears of it where it reads
    except Exception:
        await socket.close(_INTERNAL_ERROR)
        raise
