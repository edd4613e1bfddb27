"""The channels of one event loop that have subscribers: from the broker to the queues.

The broker delivers messages in order, and each `Topic` keeps the last `history` of them. A
subscriber with an event id gets the messages after it in the same step in which it starts to get
new ones. So no message is lost, doubled or out of order.

Publishers wait for admission: until the message before was offered to all subscribers, a few turns
of the event loop while a queue is full, because a subscriber without a turn can't take a message,
and longer for subscribers with the policy "wait".
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from ..errors import BrokerUnavailable
from .broker import Broker
from .delivery import Delivery
from .message import Entry, Gap, Message
from .subscription import Subscription

# Turns of the event loop from a full queue to its policy. A subscriber that takes messages through
# a second task, as `asyncio.wait_for` does before Python 3.12, needs three.
_TURNS = 5


class Hub:
    """The topics of one event loop, and the receiver of the broker's link."""

    def __init__(self, broker: Broker, history: int) -> None:
        self.topics: dict[str, Topic] = {}
        self.lives = 0
        self.is_over = False  # `Channels.life` has ended
        self._history = history
        self.link = broker.connect(self, history)

    async def enter(self, name: str) -> Topic:
        """Return the open topic of a name, with one more user. Raises: BrokerUnavailable."""
        if self.is_over:
            raise BrokerUnavailable
        topic = self.topics.get(name)
        if topic is None:
            topic = self.topics[name] = Topic(self, name, self._history)
        topic.users += 1
        try:
            await self.link.open(name)
        except BaseException:
            await self.leave(topic)
            raise
        return topic

    async def leave(self, topic: Topic) -> None:
        """Remove one user of the topic, and drop the topic with its last user."""
        topic.users -= 1
        if not topic.users and self.topics.get(topic.name) is topic:
            del self.topics[topic.name]
            await self.link.close(topic.name)

    async def aclose(self) -> None:
        """End all subscriptions and close the link; refuse new subscriptions."""
        self.is_over = True
        topics = tuple(self.topics.values())
        for topic in topics:
            topic.end()
        await self.link.aclose()
        for topic in topics:
            await topic.delivered()

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
        topic = self.topics.get(name)
        return topic is not None and topic.is_busy


