"""The end of a connection: the last answer arrives, even if the peer continues to send."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest
from support.serving import (
    GET,
    in_memory,
    post,
    read_all,
    read_until,
    settle,
    statuses,
)

from microweb.request import Request
from microweb.response import Response
from microweb.server.phases import Phase


async def hello(request: Request) -> Response:
    return Response(request.path)


async def echo(request: Request) -> Response:
    return Response(await request.body())


async def test_late_head_lingers_for_the_answer_to_arrive() -> None:
    async with in_memory(hello, head_timeout_s=10) as house:
        end = house.connect()
        await end.write(GET[:5])
        await house.pass_time(10)
        assert house.connection.network.phase is Phase.LINGER
        await end.write(GET[5:7])  # on a closed socket this would cause a reset
        assert statuses(await read_all(end)) == [408]
        await house.pass_time(5)
        assert not house.server.connections


async def test_refused_peer_that_goes_on_sending_can_read_the_answer() -> None:
    async with in_memory(echo, max_body=1000) as house:
        end = house.connect()
        await end.write(post("/", bytes(64_000), "Content-Length: 128000"))
        await end.write(bytes(64_000))
        end.write_eof()
        assert statuses(await read_all(end)) == [413]


async def test_lingering_keeps_nothing_and_has_an_end() -> None:
    async with in_memory(echo, max_body=1000) as house:
        end = house.connect()
        await end.write(post("/", b"", "Content-Length: 1000000000"))
        assert statuses(await read_until(end, b"\n")) == [413]
        assert house.connection.network.phase is Phase.LINGER
        tracemalloc.start()
        try:
            for _ in range(7):
                await end.write(bytes(10_000_000))
                await house.pass_time(4)
            assert tracemalloc.get_traced_memory()[1] < 15_000_000  # one write and a little more
        finally:
            tracemalloc.stop()
        assert house.server.connections
        await house.pass_time(2)  # 30 s in all
        assert not house.server.connections
        end.close()


@pytest.mark.parametrize("is_secure", [False, True])
async def test_lingering_ends_with_the_body(is_secure: bool) -> None:
    async with in_memory(echo, max_body=1000) as house:
        end = house.connect(is_secure=is_secure)
        await end.write(post("/", b"", "Content-Length: 1000000"))
        assert statuses(await read_until(end, b"\r\n\r\n")) == [413]
        await end.write(bytes(999_999))
        await settle()
        assert house.server.connections
        await end.write(b"x")
        await settle()
        assert not house.server.connections
        assert await read_all(end) == b""


async def test_lingering_ends_with_silence() -> None:
    async with in_memory(hello) as house:
        end = house.connect()
        await end.write(b"garbage\r\n\r\n")
        assert statuses(await read_all(end)) == [400]
        await house.pass_time(4.9)
        await end.write(b"more")
        await house.pass_time(4.9)
        assert house.server.connections
        await house.pass_time(0.1)
        assert not house.server.connections
        end.close()


async def test_lingering_is_short_when_a_tenth_of_all_connections_does_so() -> None:
    async with in_memory(hello, max_connections=20) as house:
        ends = [house.connect() for _ in range(3)]
        for end in ends:
            await end.write(b"garbage\r\n\r\n")
            await settle()
        await house.pass_time(2)
        assert len(house.server.connections) == 2 == house.server.state.lingering
        await house.pass_time(3)
        assert not house.server.connections and not house.server.state.lingering
        for end in ends:
            end.close()


async def test_lingering_of_a_connection_too_many_is_short() -> None:
    is_open = asyncio.Event()

    async def wait(request: Request) -> Response:
        await is_open.wait()
        return Response("x")

    async with in_memory(wait, max_connections=1) as house:
        first = house.connect()
        await first.write(GET)  # because an idle connection would make room
        await settle()
        second = house.connect()
        assert statuses(await read_until(second, b"\r\n\r\n")) == [503]
        await settle()
        (refused,) = house.server._refused
        await house.pass_time(1.9)
        refused.check(house.now)
        await settle()
        assert house.server._refused
        await house.pass_time(0.1)
        refused.check(house.now)
        await settle()
        assert not house.server._refused
        is_open.set()
        first.close()
        second.close()
