"""WebSocket endpoints by bytes, in memory, with a clock that tests move on."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass

import pytest
from support.serving import (
    DEADLINE_S,
    on_loopback,
    settle,
    statuses,
    until_none,
)
from support.websocketing import (
    CLOSE,
    ENDED,
    FIN,
    PINGED,
    RSV1,
    TEXT,
    Frame,
    close_frame,
    closed,
    counted_turns,
    echo,
    empty_blocks,
    handshake,
    masked,
    serving,
    text,
    wait_for_ever,
)

from microweb import App, ClientDisconnected, abort
from microweb.websocket.frames import encode_frame
from microweb.websocket.socket import WebSocket

# --- messages


async def test_messages_are_echoed_until_the_client_closes() -> None:
    async with serving(echo) as (_, peer):
        await peer.shake_hands(handshake())
        assert statuses(peer.head) == [101]
        await peer.send(masked("hello"), masked(b"\0\1"), close_frame(1000, "bye"))
        assert await peer.frames() == [text("hello"), Frame(0x82, b"\0\1"), closed(1000, "bye")]


async def test_what_came_right_behind_the_handshake_is_kept() -> None:
    async with serving(echo) as (_, peer):
        await peer.shake_hands(handshake() + masked("at once") + close_frame(1000))
        assert await peer.frames() == [text("at once"), closed(1000)]


async def test_a_frame_is_sent_as_it_was_made() -> None:
    frame = encode_frame("for all")

    async def endpoint(socket: WebSocket) -> None:
        await socket.send_frame(frame)
        await socket.send_frame(encode_frame(b"twice"))

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        assert [await peer.frame() for _ in range(3)] == [
            text("for all"),
            Frame(0x82, b"twice"),
            closed(1000),
        ]
        await peer.send(close_frame(1000))
        assert await peer.frame() is None


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_other_buffers_are_binary(kind: type) -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.send(kind(b"abc"))

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        assert await peer.frame() == Frame(0x82, b"abc")


async def test_what_is_no_message_is_refused() -> None:
    async def endpoint(socket: WebSocket) -> None:
        with pytest.raises(TypeError, match="expected a message as str or bytes, got dict"):
            await socket.send({"a": 1})  # type: ignore[arg-type]

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        assert await peer.frame() == closed(1000)


async def test_json_both_ways() -> None:
    @dataclass
    class Move:
        x: int

    async def endpoint(socket: WebSocket) -> None:
        await socket.send_json({"got": await socket.receive_json()})
        move = await socket.receive_json(Move)
        await socket.send_json(move)
        async for value in socket.iter_json():
            await socket.send_json(value)

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        await peer.send(masked('"é"'), masked(b'{"x": 3}'), masked("[1]"), close_frame(1000))
        assert await peer.frames() == [
            text('{"got":"é"}'),
            text('{"x":3}'),
            text("[1]"),
            closed(1000),
        ]


@pytest.mark.parametrize("message", ["no json", "", r'"\ud800"', r'{"\udfff": 1}'])
async def test_what_is_no_json_closes_with_1007(
    message: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.receive_json()

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        await peer.send(masked(message))
        frame = await peer.frame()
        assert frame is not None and frame.payload[:2] == (1007).to_bytes(2)
    assert not caplog.records


async def test_an_http_error_in_a_task_group_closes_as_by_itself(
    nothing_is_logged: None,
) -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        async with asyncio.TaskGroup() as group:
            group.create_task(socket.receive_json())

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        await peer.send(masked("no json"))
        frame = await peer.frame()
        assert frame is not None and frame.payload[:2] == (1007).to_bytes(2)


@pytest.mark.parametrize("size", [1_100_000, 5_000_000, 50_000_000])
@pytest.mark.parametrize("ends", ["the message", "the endpoint"])
async def test_the_code_of_a_close_inside_a_large_message_arrives(size: int, ends: str) -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        if ends == "the endpoint":
            await socket.close(4000)
        await echo(socket)

    app = App()
    app.websocket("/ws")(endpoint)
    async with on_loopback(app) as server:
        host, port = server.sockets[0].getsockname()[:2]
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(handshake())
        async with asyncio.timeout(DEADLINE_S):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"\x82\xff" + size.to_bytes(8) + bytes(4) + bytes(size))
            await writer.drain()  # like a client that reads only after it has sent all
            code = 1009 if ends == "the message" else 4000
            assert (await reader.read())[2:4] == code.to_bytes(2)
        writer.close()
        await until_none(server.connections)


async def test_types_of_many_values_are_made_beside_the_loop() -> None:
    threads = set()

    @dataclass
    class Point:
        x: int

        def __post_init__(self) -> None:
            threads.add(threading.get_ident())

    async def endpoint(socket: WebSocket) -> None:
        await socket.send_json(len(await socket.receive_json(list[Point])))

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        await peer.send(masked("[" + ",".join(['{"x":1}'] * 6000) + "]"))
        assert await peer.frame() == text("6000")
    assert len(threads) == 1 and threading.get_ident() not in threads


async def test_json_of_too_many_values_closes_with_1009() -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.send_json(len(await socket.receive_json()))
        await socket.receive_json()

    async with serving(endpoint, max_json_values=3) as (_, peer):
        await peer.shake_hands(handshake())
        await peer.send(masked("[1,1,1]"), masked("[1,1,1,1]"))
        assert await peer.frame() == text("3")
        frame = await peer.frame()
        assert frame is not None and frame.payload[:2] == (1009).to_bytes(2)


# --- closing


async def test_the_endpoints_end_closes_with_1000() -> None:
    async def endpoint(socket: WebSocket) -> str:
        await socket.accept()
        return "not sent"

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        assert await peer.frame() == closed(1000)
        await peer.send(masked("too late"), close_frame(1000))
        assert await peer.frame() is None


async def test_the_endpoint_closes_with_code_and_reason() -> None:
    seen: list[object] = []

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        assert (socket.close_code, socket.close_reason) == (None, "")
        await socket.close(4000, "dönt")
        await socket.close(4001)  # does nothing
        seen.extend((socket.close_code, socket.close_reason))
        async for message in socket:
            seen.append(message)
        with pytest.raises(ClientDisconnected, match="4000"):
            await socket.send("x")
        with pytest.raises(ClientDisconnected, match="4000"):
            await socket.receive()

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake() + masked("before"))
        assert await peer.frames_until_close() == [closed(4000, "dönt")]
        await peer.send(close_frame(4000))
        assert await peer.frame() is None
        await settle()
    assert seen == [4000, "dönt"]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000])
async def test_codes_that_can_not_be_sent_are_refused(code: int) -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        with pytest.raises(ValueError, match="close code"):
            await socket.close(code)
        with pytest.raises(ValueError, match="reason"):
            await socket.close(1000, "é" * 62)

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        assert await peer.frame() == closed(1000)


@pytest.mark.parametrize(
    ("sent", "code", "reason"),
    [
        (close_frame(1001, "tab closed"), 1001, "tab closed"),
        (masked(b"", CLOSE), 1005, ""),
        (masked("x" * 2000), 1009, None),
        (b"\x81\x01x", 1002, None),
    ],
)
async def test_the_endpoint_sees_why_it_was_closed(
    sent: bytes, code: int, reason: str | None
) -> None:
    seen: list[object] = []

    async def endpoint(socket: WebSocket) -> None:
        async for message in socket:
            seen.append(message)
        seen.append(socket.close_code)
        if reason is not None:
            assert socket.close_reason == reason
        assert str(code) in repr(socket)

    async with serving(endpoint, max_message=1000) as (_, peer):
        await peer.shake_hands(handshake())
        await peer.send(masked("before"), sent)
        frames = await peer.frames()
        assert [frame.first for frame in frames] == [FIN | CLOSE]
    assert seen == ["before", code]


async def test_an_end_without_a_close_is_1006() -> None:
    seen: list[object] = []

    async def endpoint(socket: WebSocket) -> None:
        with pytest.raises(ClientDisconnected, match="1006"):
            await socket.receive()
        seen.append(socket.close_code)

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        peer.end.write_eof()
        assert await peer.frame() is None
    assert seen == [1006]


@pytest.mark.parametrize("raised", [RuntimeError("secret"), abort])
async def test_a_fault_behind_the_handshake_closes_with_1011(
    raised: object, caplog: pytest.LogCaptureFixture
) -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.receive()
        if isinstance(raised, Exception):
            raise raised
        abort(500)

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        await peer.send(masked("go"))
        assert await peer.frame() == closed(1011)
        await peer.send(close_frame(1011))
        assert await peer.frame() is None
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("microweb.error", "GET /ws failed")
    assert record.exc_info is not None


async def test_what_is_unavailable_behind_the_handshake_closes_with_1013(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.receive()
        abort(503, "come back later")

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        await peer.send(masked("go"))
        assert await peer.frame() == closed(1013, "come back later")
    assert not caplog.records


async def test_a_refusal_behind_the_handshake_closes_with_1008(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        abort(403, "é" * 100)

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        assert await peer.frame() == closed(1008, "é" * 61)
    assert not caplog.records


async def test_an_endpoint_that_is_told_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    async def endpoint(socket: WebSocket) -> None:
        while True:
            await socket.receive()

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        await peer.send(close_frame(1000))
        assert await peer.frames() == [closed(1000)]
    assert not caplog.records


async def test_what_tells_the_tasks_of_a_group_is_no_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def endpoint(socket: WebSocket) -> None:
        async def read() -> None:
            async with asyncio.TaskGroup() as inner:
                inner.create_task(receive_for_ever(socket))

        async with asyncio.TaskGroup() as group:
            group.create_task(read())

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        await peer.send(close_frame(1000))
        assert await peer.frames() == [closed(1000)]
    assert not caplog.records


async def receive_for_ever(socket: WebSocket) -> None:
    while True:
        await socket.receive()


async def test_a_task_of_the_endpoints_that_is_cancelled_closes_with_1011() -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        task = asyncio.create_task(asyncio.Event().wait())
        task.cancel()
        await task

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        assert await peer.frame() == closed(1011)


async def test_a_close_that_is_not_answered_is_waited_for_5_seconds() -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()

    async with serving(endpoint) as (house, peer):
        await peer.shake_hands(handshake())
        assert await peer.frame() == closed(1000)
        await house.pass_time(1)
        await house.pass_time(4)
        assert house.server.connections
        await house.pass_time(1)
        assert not house.server.connections
        assert await peer.frame() is None


async def test_an_endpoint_that_only_sends_is_told_of_a_close() -> None:
    seen: list[object] = []

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        await going_on.wait()
        try:
            await socket.send("anybody?")
        finally:
            seen.append(socket.close_code)

    going_on = asyncio.Event()
    async with serving(endpoint) as (house, peer):
        await peer.shake_hands(handshake())
        await peer.send(close_frame(1001))
        await house.pass_time(1)
        assert await peer.frame() == closed(1001)
        going_on.set()
        await settle()
    assert seen == [1001]


@pytest.mark.parametrize("leave", ["end", "reset"])
async def test_an_endpoint_whose_client_is_lost_is_cancelled_a_second_later(leave: str) -> None:
    ENDED.clear()
    async with serving(wait_for_ever) as (house, peer):
        await peer.shake_hands(handshake())
        if leave == "end":
            peer.end.write_eof()
        else:
            house.connection.network.transport.abort()
        await house.pass_time(1)
        assert not ENDED
        await house.pass_time(1)
        assert ENDED == [1006]
        assert not house.server.connections


async def test_a_close_that_came_before_the_end_counts() -> None:
    seen: list[object] = []

    async def endpoint(socket: WebSocket) -> None:
        async for message in socket:
            seen.append(message)
        seen.append(socket.close_code)

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        await peer.send(masked("last words"), close_frame(1000, "bye"))
        peer.end.write_eof()
        assert await peer.frame() == closed(1000, "bye")
        assert await peer.frame() is None
        assert seen == ["last words", 1000]


async def test_an_endpoint_has_10_seconds_behind_a_close() -> None:
    ENDED.clear()
    async with serving(wait_for_ever) as (house, peer):
        await peer.shake_hands(handshake())
        await peer.send(close_frame(1000))
        await house.pass_time(1)
        for _ in range(9):
            await house.pass_time(1)
        assert not ENDED
        await house.pass_time(1)
        assert ENDED == [1000]


async def test_a_shield_holds_while_the_client_is_lost() -> None:
    seen: list[object] = []

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        async with socket.request.shield():
            await going_on.wait()
            seen.append("saved")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    going_on = asyncio.Event()
    async with serving(endpoint) as (house, peer):
        await peer.shake_hands(handshake())
        peer.end.close()
        for _ in range(30):
            await house.pass_time(1)
        assert not seen
        going_on.set()
        await settle()
        await house.pass_time(1)
        assert seen == ["saved", "cancelled"]
        assert not house.server.connections


async def test_an_endpoint_that_was_told_is_left_alone() -> None:
    ended = []

    async def endpoint(socket: WebSocket) -> None:
        async for _ in socket:
            pass
        await going_on.wait()
        ended.append(True)

    going_on = asyncio.Event()
    async with serving(endpoint) as (house, peer):
        await peer.shake_hands(handshake())
        peer.end.write_eof()
        for _ in range(100):
            await house.pass_time(1)
        assert not ended
        going_on.set()
        await settle()
        assert ended
        assert not house.server.connections


async def test_an_endpoint_pings_by_itself() -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.ping()
        await socket.receive()

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        assert await peer.frame() == PINGED


# --- compression, extensions, logs


async def test_a_compressed_message_is_answered_by_one() -> None:
    async with serving(echo) as (_, peer):
        await peer.shake_hands(handshake("/ws", "Sec-WebSocket-Extensions: permessage-deflate"))
        assert b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context" in peer.head
        await peer.send(masked("x" * 2000))
        frame = await peer.frame()
        assert frame is not None and frame.first == 0x81 | RSV1
        assert len(frame.payload) < 100


async def test_a_final_block_leaves_the_connection_working() -> None:
    hello = masked(bytes.fromhex("f348cdc9c9070000"), bits=FIN | RSV1, opcode=TEXT)
    async with serving(echo) as (_, peer):
        await peer.shake_hands(handshake("/ws", "Sec-WebSocket-Extensions: permessage-deflate"))
        await peer.send(hello, hello, masked("plain"), hello, close_frame(1000))
        texts = [text(each) for each in ("Hello", "Hello", "plain", "Hello")]
        assert await peer.frames() == [*texts, closed(1000)]


async def test_a_message_that_is_slow_to_inflate_leaves_others_their_turn() -> None:
    size, seen = 600_000, list[int]()

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        async with counted_turns() as turns:
            await asyncio.sleep(0)
            assert await socket.receive() == ""
            seen.append(turns[0])
        await socket.send(await socket.receive())

    slow = masked(empty_blocks(size), TEXT, bits=FIN | RSV1)
    head = handshake("/ws", "Sec-WebSocket-Extensions: permessage-deflate")
    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(head + slow + masked("next"))
        assert await peer.frame() == text("next")
    assert seen[0] >= size // (32 * 1024)


@pytest.mark.parametrize("offer", ['bbf-usp-protocol; eid="proto::agent"', "", ", ,"])
async def test_an_extension_that_is_not_ours_is_declined(offer: str) -> None:
    async with serving(echo) as (_, peer):
        await peer.shake_hands(handshake("/ws", f"Sec-WebSocket-Extensions: {offer}"))
        assert statuses(peer.head) == [101]
        assert b"extensions" not in peer.head.lower()
        await peer.send(masked("hello"))
        assert await peer.frame() == text("hello")


async def test_nothing_of_a_frame_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving(echo) as (_, peer):
        await peer.shake_hands(handshake())
        await peer.send(masked("secret"), masked(b"\xff", 1))
        assert [frame.first for frame in await peer.frames()] == [0x81, 0x88]
    assert "secret" not in caplog.text
