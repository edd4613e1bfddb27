"""One subscriber: its queue, its policy, its end, and random orders of events."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

import pytest
from conftest import pytest_asyncio_loop_factories
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.serving import settle
from support.subscribing import gap_of, publish, rest_of, soon, take

from microweb import ConfigurationError
from microweb.channels.channel import Channel, Channels
from microweb.channels.message import Gap, Message
from microweb.channels.subscription import POLICIES, Policy, Subscription


@pytest.mark.parametrize("options", [{"policy": "drop"}, {"queue": 0}])
def test_wrong_option_is_refused(channel: Channel, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"subscribe: expected"):
        channel.subscribe(**options)


async def test_subscription_is_for_one_block_and_one_task(channel: Channel) -> None:
    subscription = channel.subscribe()
    with pytest.raises(RuntimeError, match="async with"):
        await anext(subscription)
    async with subscription as messages:
        waiting = asyncio.create_task(soon(anext(messages)))
        await settle()
        with pytest.raises(RuntimeError, match="another task"):
            await anext(messages)
        await channel.publish(1)
        assert (await waiting).data == 1
        with pytest.raises(RuntimeError, match="subscribe again"):
            await subscription.__aenter__()
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)


# --- policies


async def test_drop_oldest_keeps_the_newest(channel: Channel) -> None:
    async with channel.subscribe(queue=2, policy="drop_oldest") as messages:
        await publish(channel, 1, 2, 3, 4, 5)
        assert await take(messages, 3) == [gap_of(3), 4, 5]
        await publish(channel, 6)
        assert await take(messages, 1) == [6]
        assert messages.missed == 3


async def test_drop_newest_keeps_the_oldest(channel: Channel) -> None:
    async with channel.subscribe(queue=2, policy="drop_newest") as messages:
        await publish(channel, 1, 2, 3, 4, 5)
        assert await take(messages, 3) == [1, 2, gap_of(3)]
        await publish(channel, 6)
        assert await take(messages, 1) == [6]
        assert messages.missed == 3


async def test_disconnect_ends_after_what_waits(channel: Channel) -> None:
    async with channel.subscribe(queue=2) as messages:
        await publish(channel, 1, 2)
        assert len(channel) == 1
        await publish(channel, 3)
        assert len(channel) == 0
        await publish(channel, 4)
        got = await rest_of(messages)
        assert ([each.data for each in got], messages.is_full) == ([1, 2], True)
    async with channel.subscribe(last_event_id=got[-1].id) as messages:
        assert await take(messages, 2) == [3, 4]


async def test_cancelled_wait_loses_no_message(channel: Channel) -> None:
    async with channel.subscribe() as messages:
        for number in range(3):
            waiting = asyncio.ensure_future(anext(messages))
            await settle()
            await channel.publish(number)
            waiting.cancel()  # it has got the message, but has not run yet
            await asyncio.wait([waiting])
            assert waiting.cancelled()
            assert await take(messages, 1) == [number]


async def test_nothing_is_left_of_a_subscription(channels: Channels) -> None:
    async def come_and_go() -> None:
        async with channels["a"].subscribe() as messages:
            await channels["a"].publish(1)
            await take(messages, 1)

    await come_and_go()
    gc.collect()
    before = sum(isinstance(each, Subscription) for each in gc.get_objects())
    await asyncio.gather(*(come_and_go() for _ in range(50)))
    gc.collect()
    assert sum(isinstance(each, Subscription) for each in gc.get_objects()) == before


async def test_a_subscriber_that_keeps_up_is_small(channel: Channel) -> None:
    count = 1000
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        subscriptions = [await channel.subscribe().__aenter__() for _ in range(count)]
        each = (tracemalloc.get_traced_memory()[0] - before) / count
    finally:
        tracemalloc.stop()
    for subscription in subscriptions:
        await subscription.__aexit__()
    assert each < 500  # bytes; with its own queue it would take 1200


# --- random orders of events

HISTORY = 5


class Reader:
    """A subscriber, and the numbers that it must get: all in order, or counted by a gap."""

    def __init__(self, subscription: Subscription, expected: int | None) -> None:
        self.subscription = subscription
        self.expected = expected  # None after a gap of unknown size
        self.waiting: asyncio.Future[Message] | None = None
        self.has_ended = False

    def see(self, message: Message) -> None:
        if isinstance(message, Gap):
            if message.missed is None:
                assert self.expected is None
            else:
                assert message.missed > 0
                if self.expected is not None:
                    self.expected += message.missed
            return
        assert isinstance(message.data, int)
        assert self.expected in (None, message.data)
        self.expected = message.data + 1


class AnyOrder(RuleBasedStateMachine):
    """Subscribers that enter, read and leave while messages are published."""

    def __init__(self) -> None:
        super().__init__()
        ((_, factory),) = pytest_asyncio_loop_factories().items()
        self.runner = asyncio.Runner(loop_factory=factory)
        self.channels = Channels(HISTORY, wait_s=0)
        self.channel = self.channels["a"]
        self.ids: list[str] = []
        self.readers: list[Reader] = []

    def teardown(self) -> None:
        try:
            self.runner.run(self._end())
        finally:
            self.runner.close()

    async def _end(self) -> None:
        for reader in self.readers:
            await self._drain(reader)
            if not reader.subscription.is_full and not reader.has_ended:
                assert reader.expected in (None, len(self.ids))  # nothing is lost
            await self._leave(reader)
        assert len(self.channels) == 0

    async def _drain(self, reader: Reader) -> None:
        while not reader.has_ended and await self._step(reader):
            pass

    async def _step(self, reader: Reader) -> bool:
        """Take the next message if there is one."""
        if reader.waiting is None:
            reader.waiting = asyncio.ensure_future(anext(reader.subscription))
        await settle()
        return self._look(reader)

    def _look(self, reader: Reader) -> bool:
        waiting = reader.waiting
        if waiting is None or not waiting.done():
            return False
        reader.waiting = None
        if isinstance(waiting.exception(), StopAsyncIteration):
            reader.has_ended = True
        else:
            reader.see(waiting.result())
        return True

    async def _leave(self, reader: Reader) -> None:
        if reader.waiting is not None:
            reader.waiting.cancel()
            await asyncio.wait([reader.waiting])
        await reader.subscription.__aexit__()

    @rule(count=st.integers(1, 8))
    def publish(self, count: int) -> None:
        async def run() -> None:
            for _ in range(count):
                self.ids.append((await self.channel.publish(len(self.ids))).id)

        self.runner.run(run())

    @rule(count=st.integers(2, 12))
    def publish_together(self, count: int) -> None:
        first = len(self.ids)

        async def run() -> None:
            numbers = range(first, first + count)
            published = await asyncio.gather(*(self.channel.publish(number) for number in numbers))
            self.ids += [message.id for message in published]

        self.runner.run(run())

    @rule(
        back=st.none() | st.integers(0, 9),
        queue=st.integers(1, 6),
        policy=st.sampled_from(POLICIES),
    )
    def come(self, back: int | None, queue: int, policy: Policy) -> None:
        last_event_id, expected = None, len(self.ids) if back is None else None
        if back is not None:
            last_event_id = self.ids[-1 - back] if back < len(self.ids) else "unknown"
            if back <= HISTORY and back < len(self.ids):
                expected = len(self.ids) - back
        subscription = self.channel.subscribe(
            last_event_id=last_event_id, queue=queue, policy=policy
        )
        self.runner.run(subscription.__aenter__())
        self.readers.append(Reader(subscription, expected))

    @precondition(lambda self: self.readers)
    @rule(data=st.data(), count=st.integers(1, 10))
    def read(self, data: st.DataObject, count: int) -> None:
        reader = data.draw(st.sampled_from(self.readers))

        async def run() -> None:
            for _ in range(count):
                if reader.has_ended or not await self._step(reader):
                    return

        self.runner.run(run())

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def give_up_waiting(self, data: st.DataObject) -> None:
        reader = data.draw(st.sampled_from(self.readers))

        async def run() -> None:
            await settle()
            if self._look(reader) or reader.waiting is None:
                return
            # It gets this message, and is cancelled before it runs.
            self.ids.append((await self.channel.publish(len(self.ids))).id)
            waiting, reader.waiting = reader.waiting, None
            waiting.cancel()
            await asyncio.wait([waiting])
            assert waiting.cancelled()

        self.runner.run(run())

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        reader = data.draw(st.sampled_from(self.readers))
        self.readers.remove(reader)
        self.runner.run(self._leave(reader))

    @precondition(lambda self: self.readers)
    @rule()
    def close(self) -> None:
        async def run() -> None:
            await self.channel.close()
            for reader in self.readers:
                await self._drain(reader)
                assert reader.has_ended

        self.runner.run(run())

    @invariant()
    def is_bounded(self) -> None:
        for reader in self.readers:
            queue = reader.subscription._queue
            assert queue is None or len(queue) <= reader.subscription._limit + 1


AnyOrder.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestAnyOrder = AnyOrder.TestCase
