"""The channels of one event loop that have subscribers: the way of a message from broker to queues.

Messages come from the broker in their order, and each `Topic` keeps the last ones, `history` of
them: a subscriber that comes with the id of one is given what followed, in the same step in which
it begins to get new ones, so that none is lost, doubled or out of order.

Publishers ask for admission. They wait a few turns of the loop while a queue is full, because a
subscriber that had no turn could not take; and longer for subscribers with the policy "wait".
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from ..errors import BrokerUnavailable
from .broker import Broker
from .message import Entry, Gap, Message
from .subscription import Subscription

# From a full queue to its policy. A task that takes a message by way of another task needs three.
_TURNS = 5


class Hub:
    """What is subscribed to on one event loop: the receiver of the broker's link."""

    def __init__(self, broker: Broker, history: int) -> None:
        self.topics: dict[str, Topic] = {}
        self.lives = 0
        self.is_over = False  # its life has ended
        self._history = history
        self.link = broker.connect(self, history)

    async def enter(self, name: str) -> Topic:
        """Return the channel, open, with one more user. Raises: BrokerUnavailable."""
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


class Topic:
    """A channel that somebody on this loop is subscribed to."""

    def __init__(self, hub: Hub, name: str, history: int) -> None:
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
