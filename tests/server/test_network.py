"""The bytes of a connection: deadlines, and peers that read slowly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.serving import (
    DEADLINE_S,
    GET,
    QUICK_S,
    get,
    in_memory,
    on_loopback,
    peer_of,
    post,
    read_all,
    read_until,
    settle,
    statuses,
)

from microweb import App
from microweb.errors import ProtocolError
from microweb.http.interfaces import Address
from microweb.request import Request
from microweb.response import Response


async def hello(request: Request) -> Response:
    return Response(request.path)


async def echo(request: Request) -> Response:
    return Response(await request.body())


async def large(request: Request) -> Response:
    return Response(bytes(70_000))


async def test_silent_start_is_closed_without_an_answer() -> None:
    async with in_memory(hello, head_timeout_s=10) as house:
        end = house.connect()
        await house.pass_time(9.9)
        assert not end.is_readable
        await house.pass_time(0.1)
        assert await read_all(end) == b""


async def test_address_is_known_after_the_client_has_left() -> None:
    app, begun, left = App(), asyncio.Event(), asyncio.Event()
    found: asyncio.Future[Address | None] = asyncio.get_running_loop().create_future()

    @app.post("/", on_disconnect="finish")
    async def wait(request: Request) -> str:
        begun.set()
        await left.wait()
        found.set_result(request.peer)
        return ""

    async with on_loopback(app) as server, peer_of(server) as peer, asyncio.timeout(DEADLINE_S):
        await peer.send(post("/"))
        await begun.wait()
        (connection,) = server.connections
        own = connection.network.transport.get_extra_info("peername")
        await peer.reset()
        while not connection.network.is_gone():
            await asyncio.sleep(0.01)
        left.set()
        assert await found == Address(*own)


async def test_head_deadline_is_absolute() -> None:
    async with in_memory(hello, head_timeout_s=10) as house:
        end = house.connect()
        for byte in GET[:9]:
            await end.write(bytes((byte,)))
            await house.pass_time(1)
        assert not end.is_readable
        await house.pass_time(1)
        answer = await read_until(end, b"Timeout\n")
        assert statuses(answer) == [408] and b"Connection: close\r\n" in answer
        end.close()


async def test_head_deadline_of_a_later_request_begins_at_its_first_byte() -> None:
    async with in_memory(hello, head_timeout_s=10, idle_timeout_s=75) as house:
        end = house.connect()
        await end.write(GET)
        await read_until(end, b"\r\n\r\n/")
        await house.pass_time(60)
        await end.write(GET[:5])
        await house.pass_time(9)
        await end.write(GET[5:9])
        assert not end.is_readable
        await house.pass_time(1)
        assert statuses(await read_until(end, b"Timeout\n")) == [408]
        end.close()


async def test_head_keeps_its_deadline_while_answers_before_it_are_read() -> None:
    async def handler(request: Request) -> Response:
        return Response(bytes(60_000))

    async with in_memory(handler, head_timeout_s=10, write_timeout_s=30) as house:
        end = house.connect()
        await end.write(GET * 3 + GET[:5])
        await house.pass_time(1)
        await end.write(GET[5:7])
        await house.pass_time(1)
        assert house.connection.network.is_draining
        answers = b""
        while answers.count(0) < 3 * 60_000:
            answers += await end.read()
        await house.pass_time(8)
        assert statuses(await read_all(end)) == [408]


async def test_idle_connection_is_closed_without_an_answer() -> None:
    async with in_memory(hello, idle_timeout_s=75) as house:
        house.server.state.idle_deadline = house.now + 75
        end = house.connect()
        await end.write(GET)
        await read_until(end, b"\r\n\r\n/")
        await house.pass_time(74)
        assert not end.is_readable
        await house.pass_time(1)
        assert await read_all(end) == b""


async def test_idle_connection_whose_answer_is_not_read_is_cut_off() -> None:
    async def handler(request: Request) -> Response:
        return Response(bytes(60_000))

    async with in_memory(handler, idle_timeout_s=75) as house:
        house.server.state.idle_deadline = house.now + 75
        end = house.connect()
        await end.write(GET * 2)
        await settle()
        assert end.transport.get_write_buffer_size() > 0
        await house.pass_time(house.server.config.write_timeout_s - 1)
        assert house.server.connections
        await house.pass_time(1)
        assert not house.server.connections


async def test_idle_connection_whose_answer_is_read_slowly_gets_all_of_it() -> None:
    async def handler(request: Request) -> Response:
        return Response(bytes(60_000))

    async with in_memory(handler, idle_timeout_s=75) as house:
        house.server.state.idle_deadline = house.now + 75
        end = house.connect()
        await end.write(GET * 2)
        await settle()
        data = b""
        while end.transport.get_write_buffer_size() > 0:
            data += await end.read(10_000)
            await house.pass_time(29)
        data += await read_all(end)
        assert statuses(data) == [200] * 2 and len(data) > 2 * 60_000


async def test_handler_has_no_deadline() -> None:
    is_open = asyncio.Event()

    async def handler(request: Request) -> Response:
        await is_open.wait()
        return Response("at last")

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        await house.pass_time(100_000)
        is_open.set()
        assert b"at last" in await read_until(end, b"at last")
        end.close()


async def test_body_that_stops_is_a_408() -> None:
    async with in_memory(echo, body_timeout_s=20) as house:
        end = house.connect()
        await end.write(post("/", b"", "Content-Length: 10") + b"five!")
        await house.pass_time(19)
        assert not end.is_readable
        await house.pass_time(1)
        assert statuses(await read_until(end, b"\n")) == [408]
        end.close()


async def test_body_slower_than_the_minimum_rate_is_a_408() -> None:
    async with in_memory(echo, body_timeout_s=20, min_body_rate=256) as house:
        end = house.connect()
        await end.write(post("/", b"", "Content-Length: 100000"))
        elapsed = 0
        while not end.is_readable and elapsed < 100:
            await end.write(bytes(200))
            await house.pass_time(1)
            elapsed += 1
        assert statuses(await read_until(end, b"\n")) == [408]
        assert 20 <= elapsed < 100
        end.close()


async def test_slow_but_steady_body_is_read() -> None:
    async with in_memory(echo, body_timeout_s=20, min_body_rate=256) as house:
        end = house.connect()
        await end.write(post("/", b"", "Content-Length: 100000"))
        for _ in range(200):
            await end.write(bytes(500))
            await house.pass_time(1)
        assert statuses(await read_until(end, bytes(100_000))) == [200]
        end.close()


async def test_peer_that_does_not_read_is_cut_off() -> None:
    async with in_memory(large, write_timeout_s=30) as house:
        end = house.connect()
        await end.write(GET * 10)
        await house.pass_time(29)
        assert house.connection.network.is_draining
        assert end.transport.get_write_buffer_size() <= 64 * 1024 + 70_000 + 1024
        await house.pass_time(1)
        assert not house.server.connections


async def test_peer_that_reads_slowly_is_served() -> None:
    async def handler(request: Request) -> Response:
        return Response(bytes(1_000_000))

    async with in_memory(handler, write_timeout_s=30) as house:
        end = house.connect()
        await end.write(get("/", "Connection: close"))
        data = b""
        while piece := await end.read(20_000):
            data += piece
            await house.pass_time(29)
        assert len(data) > 1_000_000


@pytest.mark.parametrize("persistence", ["close", "keep-alive"])
async def test_peer_that_reads_less_than_the_minimum_rate_is_cut_off(persistence: str) -> None:
    async def handler(request: Request) -> Response:
        return Response(bytes(1_000_000))

    async with in_memory(handler, write_timeout_s=30, min_write_rate=256) as house:
        end = house.connect()
        await end.write(get("/", f"Connection: {persistence}"))
        await end.read(100_000)  # earns a minute
        await house.pass_time(1)
        elapsed = 1
        while house.server.connections and elapsed < 1000:
            await end.read(2048)  # of 2560 in that time
            await house.pass_time(10)
            elapsed += 10
        assert 400 < elapsed < 500  # the minute and `write_timeout_s`, by 2 s of each 10


async def test_time_without_bytes_that_wait_is_not_the_readers() -> None:
    async def handler(request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(10):
                yield bytes(60_000)
                await may_go_on.acquire()

        return Response.stream(pieces())

    may_go_on = asyncio.Semaphore(0)
    async with in_memory(handler, write_timeout_s=30, min_write_rate=256) as house:
        end = house.connect()
        await end.write(get("/", "Connection: close"))
        data = b""
        for _ in range(10):
            while len(data) < 50_000 or end.is_readable:
                data += await end.read()
            await house.pass_time(1000)
            assert house.server.connections
            may_go_on.release()
        assert (data + await read_all(end)).endswith(b"0\r\n\r\n")


async def test_minimum_rate_of_0_is_none() -> None:
    async def handler(request: Request) -> Response:
        return Response(bytes(1_000_000))

    async with in_memory(handler, write_timeout_s=30, min_write_rate=0) as house:
        end = house.connect()
        await end.write(get("/", "Connection: close"))
        for _ in range(100):
            await end.read(10)
            await house.pass_time(29)
        assert house.server.connections
        end.close()


async def test_reading_a_body_and_writing_have_a_deadline_each() -> None:
    """The deadline of a body does not replace that of a later write, and the reverse."""
    received = []

    async def handler(request: Request) -> Response:
        async def receive() -> None:
            async for piece in request.stream():
                received.append(piece)

        async def pieces() -> AsyncIterator[bytes]:
            receiving = asyncio.create_task(receive())
            await asyncio.sleep(0)
            for _ in range(4):
                yield bytes(100_000)
            await receiving

        return Response.stream(pieces())

    async with in_memory(handler, body_timeout_s=20, write_timeout_s=60) as house:
        end = house.connect()
        await end.write(post("/", b"", "Content-Length: 2") + b"a")
        await house.pass_time(10)
        assert house.connection.network.is_draining and received == [b"a"]
        await end.write(b"b")
        await settle()
        assert received == [b"a", b"b"]
        await house.pass_time(40)
        answer = await read_until(end, b"0\r\n\r\n")
        assert statuses(answer) == [200]
        await house.pass_time(40)
        await end.write(GET)
        assert statuses(await read_until(end, b"\r\n\r\n")) == [200]
        end.close()


async def test_body_that_stalls_while_the_peer_does_not_read_is_a_timeout() -> None:
    errors = []

    async def handler(request: Request) -> Response:
        async def receive() -> None:
            try:
                await request.body()
            except ProtocolError as error:
                errors.append(type(error).__name__)

        async def pieces() -> AsyncIterator[bytes]:
            receiving = asyncio.create_task(receive())
            await asyncio.sleep(0)
            yield bytes(400_000)
            await receiving

        return Response.stream(pieces())

    async with in_memory(handler, body_timeout_s=20, write_timeout_s=60) as house:
        end = house.connect()
        await end.write(post("/", b"", "Content-Length: 2") + b"a")
        await house.pass_time(10)
        assert house.connection.network.is_draining and not errors
        await house.pass_time(15)
        assert errors == ["BodyTimeout"]
        end.close()


async def test_stream_that_outlives_the_server_is_written_out() -> None:
    is_open = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        await is_open.wait()
        yield bytes(100_000)

    async def handler(request: Request) -> Response:
        return Response.stream(pieces())

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        await read_until(end, b"first")
        stopping = asyncio.create_task(house.server.stop(silence_s=0.0))
        await settle()
        is_open.set()
        async with asyncio.timeout(DEADLINE_S):
            while not house.connection.network.is_draining:
                await asyncio.sleep(QUICK_S)
        assert (await read_all(end)).endswith(b"\r\n0\r\n\r\n")
        await stopping
