"""The channels of an event loop: replays, publishers that wait, and ten thousand subscribers."""

from __future__ import annotations

import asyncio

import pytest
from support.serving import DEADLINE_S, on_loopback, settle, until_none
from support.subscribing import (
    all_data,
    are_subscribed,
    gap_of,
    publish,
    publish_together,
    soon,
    take,
)
from support.websocketing import handshake, masked

from microweb import App, WebSocket
from microweb.channels.channel import Channel, Channels
from microweb.channels.memory import MemoryBroker
from microweb.channels.subscription import Policy, Subscription
from microweb.channels.topic import Hub
from microweb.errors import BrokerUnavailable

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
        assert messages.is_full  # though each waiting publisher waited less
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
        while len(got) < 100:  # each in its own task, as asyncio.wait_for before 3.12
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


async def test_publishers_that_give_up_waiting_keep_their_order() -> None:
    channel = Channels(wait_s=0)["a"]
    async with (
        channel.subscribe(queue=1, policy="wait"),
        channel.subscribe(queue=1, policy="drop_newest"),
        channel.subscribe(queue=2, policy="drop_newest"),
        channel.subscribe() as messages,
    ):
        await publish_together(channel, 4)
        assert await take(messages, 4) == [0, 1, 2, 3]


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


async def test_a_hub_forgets_a_channel_with_its_last_user() -> None:
    hub = Hub(MemoryBroker(), 3)
    topic = await hub.enter("a")
    assert await hub.enter("a") is topic
    await hub.leave(topic)
    assert list(hub.topics) == ["a"]
    await hub.leave(topic)
    assert not hub.topics
    await hub.aclose()
    with pytest.raises(BrokerUnavailable):
        await hub.enter("a")


@pytest.mark.parametrize("size", [1, 2, 5])
async def test_subscriber_that_keeps_up_with_several_publishers_is_not_ended(size: int) -> None:
    """It pauses for at most three turns after a message, and a full queue has five."""
    channel, turns = Channels()["a"], 0
    async with channel.subscribe(queue=size) as messages:

        async def consume() -> int:
            nonlocal turns
            count = 0
            async for _ in messages:
                count += 1
                for _ in range(turns := (turns + 1) % 4):
                    await asyncio.sleep(0)
            return count

        async def send(first: int) -> None:
            for number in range(20):
                for _ in range((first + number) % 4):
                    await asyncio.sleep(0)
                await channel.publish("x")

        consuming = asyncio.create_task(consume())
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*map(send, range(4)))
            await settle()
            await channel.close()
            assert await consuming == 80
