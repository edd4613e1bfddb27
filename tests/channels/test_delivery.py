"""Messages to more subscribers than are woken in one turn of the loop: each gets each once."""

from __future__ import annotations

import asyncio
import random
import re
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest
from support.serving import get, on_loopback, settle, until_none
from support.subscribing import all_data, are_subscribed, publish, publish_together, soon, take
from support.websocketing import handshake

from microweb import App, Response, WebSocket
from microweb.channels import delivery
from microweb.channels.channel import Channel, Channels
from microweb.channels.memory import MemoryBroker
from microweb.channels.message import Entry
from microweb.channels.subscription import Policy, Subscription
from microweb.channels.topic import Hub, Topic
from microweb.errors import BrokerUnavailable

COUNT = 3000  # more than the largest slice


class Audience:
    """Subscribers that take messages all the time, each in a task of its own."""

    def __init__(self, channel: Channel) -> None:
        self.got: list[list[object]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._channel = channel

    async def enter(self, count: int) -> None:
        before = len(self._channel)
        self.tasks += [asyncio.create_task(self._listen()) for _ in range(count)]
        await are_subscribed(self._channel, before + count)

    async def _listen(self) -> None:
        async with self._channel.subscribe() as messages:
            got: list[object] = []
            self.got.append(got)
            async for message in messages:
                got.append(message.data)

    def reached(self) -> int:
        """Return how many subscribers have got a message."""
        return sum(map(bool, self.got))

    async def end(self) -> None:
        await self._channel.close()
        await soon(asyncio.wait(self.tasks))  # type: ignore[arg-type]


async def begun(channel: Channel, audience: Audience, message: object) -> asyncio.Task[object]:
    """Publish, and return when some subscribers have the message, and others do not."""
    publishing: asyncio.Task[object] = asyncio.create_task(channel.publish(message))
    async with asyncio.timeout(30):
        while not audience.reached():
            await asyncio.sleep(0)
    assert audience.reached() < len(audience.got)
    assert not publishing.done()
    return publishing


async def test_other_tasks_have_turns_between_the_slices(channel: Channel) -> None:
    audience = Audience(channel)
    await audience.enter(COUNT)
    publishing = await begun(channel, audience, "hello")
    reached = [audience.reached()]
    while not publishing.done():
        await asyncio.sleep(0)
        reached.append(audience.reached())
    assert len({each for each in reached if each < COUNT}) >= 3
    assert max(b - a for a, b in pairwise(reached)) <= 1024
    await audience.end()
    assert audience.got == [["hello"]] * COUNT


async def test_publishers_take_turns_so_that_the_order_is_kept(channel: Channel) -> None:
    audience = Audience(channel)
    await audience.enter(COUNT)
    await soon(publish_together(channel, 5))
    await audience.end()
    assert audience.got == [[0, 1, 2, 3, 4]] * COUNT


async def test_publish_returns_when_all_have_the_message() -> None:
    channel = Channels()["a"]
    async with AsyncExitStack() as stack:
        each = [await stack.enter_async_context(channel.subscribe()) for _ in range(COUNT)]
        await soon(channel.publish("hello"))
        assert [messages.room for messages in each] == [99] * COUNT


async def test_cancelled_publisher_has_published_to_all_or_none(channel: Channel) -> None:
    audience = Audience(channel)
    await audience.enter(COUNT)
    publishing = await begun(channel, audience, "to all")
    waiting = asyncio.create_task(channel.publish("to none"))
    await asyncio.sleep(0)
    assert not publishing.done()
    for each in (publishing, waiting):
        each.cancel()
    await soon(asyncio.wait([publishing, waiting]))  # type: ignore[arg-type]
    assert publishing.cancelled() and waiting.cancelled()
    await soon(channel.publish("the next"))
    await audience.end()
    assert audience.got == [["to all", "the next"]] * COUNT


@pytest.mark.parametrize("history", [0, 10])
async def test_one_who_enters_meanwhile_gets_the_message_once(history: int) -> None:
    channel = Channels(history=history)["a"]
    audience = Audience(channel)
    await audience.enter(COUNT)
    publishing = await begun(channel, audience, 1)
    async with channel.subscribe() as new, channel.subscribe(replay=True) as replaying:
        await soon(publishing)
        await channel.publish(2)
        await audience.end()
        assert await all_data(new) == [1, 2]
        assert await all_data(replaying) == [1, 2]


async def test_one_who_enters_meanwhile_with_an_id_gets_the_rest_once(channel: Channel) -> None:
    (before,) = await publish(channel, "before")
    async with channel.subscribe() as other:
        audience = Audience(channel)
        await audience.enter(COUNT)
        publishing = await begun(channel, audience, 1)
        async with channel.subscribe(last_event_id=before) as behind:
            (latest,) = [message.id for message in channel._channels.hub.topics["room:1"]._kept][1:]
            async with channel.subscribe(last_event_id=latest) as level:
                await soon(publishing)
                await channel.publish(2)
                await audience.end()
                assert await all_data(behind) == [1, 2]
                assert await all_data(level) == [2]
        assert await all_data(other) == [1, 2]


async def test_one_who_leaves_meanwhile_gets_nothing_more(channel: Channel) -> None:
    audience = Audience(channel)
    await audience.enter(COUNT)
    publishing = await begun(channel, audience, 1)
    for task in audience.tasks[::2]:
        task.cancel()
    await soon(publishing)
    await settle()
    assert len(channel) == COUNT // 2
    assert audience.got[1::2] == [[1]] * (COUNT // 2)
    assert [] in audience.got[::2]
    await audience.end()


async def test_all_may_leave_meanwhile(channel: Channel) -> None:
    audience = Audience(channel)
    await audience.enter(COUNT)
    publishing = await begun(channel, audience, 1)
    for task in audience.tasks:
        task.cancel()
    await soon(publishing)
    await soon(asyncio.wait(audience.tasks))  # type: ignore[arg-type]
    assert not len(channel)
    async with channel.subscribe() as messages:
        await channel.publish(2)
        assert await take(messages, 1) == [2]


async def test_closing_meanwhile_ends_all_after_the_message(channel: Channel) -> None:
    audience = Audience(channel)
    await audience.enter(COUNT)
    publishing = await begun(channel, audience, "the last")
    await audience.end()
    await soon(publishing)
    assert audience.got == [["the last"]] * COUNT


async def test_first_slice_that_ends_is_small_however_large_those_of_the_message_were(
    channel: Channel,
) -> None:
    audience = Audience(channel)
    await audience.enter(COUNT)
    publishing = await begun(channel, audience, "the last")
    closing = asyncio.create_task(channel.close())
    ended = [0]
    async with asyncio.timeout(30):
        while not ended[-1]:
            await asyncio.sleep(0)
            ended.append(sum(task.done() for task in audience.tasks))
    assert ended[-1] <= 2 * delivery._FIRST_ENDING
    await soon(closing)
    await soon(publishing)
    await soon(asyncio.wait(audience.tasks))  # type: ignore[arg-type]
    assert audience.got == [["the last"]] * COUNT


async def test_other_tasks_have_turns_while_a_channel_is_closed(channel: Channel) -> None:
    audience = Audience(channel)
    await audience.enter(COUNT)
    closing = asyncio.create_task(channel.close())
    ended = [0]
    while not closing.done():
        await asyncio.sleep(0)
        ended.append(sum(task.done() for task in audience.tasks))
    assert len({each for each in ended if each < COUNT}) >= 3
    assert max(b - a for a, b in pairwise(ended)) <= 1024
    assert not len(channel)
    await soon(asyncio.wait(audience.tasks))  # type: ignore[arg-type]
    assert audience.got == [[]] * COUNT


async def closing(channel: Channel, audience: Audience) -> asyncio.Task[None]:
    """Close the channel, and return when some subscribers have ended, and others have not."""
    task = asyncio.create_task(channel.close())
    async with asyncio.timeout(30):
        while not any(each.done() for each in audience.tasks):
            await asyncio.sleep(0)
    assert not all(each.done() for each in audience.tasks)
    assert not task.done()
    return task


async def test_one_who_enters_while_a_channel_is_closed_stays_and_gets_the_next_message(
    channel: Channel,
) -> None:
    audience = Audience(channel)
    await audience.enter(COUNT)
    await soon(channel.publish("before"))
    task = await closing(channel, audience)
    async with channel.subscribe() as messages:
        await soon(channel.publish("after"))
        assert task.done()  # the publisher has waited for the end of the others
        assert await take(messages, 1) == ["after"]
    await soon(asyncio.wait(audience.tasks))  # type: ignore[arg-type]
    assert audience.got == [["before"]] * COUNT


async def test_one_may_leave_and_a_second_close_may_come_while_a_channel_is_closed(
    channel: Channel,
) -> None:
    audience = Audience(channel)
    await audience.enter(COUNT)
    task = await closing(channel, audience)
    leaving = [each for each in audience.tasks if not each.done()][:10]
    for each in leaving:
        each.cancel()
    await soon(channel.close())
    await soon(task)
    await soon(asyncio.wait(audience.tasks))  # type: ignore[arg-type]
    assert sum(each.cancelled() for each in audience.tasks) == len(leaving)


async def test_publisher_waits_for_no_one_in_a_channel_that_is_closed() -> None:
    channel = Channels(wait_s=3600)["a"]
    async with AsyncExitStack() as stack:
        for _ in range(COUNT):
            await stack.enter_async_context(channel.subscribe(queue=1, policy="wait"))
        await soon(channel.publish(1))
        publishing = asyncio.create_task(channel.publish(2))
        await settle()
        assert not publishing.done()
        await soon(channel.close())
        await soon(publishing)


async def test_the_end_of_the_channels_meanwhile_ends_all_after_the_message() -> None:
    channels = Channels()
    audience = Audience(channels["a"])
    async with channels.life():
        await audience.enter(COUNT)
        publishing = await begun(channels["a"], audience, "the last")
    await soon(publishing)
    await soon(asyncio.wait(audience.tasks))  # type: ignore[arg-type]
    assert audience.got == [["the last"]] * COUNT
    with pytest.raises(BrokerUnavailable):
        async with channels["a"].subscribe():
            pass


@pytest.mark.parametrize(
    ("policy", "data"),
    [
        ("disconnect", [0, 1]),
        ("drop_oldest", [{"gap": True, "missed": 2}, 2, 3]),
        ("drop_newest", [0, 1, {"gap": True, "missed": 2}]),
        ("wait", [0, 1]),
    ],
)
async def test_policies_of_those_who_never_read(policy: Policy, data: list[object]) -> None:
    channel = Channels(wait_s=0.01)["a"]
    audience = Audience(channel)
    async with channel.subscribe(queue=2, policy=policy) as stuck:
        await audience.enter(COUNT)
        await soon(publish_together(channel, 4))
        await audience.end()
        assert await all_data(stuck) == data
        assert stuck.is_full == (policy in ("disconnect", "wait"))
    assert audience.got == [[0, 1, 2, 3]] * COUNT


async def test_all_who_publishers_wait_for_get_all_messages(channel: Channel) -> None:
    async with AsyncExitStack() as stack:
        each = [
            await stack.enter_async_context(channel.subscribe(queue=1, policy="wait"))
            for _ in range(COUNT)
        ]
        publishing = asyncio.create_task(publish_together(channel, 3))
        for number in range(3):
            assert {(await take(messages, 1))[0] for messages in each} == {number}
        await soon(publishing)


async def test_position_of_one_whose_message_is_to_come_is_the_one_before(
    channel: Channel,
) -> None:
    (before,) = await publish(channel, "before")
    async with AsyncExitStack() as stack:
        each = [await stack.enter_async_context(channel.subscribe()) for _ in range(COUNT)]
        publishing = asyncio.create_task(channel.publish("hello"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        offered = [messages for messages in each if messages.room == 99]
        due = [messages for messages in each if messages.room == 100]
        assert offered and due
        assert {messages.position for messages in due} == {before}
        assert {messages.encode_start() for messages in due} == {f"id: {before}\n\n".encode()}
        latest = (await soon(publishing)).id
        assert {messages.position for messages in each} == {latest}
        assert offered[0].position == latest


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_lost_or_doubled_while_subscribers_come_and_go(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(delivery, "_MOST", 64)
    rng = random.Random(seed)
    channel = Channels(history=rng.choice([0, 40]))["a"]
    published: list[int] = []  # of which `publish` has returned
    begun_at: list[int] = []  # how many publishes had begun when a subscriber entered
    ended_at: list[int] = []
    got: list[list[int]] = []
    started = [0]

    async def publish_all() -> None:
        for number in range(30):
            started[0] = number + 1
            await channel.publish(number)
            published.append(number)

    async def listen(turns: int) -> None:
        index = len(got)
        got.append([])
        begun_at.append(0)
        ended_at.append(0)
        async with channel.subscribe() as messages:
            begun_at[index] = started[0]
            reading = asyncio.create_task(read(messages, got[index]))
            for _ in range(turns):
                await asyncio.sleep(0)
            ended_at[index] = len(published)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait([reading])

    async def read(messages: Subscription, into: list[int]) -> None:
        async for message in messages:
            into.append(int(str(message.data)))

    tasks = [asyncio.create_task(listen(rng.randrange(200))) for _ in range(250)]
    await settle()
    publishing = asyncio.create_task(publish_all())
    while not publishing.done():
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(listen(rng.randrange(200))) for _ in range(rng.randrange(4))]
    await soon(asyncio.wait(tasks))  # type: ignore[arg-type]
    for data, began, ended in zip(got, begun_at, ended_at, strict=True):
        assert all(b == a + 1 for a, b in pairwise(data))
        assert set(range(began, ended)) <= set(data)


async def test_clients_of_a_server_get_each_message_once_in_one_order(
    monkeypatch: pytest.MonkeyPatch, channel: Channel
) -> None:
    monkeypatch.setattr(delivery, "_MOST", 64)
    app, count = App(), 100

    @app.get("/events")
    async def events() -> Response:
        return Response.events(channel.subscribe())

    @app.websocket("/socket")
    async def socket(socket: WebSocket) -> None:
        async with channel.forward(socket):
            async for _ in socket:
                pass

    async with on_loopback(app) as server:
        host, port = server.sockets[0].getsockname()[:2]
        ends = [await asyncio.open_connection(host, port) for _ in range(2 * count)]
        for number, (reader, writer) in enumerate(ends):
            writer.write(get("/events") if number % 2 else handshake("/socket"))
            await soon(reader.readuntil(b"\r\n\r\n"))
        await are_subscribed(channel, 2 * count)
        await soon(publish_together(channel, 5))
        for _, writer in ends[:20]:
            writer.transport.abort()
        await soon(channel.publish("last"))
        for number, (reader, _) in enumerate(ends[20:]):
            data = await soon(reader.readuntil(b"last"))
            pattern = rb"data: (\w+)" if number % 2 else rb"\x81[\x01\x04](\w+)"
            assert re.findall(pattern, data) == [b"0", b"1", b"2", b"3", b"4", b"last"]
        for _, writer in ends:
            writer.transport.abort()
        await until_none(server.connections)


async def test_a_broker_that_does_not_wait_keeps_the_order() -> None:
    hub = Hub(MemoryBroker(), 3)
    topic = await hub.enter("a")
    async with AsyncExitStack() as stack:
        each = [await stack.enter_async_context(of(topic)) for _ in range(COUNT)]
        for number in range(3):
            hub.receive("a", Entry(f"id{number}", b"j%d" % number))
            assert hub.is_full("a")
        hub.miss("a")
        hub.end("a")
        await soon(topic.delivered())
        assert not hub.is_full("a")
        expected = [0, 1, 2, {"gap": True, "missed": None}]
        assert [await all_data(messages) for messages in each] == [expected] * COUNT


def of(topic: Topic) -> Subscription:
    async def enter() -> Topic:
        topic.users += 1
        return topic

    return Subscription(enter, None, False, 100, "disconnect")
