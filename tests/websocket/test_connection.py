"""Messages of one connection: their order, their bounds, and turns of other tasks."""

from __future__ import annotations

import asyncio
import random
import select
from typing import Any

import pytest
from support.serving import (
    DEADLINE_S,
    on_loopback,
    peer_of,
    settle,
    until_none,
)
from support.websocketing import (
    ENDED,
    FIN,
    PING,
    PONG,
    RSV1,
    Frame,
    accept,
    close_frame,
    closed,
    counted_turns,
    deflated,
    echo,
    handshake,
    masked,
    serving,
    text,
    wait_for_ever,
)

from microweb import App, ClientDisconnected, WebSocket
from microweb.errors import LocalProtocolError
from microweb.websocket.connection import WebSocketConnection


async def test_nothing_is_left_of_a_connection_that_ended() -> None:
    connections: list[WebSocketConnection | None] = []

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        connections.append(socket._connection)

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        assert await peer.frame() == closed(1000)
        await peer.send(close_frame(1000))
        assert await peer.frame() is None
        (connection,) = connections
        assert connection is not None
        assert connection.closed_with == (1000, "")
        assert connection.gone.done()
        assert connection.task is None


async def test_a_client_that_floods_and_leaves_while_it_is_closed() -> None:
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()

    async with serving(endpoint) as (house, peer):
        await peer.shake_hands(handshake())
        await peer.send(masked(b"", PING) * 1000)
        peer.end.close()
        await until_none(house.server.connections)
        await settle()
    assert not faults


async def test_a_cancelled_receive_has_taken_nothing() -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.receive(), 0.001)
        await socket.send("now")
        await socket.send(await socket.receive())

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        assert await peer.frame() == text("now")
        await peer.send(masked("message"))
        assert await peer.frame() == text("message")


async def test_two_tasks_do_not_receive_at_once() -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        first = asyncio.create_task(socket.receive())
        await asyncio.sleep(0)
        with pytest.raises(LocalProtocolError, match="another task"):
            await socket.receive()
        await socket.send("go on")
        await socket.send(await first)

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        assert await peer.frame() == text("go on")
        await peer.send(masked("one"))
        assert await peer.frame() == text("one")


async def test_tasks_of_an_endpoint_share_its_socket() -> None:
    async def endpoint(socket: WebSocket) -> None:
        async def tell(number: int) -> None:
            await socket.send(f"{number}")  # the first of them makes the handshake

        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(tell(number))

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        frames = [await peer.frame() for _ in range(4)]
        assert frames == [text("0"), text("1"), text("2"), closed(1000)]


async def test_one_client_that_floods_leaves_others_their_turn() -> None:
    async def endpoint(socket: WebSocket) -> None:
        async with counted_turns() as turns:
            for _ in range(1000):
                await socket.receive()
            assert turns[0] >= 15

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake() + masked("") * 1000)
        assert await peer.frame() == closed(1000)


@pytest.mark.parametrize(
    "flood",
    [
        masked(b"", PING) * 2000 + masked("end"),
        masked(b"", PONG) * 2000 + masked("end"),
        masked("end", bits=0) + masked("", 0, bits=0) * 2000 + masked("", 0),
    ],
    ids=["pings", "pongs", "fragments"],
)
@pytest.mark.parametrize("has_ended", [False, True])
async def test_frames_that_are_no_messages_leave_others_their_turn(
    flood: bytes, has_ended: bool
) -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        await going_on.wait()
        async with counted_turns() as turns:
            assert await socket.receive() == "end"
            assert turns[0] >= 20
        assert [message async for message in socket] == ["more"]
        seen.append(socket.close_code)

    seen: list[object] = []
    going_on = asyncio.Event()
    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake() + flood + masked("more"))
        if has_ended:
            peer.end.write_eof()
        else:
            await peer.send(close_frame(1000))
        going_on.set()
        frames = await peer.frames()
    assert seen == [1006 if has_ended else 1000]
    assert all(frame == Frame(FIN | PONG, b"") for frame in frames[:-1])


async def test_the_code_of_a_close_behind_many_frames_and_an_end_arrives() -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        await going_on.wait()
        async for message in socket:
            seen.append(message)
        seen.append(socket.close_code)

    seen: list[object] = []
    going_on = asyncio.Event()
    async with serving(endpoint) as (_, peer):
        flood = masked(b"", PONG) * 2000
        await peer.shake_hands(handshake() + flood + masked("x") + flood + close_frame(1000))
        peer.end.write_eof()
        await settle()
        going_on.set()
        await peer.frames()
    assert seen == ["x", 1000]


FRAGMENTS = masked("", bits=0) + masked("", 0, bits=0) * 60 + masked("x", 0)


