"""Channels in one process: what subscribers get, under every policy, and what is left of them."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeVar

import pytest
from conftest import pytest_asyncio_loop_factories
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.serving import DEADLINE_S, in_memory, on_loopback, settle, until_none
from support.websocketing import Peer, close_frame, handshake, masked

from microweb import (
    App,
    ClientDisconnected,
    ConfigurationError,
    Request,
    Response,
    WebSocket,
    from_thread,
)
from microweb.channels import message as messages
from microweb.channels.broker import MemoryBroker
from microweb.channels.channel import Channel, Channels
from microweb.channels.message import Gap, Message
from microweb.channels.subscription import POLICIES, Policy, Subscription
from microweb.concurrency.throttle import Throttle
from microweb.errors import BrokerUnavailable
from microweb.testing.client import TestClient
from microweb.testing.eventsource import EventParser

T = TypeVar("T")


async def soon(coroutine: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(DEADLINE_S):
        return await coroutine


async def take(messages: Subscription, count: int) -> list[object]:
    """Return the data of the next messages."""
    return [(await soon(anext(messages))).data for _ in range(count)]


async def rest_of(messages: Subscription) -> list[Message]:
    async with asyncio.timeout(DEADLINE_S):
        return [message async for message in messages]


async def all_data(messages: Subscription) -> list[object]:
    return [message.data for message in await rest_of(messages)]


async def publish(channel: Channel, *messages: object) -> list[str]:
    """Publish, and return the ids."""
    return [(await channel.publish(message)).id for message in messages]


def gap_of(missed: int | None) -> dict[str, object]:
    return {"gap": True, "missed": missed}


@pytest.fixture
def channels() -> Channels:
    return Channels(history=3, wait_s=3600)


@pytest.fixture
def channel(channels: Channels) -> Channel:
    return channels["room:1"]


# --- publishing and subscribing


async def test_all_subscribers_get_the_same_message(channel: Channel) -> None:
    async with channel.subscribe() as one, channel.subscribe() as other:
        published = await channel.publish("hello")
        got = [await soon(anext(one)), await soon(anext(other))]
    assert got[0] is got[1]
    assert (got[0].id, got[0].data) == (published.id, published.data) == (published.id, "hello")


@pytest.mark.parametrize(
    ("message", "data"),
    [
        ("é\n", "é\n"),
        ("", ""),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"a"), b"a"),
        ({"a": [1, None]}, {"a": [1, None]}),
        (None, None),
        (7, 7),
        (date(2030, 1, 2), "2030-01-02"),
    ],
)
async def test_what_is_published_arrives(channel: Channel, message: object, data: object) -> None:
    async with channel.subscribe() as messages:
        await channel.publish(message)
        assert await take(messages, 1) == [data]


@pytest.mark.parametrize("message", [object(), float("nan"), "\ud800"])
async def test_what_can_not_be_sent_is_refused(channel: Channel, message: object) -> None:
    async with channel.subscribe() as messages:
        with pytest.raises((TypeError, ValueError)):
            await channel.publish(message)
        await channel.publish("next")
        assert await take(messages, 1) == ["next"]


async def test_json_default_is_asked() -> None:
    channel = Channels(json_default=lambda value: sorted(value))["a"]  # type: ignore[call-overload]
    async with channel.subscribe() as messages:
        await channel.publish({"of": {2, 1}})
        assert await take(messages, 1) == [{"of": [1, 2]}]


async def test_a_changed_object_changes_no_message(channel: Channel) -> None:
    message = {"text": "before"}
    async with channel.subscribe() as messages:
        await channel.publish(message)
        message["text"] = "after"
        assert await take(messages, 1) == [{"text": "before"}]


async def test_channels_are_apart(channels: Channels) -> None:
    async with channels["a"].subscribe() as a, channels["b"].subscribe() as b:
        await channels["a"].publish(1)
        await channels["b"].publish(2)
        assert (await take(a, 1), await take(b, 1)) == ([1], [2])


async def test_a_publisher_in_a_loop_lets_subscribers_keep_up(channel: Channel) -> None:
    async with channel.subscribe(queue=1) as messages:
        reading = asyncio.create_task(take(messages, 1000))
        await publish(channel, *range(1000))
        assert await reading == list(range(1000))


async def test_close_ends_iterations_after_what_waits(channel: Channel) -> None:
    async with channel.subscribe() as messages, channel.subscribe() as waiting:
        reading = asyncio.create_task(all_data(waiting))
        await publish(channel, 1, 2)
        await channel.close()
        assert await all_data(messages) == await reading == [1, 2]
        assert (messages.is_full, len(channel)) == (False, 0)
    await channel.close()  # nobody is there


async def test_a_closed_channel_goes_on_with_its_history(channel: Channel) -> None:
    first, _ = await publish(channel, 1, 2)
    await channel.close()
    async with channel.subscribe(last_event_id=first) as messages:
        await channel.publish(3)
        assert await take(messages, 2) == [2, 3]


async def test_plain_def_publishes_from_its_thread(channel: Channel) -> None:
    app = App()

    @app.post("/")
    def send() -> str:
        return from_thread(channel.publish("hello")).id

    async with app.test_client() as client, channel.subscribe() as messages:
        id = (await client.post("/")).text
        message = await soon(anext(messages))
    assert (message.id, message.data) == (id, "hello")


async def test_subscription_is_made_in_a_thread(channel: Channel) -> None:
    subscription = await asyncio.to_thread(channel.subscribe)
    async with subscription as messages:
        await channel.publish(1)
        assert await take(messages, 1) == [1]


def test_each_loop_begins_anew(channels: Channels) -> None:
    channel = channels["a"]

    async def run() -> tuple[str, list[object]]:
        async with channel.subscribe(last_event_id="elsewhere-1") as messages:
            (id,) = await publish(channel, 1)
            return id, await take(messages, 2)

    runs = [asyncio.run(run()) for _ in range(2)]
    assert [data for _, data in runs] == [[gap_of(None), 1]] * 2
    assert runs[0][0] != runs[1][0]


@pytest.mark.parametrize("options", [{"policy": "drop"}, {"queue": 0}])
def test_wrong_option_is_refused(channel: Channel, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"subscribe: expected"):
        channel.subscribe(**options)


def test_wrong_options_of_channels_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Channels: expected"):
        Channels(history=-1)
    with pytest.raises(ConfigurationError, match=r"MemoryBroker: expected"):
        MemoryBroker(max_channels=-1)


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


# --- replay


async def test_missed_messages_are_replayed_by_id(channel: Channel) -> None:
    ids = await publish(channel, 1, 2, 3, 4, 5)
    for known, data in ((1, [3, 4, 5]), (3, [5]), (4, [])):
        async with channel.subscribe(last_event_id=ids[known]) as messages:
            await channel.close()
            assert await all_data(messages) == data


@pytest.mark.parametrize("id", ["", "x", "1-1", "nan-0", "\x00", "9" * 5000])
async def test_unknown_id_is_a_gap_before_what_is_kept(channel: Channel, id: str) -> None:
    await publish(channel, 1, 2, 3, 4)
    async with channel.subscribe(last_event_id=id) as messages:
        await channel.close()
        assert await all_data(messages) == [gap_of(None), 2, 3, 4]


async def test_id_older_than_the_history_is_a_gap(channel: Channel) -> None:
    ids = await publish(channel, 1, 2, 3, 4, 5)
    async with channel.subscribe(last_event_id=ids[0]) as messages:
        await channel.close()
        assert await all_data(messages) == [gap_of(None), 3, 4, 5]


async def test_replay_begins_with_the_history_and_no_gap(channel: Channel) -> None:
    async with channel.subscribe(replay=True) as messages:
        await channel.publish("first")
        assert await take(messages, 1) == ["first"]
    ids = await publish(channel, 1, 2, 3, 4)
    async with channel.subscribe(replay=True) as messages:
        await channel.publish(5)
        assert await take(messages, 4) == [2, 3, 4, 5]  # three are kept
    async with channel.subscribe(replay=True, last_event_id=ids[-1]) as messages:
        await channel.publish(6)
        assert await take(messages, 2) == [5, 6]
    async with channel.subscribe(replay=True, last_event_id="unknown") as messages:
        assert await take(messages, 1) == [gap_of(None)]


async def test_replay_without_a_history_has_only_new_messages() -> None:
    channel = Channels()["a"]
    async with channel.subscribe() as other:
        await channel.publish(1)
        async with channel.subscribe(replay=True) as messages:
            await channel.publish(2)
            assert await take(messages, 1) == [2]
        assert await take(other, 2) == [1, 2]


async def test_id_of_another_channel_is_a_gap(channels: Channels) -> None:
    (id,) = await publish(channels["a"], 1)
    await publish(channels["b"], 2)
    async with channels["b"].subscribe(last_event_id=id) as messages:
        assert await take(messages, 2) == [gap_of(None), 2]


async def test_without_history_a_client_that_missed_nothing_hears_of_no_gap() -> None:
    channel = Channels()["a"]
    async with channel.subscribe() as other:
        ids = await publish(channel, 1, 2)
        async with channel.subscribe(last_event_id=ids[1]) as messages:
            await channel.publish(3)
            assert await take(messages, 1) == [3]
        async with channel.subscribe(last_event_id=ids[1]) as messages:
            await channel.publish(4)
            assert await take(messages, 2) == [gap_of(None), 4]
        assert await take(other, 4) == [1, 2, 3, 4]


async def test_replay_is_longer_than_the_queue() -> None:
    channel = Channels(history=1000)["a"]
    ids = await publish(channel, *range(1000))
    async with channel.subscribe(last_event_id=ids[0], queue=1) as messages:
        await channel.publish(1000)
        assert await take(messages, 1000) == list(range(1, 1001))


async def test_position_of_one_who_saw_nothing_is_a_place_to_continue_from(
    channel: Channel,
) -> None:
    async with channel.subscribe() as messages:
        position = messages.position
        assert position is not None
    await publish(channel, 1, 2)
    async with channel.subscribe(last_event_id=position) as messages:
        assert await take(messages, 2) == [1, 2]


async def test_those_who_missed_the_same_share_it() -> None:
    channel = Channels(history=100)["a"]
    ids = await publish(channel, *range(100))
    async with (
        channel.subscribe(last_event_id=ids[10]) as one,
        channel.subscribe(last_event_id=ids[20]) as other,
    ):
        assert one._replay is other._replay


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


async def test_publisher_waits_for_room(channel: Channel) -> None:
    async with channel.subscribe(queue=2, policy="wait") as messages:
        await publish(channel, 1, 2)
        publishing = asyncio.create_task(publish(channel, 3, 4))
        await settle()
        assert not publishing.done()
        assert await take(messages, 2) == [1, 2]
        await soon(publishing)
        assert await take(messages, 2) == [3, 4]


async def test_publishers_that_wait_are_served_in_order(channel: Channel) -> None:
    async with channel.subscribe(queue=1, policy="wait") as messages:
        publishing = []
        for number in range(5):
            publishing.append(asyncio.create_task(channel.publish(number)))
            await settle()
        assert await take(messages, 5) == [0, 1, 2, 3, 4]
        await soon(asyncio.gather(*publishing))  # type: ignore[arg-type]


async def test_cancelled_publisher_has_published_nothing(channel: Channel) -> None:
    async with channel.subscribe(queue=1, policy="wait") as messages:
        await channel.publish(1)
        publishing = asyncio.create_task(channel.publish(2))
        await settle()
        publishing.cancel()
        await asyncio.wait([publishing])
        next_one = asyncio.create_task(channel.publish(3))
        assert await take(messages, 2) == [1, 3]
        await soon(next_one)


async def test_publisher_waits_no_longer_than_its_deadline() -> None:
    channel = Channels(wait_s=0.01)["a"]
    async with (
        channel.subscribe(queue=1, policy="wait") as stuck,
        channel.subscribe(queue=9, policy="wait") as messages,
    ):
        await soon(publish(channel, 1, 2, 3))  # type: ignore[arg-type]
        assert await all_data(stuck) == [1]
        assert (stuck.is_full, messages.is_full, len(channel)) == (True, False, 1)
        assert await take(messages, 3) == [1, 2, 3]


async def test_the_deadline_of_a_publisher_is_that_of_its_whole_wait() -> None:
    wait_s, count = 0.05, 40
    channel = Channels(wait_s=wait_s)["a"]

    async def take_slowly(messages: Subscription) -> None:
        async for _ in messages:
            await asyncio.sleep(0.8 * wait_s)

    async with channel.subscribe(queue=1, policy="wait") as messages:
        taking = asyncio.create_task(take_slowly(messages))
        await soon(publish_together(channel, count))
        assert messages.is_full  # though each publisher in the line waited less for its turn
        taking.cancel()


async def test_publisher_does_not_wait_for_one_who_has_left(channel: Channel) -> None:
    async with channel.subscribe(queue=1, policy="wait"):
        await channel.publish(1)
        publishing = asyncio.create_task(channel.publish(2))
        await settle()
        assert not publishing.done()
    await soon(publishing)


async def test_one_who_never_reads_costs_the_others_nothing(channel: Channel) -> None:
    async with (
        channel.subscribe(queue=1),
        channel.subscribe(queue=1, policy="drop_oldest"),
        channel.subscribe(queue=1, policy="drop_newest"),
        channel.subscribe(queue=1) as messages,
    ):
        reading = asyncio.create_task(take(messages, 50))
        await publish(channel, *range(50))
        assert await reading == list(range(50))


@pytest.mark.parametrize("policy", ["disconnect", "drop_oldest", "drop_newest"])
@pytest.mark.parametrize("queue", [1, 7])
async def test_publishers_that_come_together_lose_nothing_of_one_who_reads(
    channel: Channel, policy: Policy, queue: int
) -> None:
    async with channel.subscribe(queue=queue, policy=policy) as messages:
        reading = asyncio.create_task(take(messages, 300))
        await settle()
        await asyncio.gather(*(channel.publish(number) for number in range(300)))
        assert await reading == list(range(300))


async def test_one_who_reads_by_another_task_is_not_too_slow(channel: Channel) -> None:
    got: list[object] = []

    async def read() -> None:
        while len(got) < 100:  # each in a task of its own, as asyncio.wait_for does before 3.12
            got.append((await asyncio.create_task(soon(messages.__anext__()))).data)

    async with channel.subscribe(queue=1) as messages:
        reading = asyncio.create_task(read())
        await settle()
        await asyncio.gather(*(channel.publish(number) for number in range(100)))
        await soon(asyncio.wait_for(reading, DEADLINE_S))
    assert got == list(range(100))


async def test_one_who_had_its_turns_and_took_nothing_is_too_slow(channel: Channel) -> None:
    async with channel.subscribe(queue=2) as stuck, channel.subscribe(queue=2) as messages:
        reading = asyncio.create_task(take(messages, 50))
        await settle()
        await soon(asyncio.wait_for(publish_together(channel, 50), DEADLINE_S))
        assert await reading == list(range(50))
        assert (await all_data(stuck), stuck.is_full) == ([0, 1], True)
        assert (messages.is_full, len(channel)) == (False, 1)


async def publish_together(channel: Channel, count: int) -> None:
    await asyncio.gather(*(channel.publish(number) for number in range(count)))


async def test_one_who_never_reads_costs_publishers_no_turns(channel: Channel) -> None:
    async with channel.subscribe(queue=1, policy="drop_oldest"):
        await publish(channel, 1, 2, 3)  # one has waited for it
        for _ in range(10):
            turns = 0
            publishing = asyncio.create_task(channel.publish("next"))
            while not publishing.done():
                await asyncio.sleep(0)
                turns += 1
            assert turns <= 2


async def test_a_cancelled_publisher_lets_the_next_one_in(channel: Channel) -> None:
    async with channel.subscribe(queue=1) as messages:
        reading = asyncio.create_task(take(messages, 150))
        await settle()
        publishing = [asyncio.create_task(channel.publish(number)) for number in range(300)]
        for _ in range(3):
            await asyncio.sleep(0)
        for each in publishing[::2]:
            each.cancel()
        await asyncio.wait(publishing)
        published = [n for n, each in enumerate(publishing) if not each.cancelled()]
        assert set(published) >= set(range(1, 300, 2))
        assert await reading == published[:150]


async def test_many_sockets_that_send_at_once_hear_all(channel: Channel) -> None:
    count, app = 150, App()

    @app.websocket("/ws")
    async def chat(socket: WebSocket) -> None:
        async with channel.forward(socket):
            async for message in socket:
                await channel.publish(message)

    async with on_loopback(app) as server:
        host, port = server.sockets[0].getsockname()[:2]
        ends = [await asyncio.open_connection(host, port) for _ in range(count)]
        for reader, writer in ends:
            writer.write(handshake())
            await soon(reader.readuntil(b"\r\n\r\n"))
        await are_subscribed(channel, count)
        for number, (_, writer) in enumerate(ends):
            writer.write(masked(f"{number:03}"))
        expected = {b"\x81\x03%03d" % number for number in range(count)}
        for reader, _ in ends:
            data = await soon(reader.readexactly(5 * count))
            assert {data[at : at + 5] for at in range(0, len(data), 5)} == expected
        for _, writer in ends:
            writer.transport.abort()
        await until_none(server.connections)


# --- leaving


@pytest.mark.parametrize("history", [0, 3])
async def test_channel_is_forgotten_with_its_last_subscriber(history: int) -> None:
    channels = Channels(history)
    channel = channels["a"]
    assert (len(channels), len(channel), list(channels)) == (0, 0, [])
    async with channel.subscribe(), channel.subscribe():
        await channel.publish(1)
        assert (len(channels), len(channel), list(channels)) == (1, 2, ["a"])
    assert (len(channels), len(channel), list(channels)) == (0, 0, [])


async def test_cancelled_subscriber_is_gone(channels: Channels) -> None:
    async def read() -> None:
        async with channels["a"].subscribe() as messages:
            await all_data(messages)

    reading = asyncio.create_task(read())
    await settle()
    assert len(channels["a"]) == 1
    reading.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled()
    assert (len(channels["a"]), len(channels)) == (0, 0)


async def test_subscriber_that_fails_is_gone(channels: Channels) -> None:
    with pytest.raises(ZeroDivisionError):
        async with channels["a"].subscribe():
            raise ZeroDivisionError
    assert (len(channels["a"]), len(channels)) == (0, 0)


async def test_cancelled_wait_loses_no_message(channel: Channel) -> None:
    async with channel.subscribe() as messages:
        for number in range(3):
            waiting = asyncio.ensure_future(anext(messages))
            await settle()
            await channel.publish(number)
            waiting.cancel()  # it has the message, and has not run yet
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


async def test_end_of_life_ends_subscribers(channels: Channels) -> None:
    async with channels.life():
        messages = await channels["a"].subscribe().__aenter__()
        async with channels.life():  # two apps with the same channels
            await channels["a"].publish(1)
        await channels["a"].publish(2)
        assert await take(messages, 2) == [1, 2]
    assert await all_data(messages) == []
    await messages.__aexit__()
    assert len(channels) == 0


async def test_life_that_has_ended_refuses_subscribers(channels: Channels) -> None:
    for _ in range(2):
        async with channels.life(), channels["a"].subscribe() as messages:
            await channels["a"].publish(1)
            assert await take(messages, 1) == [1]
        with pytest.raises(BrokerUnavailable):
            async with channels["a"].subscribe():
                pass
        assert len(channels) == 0


async def test_a_loop_of_its_own_in_a_plain_def_says_from_thread(channel: Channel) -> None:
    app = App()

    @app.post("/run")
    def run() -> str:
        return asyncio.run(channel.publish("lost")).id

    @app.post("/thread")
    def use_thread() -> str:
        return from_thread(channel.publish("heard")).id

    async with app.test_client() as client:
        with pytest.raises(RuntimeError, match=r"from_thread\(channel\.publish"):
            await client.post("/run")  # nobody has used the channel before
        async with channel.subscribe() as messages:
            with pytest.raises(RuntimeError, match=r"from_thread\(channel\.publish"):
                await client.post("/run")
            await client.post("/thread")
            assert await take(messages, 1) == ["heard"]


async def test_a_loop_in_a_thread_of_ones_own_says_from_thread(channel: Channel) -> None:
    async with channel.subscribe() as messages:
        with pytest.raises(RuntimeError, match=r"from_thread\(channel\.publish"):
            await asyncio.to_thread(lambda: asyncio.run(channel.publish("lost")))  # type: ignore[arg-type]
        await channel.publish("heard")
        assert await take(messages, 1) == ["heard"]


async def test_two_loops_have_lives_of_their_own(channels: Channels) -> None:
    async def run() -> list[object]:
        async with channels.life(), channels["a"].subscribe() as messages:
            await channels["a"].publish("there")
            return await take(messages, 1)

    async with channels.life(), channels["a"].subscribe() as messages:
        assert await asyncio.to_thread(lambda: asyncio.run(run())) == ["there"]
        await channels["a"].publish("here")
        assert await take(messages, 1) == ["here"]


async def test_life_is_a_lifespan(channels: Channels) -> None:
    app = App()
    app.lifespan(channels.life)

    @app.get("/")
    async def index() -> str:
        return (await channels["a"].publish(1)).id

    for _ in range(2):
        async with app.test_client() as client:
            assert (await client.get("/")).status_code == 200


# --- ten thousand


async def test_ten_thousand_subscribers_each_get_a_message_once(channel: Channel) -> None:
    count = 10_000
    got: list[object] = []

    async def read() -> None:
        async with channel.subscribe() as messages:
            got.append((await anext(messages)).data)

    tasks = [asyncio.create_task(read()) for _ in range(count)]
    await settle()
    assert len(channel) == count
    before = len(asyncio.all_tasks())
    await channel.publish("hello")
    assert len(asyncio.all_tasks()) <= before
    await soon(asyncio.wait(tasks))  # type: ignore[arg-type]
    assert (got, len(channel)) == (["hello"] * count, 0)


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
    assert each < 500  # bytes; with a queue of its own it would be 1200


# --- forwarding


@dataclass
class FakeSocket:
    """A `FrameSocket` whose client reads when it is told to."""

    frames: list[bytes] = field(default_factory=list)
    closed_with: int | None = None
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    fault: Exception | None = None
    is_open: bool = False

    async def open(self) -> None:
        self.is_open = True

    async def send_frame(self, frame: bytes) -> None:
        await self.reads.wait()
        if self.fault is not None:
            raise self.fault
        self.frames.append(frame)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed_with = code

    def pushing(self) -> nullcontext[None]:
        return nullcontext()


@pytest.fixture
def socket() -> FakeSocket:
    socket = FakeSocket()
    socket.reads.set()
    return socket


@asynccontextmanager
async def no_task_is_left() -> AsyncIterator[None]:
    tasks = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() == tasks


async def test_forward_sends_while_the_body_runs(channel: Channel, socket: FakeSocket) -> None:
    async with no_task_is_left():
        async with channel.forward(socket):
            await publish(channel, "hé", b"\x00", {"a": 1})
            await settle()
        await publish(channel, "after")
        await settle()
    assert socket.frames == [b"\x81\x03h\xc3\xa9", b"\x82\x01\x00", b'\x81\x07{"a":1}']
    assert (socket.closed_with, len(channel)) == (None, 0)


async def test_forward_replays(channel: Channel, socket: FakeSocket) -> None:
    ids = await publish(channel, "1", "2")
    async with channel.forward(socket, last_event_id=ids[0]):
        await settle()
    assert socket.frames == [b"\x81\x012"]


async def test_forward_replays_the_history(channel: Channel, socket: FakeSocket) -> None:
    await publish(channel, "1", "2")
    async with channel.forward(socket, replay=True):
        await settle()
    assert socket.frames == [b"\x81\x011", b"\x81\x012"]


async def test_forward_closes_a_socket_that_is_too_slow(
    channel: Channel, socket: FakeSocket
) -> None:
    socket.reads.clear()
    async with channel.forward(socket, queue=1):
        await settle()
        await publish(channel, "1", "2", "3", "4")
        socket.reads.set()
        await settle()
    assert (socket.frames, socket.closed_with) == ([b"\x81\x011", b"\x81\x012"], 1013)


async def test_forward_tells_a_gap(channel: Channel, socket: FakeSocket) -> None:
    socket.reads.clear()
    async with channel.forward(socket, queue=1, policy="drop_oldest"):
        await settle()
        await publish(channel, "1", "2", "3", "4")
        socket.reads.set()
        await settle()
    gap = b'{"gap":true,"missed":2}'
    assert socket.frames == [b"\x81\x011", bytes((0x81, len(gap))) + gap, b"\x81\x014"]


async def test_forward_takes_a_client_that_leaves_for_no_error(
    channel: Channel, socket: FakeSocket
) -> None:
    socket.fault = ClientDisconnected("gone")
    async with channel.forward(socket):
        await publish(channel, "1")
        await settle()
        assert len(channel) == 1  # until the body ends
    assert (socket.closed_with, len(channel)) == (None, 0)


async def test_what_else_forward_fails_with_comes_out(channel: Channel, socket: FakeSocket) -> None:
    socket.fault = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        async with channel.forward(socket):
            await publish(channel, "1")
            await settle()
            assert socket.closed_with == 1011
    assert len(channel) == 0


async def test_error_of_the_body_passes_forward(channel: Channel, socket: FakeSocket) -> None:
    async with no_task_is_left():
        with pytest.raises(ZeroDivisionError):
            async with channel.forward(socket):
                raise ZeroDivisionError
    assert len(channel) == 0


@pytest.mark.parametrize("leave", ["close", "end", "reset"])
async def test_a_message_behind_a_client_that_left_ends_its_endpoint(
    channel: Channel, leave: str
) -> None:
    app, ended = App(), list[bool]()

    @app.websocket("/ws")
    async def push(socket: WebSocket) -> None:
        async with channel.forward(socket):
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

    app.freeze()
    async with in_memory(app) as house:
        peer = Peer(house.connect())
        await peer.shake_hands(handshake())
        if leave == "close":
            await peer.send(close_frame(1000))
        elif leave == "end":
            peer.end.write_eof()
        else:
            house.connection.network.transport.abort()
        await settle()
        await channel.publish("after it has left")
        await settle()
        for _ in range(12):
            await house.pass_time(1)
        assert ended == [True]
        assert not house.server.connections
    assert len(channel) == 0


async def test_endpoints_of_sockets_that_came_and_went_end(channel: Channel) -> None:
    app, open_now = App(), set[WebSocket]()

    @app.websocket("/ws")
    async def push(socket: WebSocket) -> None:
        open_now.add(socket)
        try:
            async with channel.forward(socket):
                await asyncio.Event().wait()
        finally:
            open_now.discard(socket)

    async with on_loopback(app) as server:
        host, port = server.sockets[0].getsockname()[:2]
        for _ in range(20):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(handshake())
            await soon(reader.readuntil(b"\r\n\r\n"))
            writer.transport.abort()
            await channel.publish("tick")
        async with asyncio.timeout(DEADLINE_S):
            while open_now:
                await channel.publish("tick")
                await asyncio.sleep(0.01)
        await until_none(server.connections)


async def test_forward_makes_the_handshake(channel: Channel) -> None:
    app = App()

    @app.websocket("/ws")
    async def push(socket: WebSocket) -> None:
        async with channel.forward(socket):
            await asyncio.Event().wait()

    async with app.test_client() as client, client.websocket("/ws") as socket:
        await channel.publish("hello")
        assert await soon(socket.receive()) == "hello"


# --- events


async def test_message_is_an_event_with_its_id(channel: Channel) -> None:
    message = await channel.publish("a\nb")
    assert message.encode_event() == f"id: {message.id}\ndata: a\ndata: b\n\n".encode()
    assert message.encode_event() is message.encode_event()
    assert message.encode_frame() is message.encode_frame()
    assert (await channel.publish({"a": 1})).encode_event().endswith(b'\ndata: {"a":1}\n\n')


async def test_gap_is_an_event_of_its_own(channel: Channel) -> None:
    assert Gap(3).encode_event() == b'event: gap\ndata: {"gap":true,"missed":3}\n\n'
    assert Gap(None).encode_event() == b'event: gap\ndata: {"gap":true,"missed":null}\n\n'
    async with channel.subscribe(last_event_id="x") as messages:
        gap = await soon(anext(messages))
        assert f"\nid: {messages.position}\n".encode() in gap.encode_event()


async def test_bytes_are_a_gap_for_an_event_stream(
    channel: Channel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "_unfit", Throttle())
    async with serving(channel) as client:
        async with (
            client.events("/events") as events,
            client.events("/events") as others,
            client.websocket("/socket") as socket,
        ):
            await are_subscribed(channel, 3)
            await soon(socket.send(b"\x00"))
            await soon(socket.send(b"\x01"))
            await soon(socket.send("text"))
            assert [await soon(socket.receive()) for _ in "123"] == [b"\x00", b"\x01", "text"]
            for stream in (events, others):
                got = [await soon(anext(stream)) for _ in "123"]
                assert [each.event for each in got] == ["gap", "gap", "message"]
                assert [each.data for each in got[1:]] == ['{"gap":true,"missed":1}', "text"]
                assert len({each.id for each in got}) == 3
            last = got[0].id
        async with client.events("/events", last_event_id=last) as events:
            resumed = [await soon(anext(events)) for _ in "12"]
            assert [each.id for each in resumed] == [each.id for each in got[1:]]
    assert [message[:40] for message in caplog.messages] == [
        "channels: an event stream got a gap in p"
    ]


@asynccontextmanager
async def serving(channel: Channel) -> AsyncIterator[TestClient]:
    app = App()

    @app.get("/events")
    async def events(request: Request, queue: int = 100) -> Response:
        subscription = channel.subscribe(last_event_id=request.last_event_id, queue=queue)
        return Response.events(subscription)

    @app.websocket("/socket")
    async def chat(socket: WebSocket) -> None:
        await socket.accept()
        async with channel.forward(socket):
            async for message in socket:
                await channel.publish(message)

    async with app.test_client() as client:
        yield client


async def are_subscribed(channel: Channel, count: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while len(channel) != count:
            await asyncio.sleep(0)


async def test_event_stream_resumes_where_it_was_cut(channel: Channel) -> None:
    async with serving(channel) as client:
        async with client.events("/events") as events:
            await are_subscribed(channel, 1)
            await publish(channel, "one", "two")
            assert [(await soon(anext(events))).data for _ in "12"] == ["one", "two"]
            last = events.last_event_id
        await are_subscribed(channel, 0)
        await publish(channel, {"n": 3})
        async with client.events("/events", last_event_id=last) as events:
            assert (await soon(anext(events))).json() == {"n": 3}


async def test_event_stream_that_saw_nothing_resumes_too(channel: Channel) -> None:
    async with serving(channel) as client:
        async with client.stream("GET", "/events") as response:
            start = await soon(anext(response.aiter_bytes()))
        parser = EventParser()
        assert parser.feed(start) == []
        await publish(channel, "one")
        async with client.events("/events", last_event_id=parser.last_event_id) as events:
            assert (await soon(anext(events))).data == "one"


async def test_event_stream_that_replays_begins_with_the_history(channel: Channel) -> None:
    app = App()

    @app.get("/")
    async def events(request: Request) -> Response:
        last = request.last_event_id
        return Response.events(channel.subscribe(last_event_id=last, replay=True))

    async with app.test_client() as client:
        for before in range(5):
            async with client.stream("GET", "/") as response:
                text = ""
                async with asyncio.timeout(DEADLINE_S):
                    async for piece in response.aiter_text():
                        text += piece
                        if text.count("\n\n") >= max(1, min(before, 3)):
                            break
            starts = [line for line in text.splitlines() if not line.startswith("id: ")]
            kept = range(max(0, before - 3), before)
            assert [line for line in starts if line] == [f"data: {number}" for number in kept]
            assert text.startswith("id: ")  # that of the first message, or where it begins
            await channel.publish(before)


async def test_event_stream_of_an_unknown_id_begins_with_a_gap(channel: Channel) -> None:
    async with serving(channel) as client, client.events("/events", last_event_id="x-1") as events:
        event = await soon(anext(events))
        assert (event.event, event.json()) == ("gap", gap_of(None))
        assert event.id != "x-1"  # what nobody knows is not asked for again


async def test_event_stream_ends_with_its_channel(channel: Channel) -> None:
    async with serving(channel) as client, client.events("/events") as events:
        await are_subscribed(channel, 1)
        await publish(channel, "one")
        await channel.close()
        async with asyncio.timeout(DEADLINE_S):
            assert [event.data async for event in events] == ["one"]


async def test_sockets_talk_through_a_channel(channel: Channel) -> None:
    async with (
        serving(channel) as client,
        client.websocket("/socket") as one,
        client.websocket("/socket") as other,
        client.events("/events") as events,
    ):
        await are_subscribed(channel, 3)
        await one.send("hello")
        assert await soon(one.receive()) == await soon(other.receive()) == "hello"
        assert (await soon(anext(events))).data == "hello"
    await are_subscribed(channel, 0)


# --- any order of events

HISTORY = 5


class Reader:
    """A subscriber, and what it must see: numbers in a row, but for gaps that say how many."""

    def __init__(self, subscription: Subscription, expected: int | None) -> None:
        self.subscription = subscription
        self.expected = expected  # None: behind a gap of unknown size
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
    """Subscribers that come, read, leave, while messages are published."""

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
        """Take the next message if one is there."""
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
            # It is handed this message, and cancelled before it runs.
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


@pytest.mark.parametrize("reads", [True, False])
async def test_what_sending_fails_with_comes_out_however_the_body_ends(reads: bool) -> None:
    class Failing:
        def __init__(self) -> None:
            self.closed = asyncio.Event()

        async def open(self) -> None: ...

        async def send_frame(self, frame: bytes) -> None:
            raise RuntimeError("can't send")

        async def close(self, code: int = 1000, reason: str = "") -> None:
            self.closed.set()

        def pushing(self) -> nullcontext[None]:
            return nullcontext()

    channels, socket = Channels(), Failing()
    with pytest.raises(RuntimeError, match="can't send"):
        async with channels["a"].forward(socket):
            await channels["a"].publish("x")
            await socket.closed.wait()
            await asyncio.sleep(0)
            if reads:
                raise ClientDisconnected("closed: 1011")


def test_a_name_that_utf_8_can_not_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        Channels()["\ud800"]
