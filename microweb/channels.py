"""Channels: what is published to a name reaches all who are subscribed to it, in one order.

    channels = Channels(history=100)

    await channels["room:1"].publish({"text": "hello"})
    return Response.events(channels["room:1"].subscribe(last_event_id=request.last_event_id))

A `Channel` is but a name; what belongs to an event loop (who is subscribed, what waits) is made at
the first use there, and gone when nothing needs it. Messages come from a broker in their order, and
each `_Topic` keeps the last ones, `history` of them: a subscriber that comes with the id of one is
given what followed, in the same step in which it begins to get new ones, so that none is lost,
doubled or out of order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol
from weakref import WeakKeyDictionary

from .brokers import Broker, MemoryBroker
from .errors import BrokerUnavailable, ClientDisconnected, ConfigurationError
from .messages import Entry, Gap, Message, encode_payload
from .subscriptions import Policy, Subscription
from .threads import is_in_loop_of_its_own

_TRY_AGAIN_LATER = 1013  # of the registry that RFC 6455 section 11.7 began
_INTERNAL_ERROR = 1011

# From a full queue to its policy. A task that takes a message by way of another task needs three.
_TURNS = 5


class FrameSocket(Protocol):
    """A WebSocket, as far as `forward` speaks to it."""

    async def open(self) -> None:
        """Make the handshake if nothing has made it yet. Raises: ClientDisconnected."""

    async def send_frame(self, frame: bytes) -> None:
        """Send a whole frame. Raises: ClientDisconnected once the socket is closed."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it, or do nothing where it is closed."""


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

    def __init__(
        self,
        history: int = 0,
        broker: Broker | None = None,
        *,
        wait_s: float = 5.0,
        json_default: Callable[[object], object] | None = None,
    ) -> None:
        if history < 0:
            raise ConfigurationError(f"Channels: expected a history of at least 0, got {history!r}")
        self.history = history
        self.broker = MemoryBroker() if broker is None else broker
        self.wait_s = wait_s
        self.json_default = json_default
        self._hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, _Hub] = WeakKeyDictionary()

    def __getitem__(self, name: str) -> Channel:
        name.encode()  # here it is this caller's fault; later it would be the reader's, and all's
        return Channel(self, name)

    def __len__(self) -> int:
        return len(self.hub.topics)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self.hub.topics))

    @property
    def hub(self) -> _Hub:
        """What belongs to the running loop. Raises: RuntimeError in a loop beside the app's."""
        loop = asyncio.get_running_loop()
        hub = self._hubs.get(loop)
        if hub is None:
            if is_in_loop_of_its_own() or self._is_used_elsewhere():
                raise RuntimeError(
                    "channels: nobody is subscribed in this event loop, which is not the app's: "
                    "from a thread write from_thread(channel.publish(message)), without asyncio.run"
                )
            hub = self._hubs[loop] = _Hub(self.broker, self.history)
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
            hub = self._hubs[loop] = _Hub(self.broker, self.history)
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
        `async with`. A client that leaves is no error. A gap is sent as its JSON.
        """
        subscription = self.subscribe(
            last_event_id=last_event_id, replay=replay, queue=queue, policy=policy
        )
        async with subscription as messages:
            await socket.open()
            task = asyncio.create_task(_send_all(messages, socket), name=f"forward {self.name}")
            try:
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

    async def _enter(self) -> _Topic:
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


class _Hub:
    """What is subscribed to on one event loop: the receiver of the broker's link."""

    def __init__(self, broker: Broker, history: int) -> None:
        self.topics: dict[str, _Topic] = {}
        self.lives = 0
        self.is_over = False  # its life has ended
        self._history = history
        self.link = broker.connect(self, history)

    async def enter(self, name: str) -> _Topic:
        """Return the channel, open, with one more user. Raises: BrokerUnavailable."""
        if self.is_over:
            raise BrokerUnavailable
        topic = self.topics.get(name)
        if topic is None:
            topic = self.topics[name] = _Topic(self, name, self._history)
        topic.users += 1
        try:
            await self.link.open(name)
        except BaseException:
            await self.leave(topic)
            raise
        return topic

    async def leave(self, topic: _Topic) -> None:
        """Forget the channel with its last user."""
        topic.users -= 1
        if not topic.users and self.topics.get(topic.name) is topic:
            del self.topics[topic.name]
            await self.link.close(topic.name)

    async def aclose(self) -> None:
        """End all subscribers, then the link; take no more."""
        self.is_over = True
        for name in self.topics:
            self.end(name)
        await self.link.aclose()

    # --- the link's receiver

    def begin(self, name: str, entries: Sequence[Entry]) -> None:
        if name in self.topics:
            self.topics[name].begin(entries)

    def receive(self, name: str, entry: Entry) -> None:
        if name in self.topics:
            self.topics[name].receive(entry)

    def miss(self, name: str) -> None:
        if name in self.topics:
            self.topics[name].miss()

    def end(self, name: str) -> None:
        if name in self.topics:
            self.topics[name].end()

    def is_full(self, name: str) -> bool:
        return name in self.topics and bool(self.topics[name].full)