async def test_messages_of_many_fragments_leave_others_their_turn() -> None:
    async def endpoint(socket: WebSocket) -> None:
        async with counted_turns() as turns:
            for _ in range(60):
                assert await socket.receive() == "x"
            assert turns[0] >= 40

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake() + FRAGMENTS * 60)
        assert await peer.frame() == closed(1000)


async def test_messages_of_many_fragments_that_nobody_waits_for_leave_others_their_turn() -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        await going_on.wait()

    going_on = asyncio.Event()
    async with serving(endpoint) as (house, peer):
        await peer.shake_hands(handshake())
        await house.pass_time(1)
        async with counted_turns() as turns:
            await peer.send(FRAGMENTS * 60, masked(b"", PING))
            assert await peer.frame() == Frame(FIN | PONG, b"")
            assert turns[0] >= 40
        going_on.set()


async def test_texts_that_nobody_waits_for_are_counted_in_bytes() -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        await going_on.wait()
        async for message in socket:
            got.append(message)

    going_on, got, sent = asyncio.Event(), list[str | bytes](), "\U0001f600" * 1000
    async with serving(endpoint) as (house, peer):
        await peer.shake_hands(handshake())
        await house.pass_time(1)
        await peer.send(masked(sent) * 30)
        await settle()
        assert house.server.state.budget.total >= 30 * 4000
        going_on.set()
        await settle()
        assert got == [sent] * 30
        await peer.send(close_frame(1000))
        await peer.frames()
        assert house.server.state.budget.total == 0


async def test_what_comes_behind_our_close_leaves_others_their_turn() -> None:
    async with serving(accept) as (_, peer):
        await peer.shake_hands(handshake())
        assert await peer.frame() == closed(1000)
        async with counted_turns() as turns:
            await peer.send(masked("x" * 1000) * 200, close_frame(1000))
            assert await peer.frame() is None
            assert turns[0] >= 3


@pytest.mark.parametrize("size", [1, 10_000])
async def test_an_endpoint_that_sends_leaves_others_their_turn(size: int) -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        async with counted_turns() as turns:
            for _ in range(1000):
                await socket.send("x" * size)
            assert turns[0] >= 15

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        frames = await peer.frames_until_close()
        assert (len(frames), frames[-1]) == (1001, closed(1000))


# --- without a receive()


async def test_pings_are_answered_while_the_endpoint_receives() -> None:
    async with serving(echo) as (_, peer):
        await peer.shake_hands(handshake())
        await peer.send(masked(b"a", PING), masked("m"), masked(b"b", PING))
        frames = [await peer.frame() for _ in range(3)]
        assert frames == [Frame(FIN | PONG, b"a"), text("m"), Frame(FIN | PONG, b"b")]


async def test_pings_are_answered_while_the_endpoint_does_something_else() -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        await going_on.wait()
        async for message in socket:
            await socket.send(message)

    going_on = asyncio.Event()
    async with serving(endpoint) as (house, peer):
        await peer.shake_hands(handshake() + masked("early") + masked(b"x", PING))
        await house.pass_time(1)
        assert await peer.frame() == Frame(FIN | PONG, b"x")
        await peer.send(masked(b"y", PING))
        assert await peer.frame() == Frame(FIN | PONG, b"y")
        await peer.send(masked("late"))
        await settle()
        going_on.set()
        assert [await peer.frame(), await peer.frame()] == [text("early"), text("late")]
        await peer.send(masked("and on"), close_frame(1000))
        assert await peer.frames() == [text("and on"), closed(1000)]


async def test_what_arrives_unasked_for_is_bounded() -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        await going_on.wait()
        got.extend([await socket.receive() for _ in range(200)])

    got: list[object] = []
    going_on = asyncio.Event()
    message = "x" * 4096
    async with serving(endpoint) as (house, peer):
        await peer.shake_hands(handshake())
        sending = asyncio.create_task(peer.send(*([masked(message)] * 200)))
        for _ in range(5):
            await house.pass_time(1)
        assert not sending.done()  # the peer waits
        going_on.set()
        assert await peer.frame() == closed(1000)
        await sending
    assert got == [message] * 200


async def test_empty_messages_that_nobody_receives_are_bounded() -> None:
    """Empty messages have no size, but each takes memory."""

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        await going_on.wait()
        got.extend([await socket.receive() for _ in range(50_000)])

    got: list[object] = []
    going_on = asyncio.Event()
    async with serving(endpoint) as (house, peer):
        await peer.shake_hands(handshake())
        sending = asyncio.create_task(peer.send(masked("") * 50_000))
        for _ in range(5):
            await house.pass_time(1)
        for _ in range(50):
            await settle()
        assert not sending.done()  # the peer waits
        going_on.set()
        assert await peer.frame() == closed(1000)
        await sending
    assert got == [""] * 50_000


