"""Clients of event streams that leave, stop reading or stay to the end, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.serving import DEADLINE_S, get, on_loopback, peer_of, post, until_none

from microweb import App, Request, Response
from microweb.testing.eventsource import EventParser
from microweb.testing.misbehaving import Misbehaving

pytestmark = pytest.mark.usefixtures("nothing_is_logged")


class Idle:
    """An app whose streams send one event and wait. It counts the open streams."""

    def __init__(self, first: str = "first", heartbeat_s: float = 15.0) -> None:
        self.app = App()
        self.first = first
        self.heartbeat_s = heartbeat_s
        self.open = 0
        self.begun = 0
        self.app.route("/", methods=["GET", "POST"], on_disconnect="finish")(self.answer)

    async def answer(self, request: Request) -> Response:
        return Response.events(self.events(), heartbeat_s=self.heartbeat_s)

    async def events(self) -> AsyncIterator[str]:
        self.open += 1
        self.begun += 1
        try:
            yield self.first
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            self.open -= 1

    async def until_closed(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while self.open:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ["reset", "half_close", "close"])
@pytest.mark.parametrize("request_", [get("/"), post("/", b"prompt")], ids=["get", "post"])
async def test_idle_stream_ends_with_its_client(how: str, request_: bytes) -> None:
    idle = Idle()
    async with on_loopback(idle.app) as server, peer_of(server) as peer:
        await peer.send(request_)
        await peer.read_until(b"data: first\n\n")
        assert idle.open == 1
        if how == "close":
            await peer.__aexit__(None, None, None)
        else:
            await getattr(peer, how)()
        await idle.until_closed()
        await until_none(server.connections)


async def test_client_that_takes_nothing_is_gone_at_the_second_heartbeat() -> None:
    """Like a client without a network: the kernel keeps the sent bytes, and gets no answer."""
    idle = Idle("x" * 60_000, heartbeat_s=0.1)
    async with on_loopback(idle.app, write_timeout_s=60) as server, peer_of(server) as peer:
        await peer.read_nothing()
        await peer.send(get("/"))
        await until_begun(idle)
        await idle.until_closed()
        await until_none(server.connections)


async def until_begun(idle: Idle, count: int = 1) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while idle.begun < count:
            await asyncio.sleep(0.01)


async def test_client_that_reads_stays_over_many_heartbeats() -> None:
    idle = Idle(heartbeat_s=0.03)
    async with on_loopback(idle.app) as server, peer_of(server) as peer:
        await peer.send(get("/"))
        for _ in range(10):
            await peer.read_until(b":\n\n")
        assert idle.open == 1
    assert idle.open == 0


async def test_many_streams_end_at_the_stop_and_each_client_is_told() -> None:
    idle, count = Idle(), 500
    async with on_loopback(idle.app, grace_s=DEADLINE_S) as server:
        peers = [peer_of(server) for _ in range(count)]
        try:
            for peer in peers:
                await peer.__aenter__()
                await peer.send(get("/"))
            await until_begun(idle, count)
            assert idle.open == count
            stopping = asyncio.create_task(server.stop())
            answers = await asyncio.gather(*[peer.read_all() for peer in peers])
            await stopping
        finally:
            for peer in peers:
                await peer.__aexit__(None, None, None)
    assert idle.open == 0
    assert all(answer.endswith(b"\r\n0\r\n\r\n") for answer in answers)
    assert all(b"data: first\n\n" in answer for answer in answers)


async def test_slow_reader_gets_every_event_and_the_maker_waits() -> None:
    made = 0

    async def events() -> AsyncIterator[str]:
        nonlocal made
        for number in range(400):
            made += 1
            yield f"{number}:{'x' * 50_000}"

    app = App()

    @app.get("/")
    async def answer() -> Response:
        return Response.events(events())

    async with on_loopback(app) as server, peer_of(server) as peer:
        await peer.send(get("/", version="1.0"))
        async with asyncio.timeout(DEADLINE_S):
            while not any(connection.network.is_draining for connection in server.connections):
                await asyncio.sleep(0)
        assert made < 400
        _, _, content = (await peer.read_all()).partition(b"\r\n\r\n")
    received = [event.data.partition(":")[0] for event in EventParser().feed(content)]
    assert received == [str(number) for number in range(400)]


async def test_many_that_vanish_leave_nothing_behind() -> None:
    idle = Idle(heartbeat_s=0.1)
    async with on_loopback(idle.app) as server:
        before = asyncio.all_tasks()
        peers: list[Misbehaving] = [peer_of(server) for _ in range(300)]
        for peer in peers:
            await peer.__aenter__()
            await peer.send(get("/"))
        await until_begun(idle, len(peers))
        for number, peer in enumerate(peers):
            await (peer.reset() if number % 2 else peer.__aexit__(None, None, None))
        await idle.until_closed()
        await until_none(server.connections)
        assert asyncio.all_tasks() <= before