class _Topic:
    """A channel that somebody on this loop is subscribed to."""

    def __init__(self, hub: _Hub, name: str, history: int) -> None:
        self.name = name
        self.users = 0  # who has entered, those that were ended and have not left too
        self.subscriptions: set[Subscription] = set()
        self.patient: set[Subscription] = set()  # those for whom publishers wait
        self.full: dict[Subscription, int] = {}  # full queues, and the turns they had since
        self._turn: asyncio.Handle | None = None  # the next one, if it is waited for
        self._line: deque[asyncio.Future[None]] = deque()  # publishers, until there is room
        self._first = asyncio.Lock()  # of the publishers that wait for `patient`, in their order
        self._room: asyncio.Future[None] | None = None
        self._hub = hub
        self._history = history
        self._kept: deque[Message] = deque()
        self._before: str | None = None  # the id that comes before what is kept
        self._snapshots: dict[
            bool, tuple[Message, ...]
        ] = {}  # of what is kept, behind a gap or not

    # --- what comes from the broker

    def begin(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._keep(entry)

    def receive(self, entry: Entry) -> None:
        message = self._keep(entry)
        if message is not None:
            self._offer(message)

    def miss(self) -> None:
        self._kept.clear()  # what was before is not what comes before the next
        self._before = None
        self._snapshots.clear()
        self._offer(Gap(None))

    def end(self) -> None:
        for subscription in self.subscriptions:
            subscription.end()
        self.subscriptions.clear()
        self.patient.clear()
        self.full.clear()

    def _keep(self, entry: Entry) -> Message | None:
        self._snapshots.clear()
        if entry.payload is None:
            self._before = entry.id if not self._kept else self._before
            return None
        message = Message(entry.id, entry.payload)
        self._kept.append(message)
        if len(self._kept) > self._history:
            self._before = self._kept.popleft().id
        return message

    def _offer(self, message: Message) -> None:
        ended = [each for each in self.subscriptions if not each.offer(message)]
        for subscription in ended:
            self._drop(subscription)

    def _drop(self, subscription: Subscription) -> None:
        self.subscriptions.discard(subscription)
        self.patient.discard(subscription)
        self.full.pop(subscription, None)

    # --- what subscriptions ask

    @property
    def position(self) -> str | None:
        """The id of the last message that was published."""
        return self._kept[-1].id if self._kept else self._before

    def history(self) -> tuple[Message, ...]:
        """Return all messages that are kept."""
        return self._snapshot(behind_gap=False)

    def since(self, id: str) -> tuple[tuple[Message, ...], int]:
        """Return what is kept, and from which of it on is what came after `id`."""
        if id == self._before:
            return self._snapshot(behind_gap=False), 0
        for back, message in enumerate(reversed(self._kept)):
            if message.id == id:
                return self._snapshot(behind_gap=False), len(self._kept) - back
        return self._snapshot(behind_gap=True), 0

    def _snapshot(self, *, behind_gap: bool) -> tuple[Message, ...]:
        """Return what is kept, the same tuple for all who ask before the next message."""
        if behind_gap not in self._snapshots:
            gap = (Gap(None, "" if self._kept else self._before or ""),) if behind_gap else ()
            self._snapshots[behind_gap] = (*gap, *self._kept)
        return self._snapshots[behind_gap]

    def enter(self, subscription: Subscription) -> None:
        """Begin to offer messages."""
        self.subscriptions.add(subscription)
        if subscription.wants_waiting:
            self.patient.add(subscription)

    async def leave(self, subscription: Subscription) -> None:
        """Offer it no more messages."""
        self._drop(subscription)
        await self._hub.leave(self)

    # --- publishers that wait

    @property
    def is_open(self) -> bool:
        """Whether nobody need be waited for, and no publisher waits."""
        return not (self.full or self.patient or self._line)

    @asynccontextmanager
    async def admission(self, wait_s: float) -> AsyncIterator[None]:
        """Wait until a message can be published, which is done in the block."""
        if self.full or self._line:
            publisher = asyncio.get_running_loop().create_future()
            self._line.append(publisher)
            self._await_turn()
            await publisher
        if not self.patient:
            yield
            return
        is_first = False
        try:
            try:
                async with asyncio.timeout(wait_s):
                    is_first = await self._first.acquire()
                    await self._have_room()
            except TimeoutError:
                self._end_patient()
            yield
        finally:
            if is_first:
                self._first.release()

    def fill(self, subscription: Subscription) -> None:
        """Give a subscription whose queue has become full some turns to take from it."""
        self.full[subscription] = 0
        self._await_turn()

    def drain(self, subscription: Subscription) -> None:
        """Hear that a subscription whose queue was full has taken from it."""
        self.full.pop(subscription, None)

    def _await_turn(self) -> None:
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._begin_turn)

    def _begin_turn(self) -> None:
        """Count a turn of the loop for full queues; let publishers go on if all had their turns."""
        self._turn = None
        had = [(each, turns + 1) for each, turns in self.full.items()]
        self.full = {each: turns for each, turns in had if turns < _TURNS}
        if not self.full:
            self._admit()
        if self.full or self._line:
            self._await_turn()

    def _admit(self) -> None:
        """Let as many publishers go on as there is room for, but by those who are too slow."""
        room = min((each.room for each in self.subscriptions if each.room), default=None)
        while self._line and room != 0:
            publisher = self._line.popleft()
            if not publisher.done():
                publisher.set_result(None)
                room = room and room - 1

    def relieve(self) -> None:
        """Wake the publisher whose turn it is."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def _have_room(self) -> None:
        """Wait until all for whom one waits have room."""
        while not all(each.room for each in self.patient):
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def _end_patient(self) -> None:
        """End those for whom one waits that have no room."""
        for subscription in [each for each in self.patient if not each.room]:
            self._drop(subscription)
            subscription.end(is_full=True)