async def test_messages_from_before_a_close_are_received() -> None:
    got: list[object] = []

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        await going_on.wait()
        got.extend([message async for message in socket])

    going_on = asyncio.Event()
    async with serving(endpoint) as (house, peer):
        await peer.shake_hands(handshake())
        await peer.send(masked("a"), masked("b"), close_frame(1000))
        await house.pass_time(1)
        assert await peer.frame() == closed(1000)
        going_on.set()
        await settle()
    assert got == ["a", "b"]


@pytest.mark.parametrize("resets", [True, False])
async def test_a_client_that_leaves_is_nothing_to_log(
    resets: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()
    app.websocket("/ws")(echo)
    async with on_loopback(app) as server:
        async with peer_of(server) as peer:
            await peer.send(handshake())
            await peer.read_until(b"\r\n\r\n")
            if resets:
                await peer.reset()
        await until_none(server.connections)
    assert not caplog.records


@pytest.mark.skipif(not hasattr(select, "POLLRDHUP"), reason="the system does not tell")
@pytest.mark.parametrize("resets", [True, False])
async def test_a_client_that_left_more_than_is_read_is_noticed(resets: bool) -> None:
    async def endpoint(socket: WebSocket) -> None:
        await wait_for_ever(socket)

    ENDED.clear()
    app = App()
    app.websocket("/ws")(endpoint)
    async with on_loopback(app) as server:
        async with peer_of(server) as peer:
            await peer.send(handshake())
            await peer.read_until(b"\r\n\r\n")
            await peer.send(masked("x" * 4096) * 50)
            if resets:
                await peer.reset()
        async with asyncio.timeout(DEADLINE_S):
            while not ENDED:
                await asyncio.sleep(0.01)
        await until_none(server.connections)
    assert ENDED == [1006]


UNFINISHED = 500_000  # bytes of a message; random ones don't shrink when compressed


@pytest.mark.parametrize(
    ("frames", "counted"),
    [
        (masked(bytes(UNFINISHED)), 0),
        (masked(bytes(UNFINISHED), bits=0), UNFINISHED),
        (masked(deflated(random.Random(1).randbytes(UNFINISHED)), bits=RSV1), UNFINISHED),
    ],
    ids=["whole", "unfinished", "compressed-unfinished"],
)
async def test_memory_for_messages_is_counted_while_it_is_held(frames: bytes, counted: int) -> None:
    came = asyncio.Event()

    async def endpoint(socket: WebSocket) -> None:
        async for _ in socket:
            came.set()

    app = App()
    app.websocket("/ws")(endpoint)
    async with on_loopback(app) as server:
        async with peer_of(server) as peer:
            await peer.send(handshake("/ws", "Sec-WebSocket-Extensions: permessage-deflate"))
            await peer.read_until(b"\r\n\r\n")
            await peer.send(frames)
            async with asyncio.timeout(DEADLINE_S):
                if not counted:
                    await came.wait()
                while not counted <= server.state.budget.total < counted + 1000:
                    await asyncio.sleep(0.01)
        await until_none(server.connections)
        assert server.state.budget.total == 0


async def test_send_waits_for_a_slow_reader() -> None:
    sent = 0

    async def endpoint(socket: WebSocket) -> None:
        nonlocal sent
        for _ in range(100):
            await socket.send(b"x" * 16384)
            sent += 1

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        await settle()
        assert 0 < sent < 20
        frames = [await peer.frame() for _ in range(101)]
        assert frames[-1] == closed(1000)
        assert sent == 100


async def test_a_reader_that_takes_nothing_is_dropped() -> None:
    seen: list[object] = []

    async def endpoint(socket: WebSocket) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(socket.send(b"x" * 500_000))
        except* ClientDisconnected as group_of:
            seen.append(len(group_of.exceptions))

    async with serving(endpoint, write_timeout_s=7) as (house, peer):
        await peer.shake_hands(handshake())
        await house.pass_time(6)
        assert not seen
        await house.pass_time(2)
        await settle()
        assert seen == [3]


async def test_one_sender_that_gives_up_leaves_the_others_their_deadline() -> None:
    seen: list[object] = []

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        first = asyncio.create_task(socket.send(b"x" * 500_000))
        second = asyncio.create_task(socket.send(b"x"))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(ClientDisconnected):
            await second
        seen.append(True)

    async with serving(endpoint, write_timeout_s=7) as (house, peer):
        await peer.shake_hands(handshake())
        await house.pass_time(8)
        await settle()
        assert seen == [True]


async def test_pongs_wait_for_a_slow_reader_too() -> None:
    async with serving(echo) as (house, peer):
        await peer.shake_hands(handshake())
        flood = asyncio.create_task(peer.send(*([masked(b"p" * 125, PING)] * 20_000)))
        await settle()
        await settle()
        assert not flood.done()
        assert house.connection.network.transport.get_write_buffer_size() < 200_000
        flood.cancel()
