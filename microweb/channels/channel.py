"""Channels: a message published to a name reaches all subscribers of that name, in one order.

    channels = Channels(history=100)

    await channels["room:1"].publish({"text": "hello"})
    return Response.events(channels["room:1"].subscribe(last_event_id=request.last_event_id))

A `Channel` is only a name. Each event loop makes its own state for the name at the first use, and
drops it with the last subscriber: see `microweb.channels.topic`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Protocol
from weakref import WeakKeyDictionary

from ..concurrency.subscribers import note_subscribers
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
    """The methods of a WebSocket that `forward` calls."""

    async def open(self) -> None:
        """Make the handshake, unless it is made. Raises: ClientDisconnected."""

    async def send_frame(self, frame: bytes) -> None:
        """Send a whole frame. Raises: ClientDisconnected if the socket is closed."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the socket, unless it is closed."""

    def pushing(self) -> AbstractContextManager[None]:
        """Mark a block in which the endpoint only sends, unless it receives there."""


def _count_subscribers(hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub]) -> int:
    topics = [topic for hub in hubs.values() for topic in hub.topics.values()]
    return sum(len(topic.subscriptions) for topic in topics)


class Channels:
    """Channels by name, made when they are used: `channels["room:1"]`.

    Each channel keeps its last `history` messages, so that a client that reconnects with its last
    event id gets the messages that it missed. `broker` carries the messages: by default within this
    process, with `RedisBroker` between processes, which needs `app.lifespan(channels.life)`.
    Publishers wait at most `wait_s` for subscribers with the policy "wait". `json_default` converts
    values that JSON doesn't know.

    `len()` and iteration cover the channels that have a subscriber in this process. A name that
    UTF-8 can't encode raises ValueError; a client's JSON can contain one.
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
                "channels = Channels(), then channels[name] for one channel"
            )
        if history < 0:
            raise ConfigurationError(f"Channels: expected a history of at least 0, got {history!r}")
        self.history = history
        self.broker = MemoryBroker() if broker is None else broker
        self.wait_s = wait_s
        self.json_default = json_default
        self._hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()
        note_subscribers(self, partial(_count_subscribers, self._hubs))

    def __getitem__(self, name: str) -> Channel:
        name.encode()  # else an invalid name would stop the task that reads for all channels
        return Channel(self, name)

    def __len__(self) -> int:
        return len(self.hub.topics)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self.hub.topics))

    @property
    def hub(self) -> Hub:
        """Return the hub of the running loop. Raises: RuntimeError if it is not the app's loop."""
        loop = asyncio.get_running_loop()
        hub = self._hubs.get(loop)
        if hub is None:
            if is_in_loop_of_its_own() or self._is_used_in_another_loop():
                raise RuntimeError(
                    "channels: expected the app's event loop, got another one, without "
                    "subscribers: in a thread write from_thread(channel.publish(message)), without "
                    "asyncio.run; for separate channels write `async with channels.life():`"
                )
            hub = self._hubs[loop] = Hub(self.broker, self.history)
        return hub

    def _is_used_in_another_loop(self) -> bool:
        hubs = list(self._hubs.items())
        return any(loop.is_running() and (hub.lives or hub.topics) for loop, hub in hubs)

    @asynccontextmanager
    async def life(self, app: object = None) -> AsyncIterator[None]:
        """Run the channels of this event loop until its end: `app.lifespan(channels.life)`.

        At its end all subscriptions of this loop end, and the broker's task and connections are
        closed. After that, subscribing raises BrokerUnavailable until `life` is entered again.
        Without an app, write `async with channels.life():`.
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
    """One channel. It is only a name: you need not create or remove it.

    `len()` is the number of its subscribers in this process.
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
        """Send a str, bytes or JSON value to all subscribers; return it as a message with an id.

        If a subscriber's queue is full, it waits a few turns of the event loop, in which the
        subscriber can take from the queue. It waits longer only for subscribers with the policy
        "wait", at most the channels' `wait_s` in all. Then it ends those that still have no room.
        Many subscribers get the message in several turns of the event loop, and one message at a
        time; a subscriber that is added meanwhile gets it too. If `publish` is cancelled, no
        subscriber gets the message, or all get it. In a plain `def`, write
        `from_thread(channel.publish(message))`.

        Raises: TypeError or ValueError for a value that can't be sent; BrokerUnavailable.
        """
        payload = encode_payload(message, self._channels.json_default)
        hub = self._channels.hub
        if self.name in hub.topics:
            await asyncio.sleep(0)  # else a loop of publishes would let no subscriber run
        topic = hub.topics.get(self.name)
        if topic is None or topic.is_open:
            id = await hub.link.publish(self.name, payload)
        else:
            async with topic.admission(self._channels.wait_s):
                id = await hub.link.publish(self.name, payload)
        if topic is not None:
            await topic.delivered()
        return Message(id, payload)

    def subscribe(
        self,
        *,
        last_event_id: str | None = None,
        replay: bool = False,
        queue: int = 100,
        policy: Policy = "disconnect",
    ) -> Subscription:
        """Return a subscription: `async with channel.subscribe() as messages: async for ...`.

        It begins with the kept messages after `last_event_id`. If that id is not known (any more),
        messages may be missing: it begins with a `Gap` and all kept messages. Without an id,
        `replay` begins with all kept messages, and no gap. New messages follow. At most `queue`
        messages wait for a slow subscriber. If there is one more, `policy` decides:

        - "disconnect": the subscription ends after the queued messages. An event stream ends too,
          so that the browser reconnects with its last event id and gets the rest from the history
        - "drop_oldest", "drop_newest": a `Gap` replaces the dropped messages
        - "wait": `publish` waits, at most `wait_s`; then as "disconnect"

        Entering it raises BrokerUnavailable. Raises: ConfigurationError for an unknown policy, a
        queue of less than 1, and "wait" if subscribers may be in another process.
        """
        if policy == "wait" and not self._channels.broker.is_local:
            raise ConfigurationError(
                'subscribe: the policy "wait" works in one process only, because a publisher '
                "can't wait for subscribers in another process: choose another policy"
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
        """Send the channel's messages to a WebSocket while the body of the `async with` runs.

        The options are those of `subscribe`. After subscribing it makes the handshake, unless that
        is made. If the policy ends the subscription, the socket is closed with 1013. If sending
        fails for another reason, it is closed with 1011, and the `async with` raises the error. A
        disconnect of the client is no error. A gap is sent as its JSON. When the server stops, an
        endpoint that has received nothing inside the block is cancelled immediately.
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
                    task.result()  # raise the error that closed the socket
                raise
            finally:
                task.cancel()
                await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    async def close(self) -> None:
        """End all subscriptions, in all processes, after their queued messages.

        The history keeps the published messages. Raises: BrokerUnavailable.
        """
        hub = self._channels.hub
        topic = hub.topics.get(self.name)
        await hub.link.end(self.name)
        if topic is not None:
            await topic.delivered()

    async def _enter(self) -> Topic:
        return await self._channels.hub.enter(self.name)


async def _send_all(messages: Subscription, socket: FrameSocket) -> None:
    try:
        async for message in messages:
            await socket.send_frame(message.encode_frame())
        if messages.is_full:
            await socket.close(_TRY_AGAIN_LATER, "too slow")
    except ClientDisconnected:
        pass  # the body gets the same error when it receives
    except Exception:  # raised again, after the client knows
        await socket.close(_INTERNAL_ERROR)
        raise
