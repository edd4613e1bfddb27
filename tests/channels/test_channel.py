"""Channels in one process: the messages that subscribers get, under every policy, and their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field

import pytest
from support.serving import DEADLINE_S, in_memory, on_loopback, settle, until_none
from support.subscribing import (
    all_data,
    are_subscribed,
    gap_of,
    publish,
    serving,
    soon,
    take,
)
from support.websocketing import Peer, close_frame, handshake

from microweb import (
    App,
    ClientDisconnected,
    ConfigurationError,
    Request,
    Response,
    WebSocket,
    from_thread,
)
from microweb.channels.channel import Channel, Channels
from microweb.channels.memory import MemoryBroker
from microweb.errors import BrokerUnavailable
from microweb.testing.eventsource import EventParser

# --- publishing and subscribing


async def test_all_subscribers_get_the_same_message(channel: Channel) -> None:
    async with channel.subscribe() as one, channel.subscribe() as other:
        published = await channel.publish("hello")
        got = [await soon(anext(one)), await soon(anext(other))]
    assert got[0] is got[1]
    assert (got[0].id, got[0].data) == (published.id, published.data) == (published.id, "hello")


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
    await channel.close()  # without subscribers


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


def test_wrong_options_of_channels_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Channels: expected"):
        Channels(history=-1)
    with pytest.raises(ConfigurationError, match=r"MemoryBroker: expected"):
        MemoryBroker(max_channels=-1)


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
            await client.post("/run")  # the first use of the channel
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


# --- forwarding


@dataclass
class FakeSocket:
    """A `FrameSocket` whose client reads only when a test lets it."""

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
            assert text.startswith("id: ")  # the id of the first message, or of the start
            await channel.publish(before)


async def test_event_stream_of_an_unknown_id_begins_with_a_gap(channel: Channel) -> None:
    async with serving(channel) as client, client.events("/events", last_event_id="x-1") as events:
        event = await soon(anext(events))
        assert (event.event, event.json()) == ("gap", gap_of(None))
        assert event.id != "x-1"  # the client does not keep an unknown id


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