class Topic:
    """A channel with subscribers on this event loop."""

    def __init__(self, hub: Hub, name: str, history: int) -> None:
        self.name = name
        self.users = 0  # subscriptions that have not left, those that have ended too
        self.subscriptions: set[Subscription] = set()
        self.awaited: set[Subscription] = set()  # publishers wait for these
        self.full: dict[Subscription, int] = {}  # with a full queue, and its turns since then
        self._turn: asyncio.Handle | None = None  # the next turn, if turns are counted
        self._publishers: deque[asyncio.Future[None]] = deque()  # they wait for admission
        self._first = asyncio.Lock()  # one publisher after another waits for `awaited`
        self._queued = 0  # publishers that hold the lock, or wait for it
        self._delivery = Delivery(self._drop)
        self._room: asyncio.Future[None] | None = None
        self._hub = hub
        self._history = history
        self._kept: deque[Message] = deque()
        self._before: str | None = None  # the id before the kept messages
        # The kept messages, with a gap before them or not.
        self._snapshots: dict[bool, tuple[Message, ...]] = {}

    # --- for the broker

    def begin(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._keep(entry)

    def receive(self, entry: Entry) -> None:
        before = self._latest
        message = self._keep(entry)
        if message is not None:
            self._delivery.begin(message, self.subscriptions, before)

    def miss(self) -> None:
        before = self._latest
        self._kept.clear()  # the next message does not follow the kept ones
        self._before = None
        self._snapshots.clear()
        self._delivery.begin(Gap(None), self.subscriptions, before)

    def end(self) -> None:
        self._delivery.end(self.subscriptions)
        self.subscriptions.clear()
        self.awaited.clear()
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

    def _drop(self, subscription: Subscription) -> None:
        self._delivery.leave(subscription)
        self.subscriptions.discard(subscription)
        self.awaited.discard(subscription)
        self.full.pop(subscription, None)

    # --- for subscriptions

    @property
    def _latest(self) -> str | None:
        """The id of the last published message."""
        return self._kept[-1].id if self._kept else self._before

    def position_of(self, subscription: Subscription) -> str | None:
        """Return the id of the last message that was offered to a subscription."""
        return self._delivery.position_of(subscription, self._latest)

    def history(self) -> tuple[Message, ...]:
        """Return all kept messages."""
        return self._snapshot(behind_gap=False)

    def since(self, id: str) -> tuple[tuple[Message, ...], int]:
        """Return the kept messages, and the index of the first one after `id`.

        If `id` is not known, return a gap before the kept messages, and 0.
        """
        if id == self._before:
            return self._snapshot(behind_gap=False), 0
        for back, message in enumerate(reversed(self._kept)):
            if message.id == id:
                return self._snapshot(behind_gap=False), len(self._kept) - back
        return self._snapshot(behind_gap=True), 0

    def _snapshot(self, *, behind_gap: bool) -> tuple[Message, ...]:
        """Return the kept messages, in one tuple for all subscribers until the next message."""
        if behind_gap not in self._snapshots:
            gap = (Gap(None, "" if self._kept else self._before or ""),) if behind_gap else ()
            self._snapshots[behind_gap] = (*gap, *self._kept)
        return self._snapshots[behind_gap]

    def enter(self, subscription: Subscription, *, is_new: bool) -> None:
        """Start to offer messages to a subscription.

        A new one, which continues from no message, also gets the message that is on its way.
        """
        self.subscriptions.add(subscription)
        if is_new:
            self._delivery.enter(subscription)
        if subscription.wants_waiting:
            self.awaited.add(subscription)

    async def leave(self, subscription: Subscription) -> None:
        """Stop offering messages to a subscription."""
        self._drop(subscription)
        await self._hub.leave(self)

    # --- for publishers

    @property
    def is_busy(self) -> bool:
        """Whether subscriptions have turns to come: to get the last message, or to make room."""
        return self._delivery.is_under_way or bool(self.full)

    @property
    def is_open(self) -> bool:
        """Whether a publisher need not wait for a subscription or another publisher."""
        return not (self.is_busy or self.awaited or self._publishers or self._queued)

    async def delivered(self) -> None:
        """Wait until all subscriptions have got the last message, or their end."""
        await self._delivery.wait()

    @asynccontextmanager
    async def admission(self, wait_s: float) -> AsyncIterator[None]:
        """Wait until a message may be published; publish it inside the block."""
        if self.is_busy or self._publishers:
            await self._wait_in(self._publishers.append)
        while self.is_busy:  # with the message of a publisher who came in this turn
            await self._wait_in(self._publishers.appendleft)
        if not self.awaited and not self._queued:
            yield
            return
        ends_at = asyncio.get_running_loop().time() + wait_s
        self._queued += 1
        try:
            async with self._first:  # without a deadline: each publisher before has an earlier one
                try:
                    async with asyncio.timeout_at(ends_at):
                        await self._wait_for_room()
                except TimeoutError:
                    self._end_awaited()
                while self.is_busy:
                    await self._wait_in(self._publishers.appendleft)
                yield
        finally:
            self._queued -= 1

    async def _wait_in(self, add: Callable[[asyncio.Future[None]], None]) -> None:
        publisher = asyncio.get_running_loop().create_future()
        add(publisher)
        self._await_turn()
        await publisher

    def report_full(self, subscription: Subscription) -> None:
        """Give a subscription with a full queue some turns to take from it."""
        self.full[subscription] = 0
        self._await_turn()

    def report_taken(self, subscription: Subscription) -> None:
        """Stop counting turns, because the subscription took from its full queue."""
        self.full.pop(subscription, None)

    def _await_turn(self) -> None:
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._begin_turn)

    def _begin_turn(self) -> None:
        """Count a turn for each full queue; admit publishers if all queues had their turns."""
        self._turn = None
        had = [(each, turns + 1) for each, turns in self.full.items()]
        self.full = {each: turns for each, turns in had if turns < _TURNS}
        if not self.is_busy:
            self._admit()
        if self.full or self._publishers:
            self._await_turn()

    def _admit(self) -> None:
        """Admit as many publishers as all queues have room for, apart from full queues.

        If the message takes several slices, admit one, and the next one after all had the message.
        """
        room: int | None = 1
        if self._delivery.is_at_once(self.subscriptions):
            room = min((each.room for each in self.subscriptions if each.room), default=None)
        while self._publishers and room != 0:
            publisher = self._publishers.popleft()
            if not publisher.done():
                publisher.set_result(None)
                room = room and room - 1

    def report_room(self) -> None:
        """Wake the publisher that waits for room."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def _wait_for_room(self) -> None:
        """Wait until all subscriptions that publishers wait for have room."""
        while not all(each.room for each in self.awaited):
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def _end_awaited(self) -> None:
        """End the subscriptions that publishers wait for if they have no room."""
        for subscription in [each for each in self.awaited if not each.room]:
            self._drop(subscription)
            subscription.end(is_full=True)
