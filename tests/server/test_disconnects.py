"""Clients that disconnect: how their exchanges end, and how an endpoint can react."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from support.serving import (
    DEADLINE_S,
    GET,
    get,
    in_memory,
    on_loopback,
    peer_of,
    post,
    read_all,
    read_until,
    settle,
    statuses,
    until_none,
)

from microweb import App, ClientDisconnected, Request, Response

pytestmark = pytest.mark.usefixtures("nothing_is_logged")


class Watching:
    """An app that records how its endpoints ended."""

    def __init__(self) -> None:
        self.app = App()
        self.entered = asyncio.Event()
        self.is_open = asyncio.Event()
        self.done: list[str] = []
        self.app.get("/watch", on_disconnect="finish")(self.watch)
        self.app.get("/twice", on_disconnect="finish")(self.twice)
        self.app.route("/shield", methods=["GET", "POST"])(self.shield)
        self.app.get("/nested")(self.nested)
        self.app.get("/limited")(self.limited)

    async def watch(self, request: Request) -> None:
        self.entered.set()
        await request.disconnected()
        self.done.append("left")

    async def twice(self, request: Request) -> None:
        self.entered.set()
        await asyncio.gather(request.disconnected(), request.disconnected())
        await request.disconnected()
        self.done.append("left")

    async def shield(self, request: Request) -> str:
        async with request.shield():
            self.entered.set()
            await self.is_open.wait()
            self.done.append("shielded")
        self.done.append("behind")
        return "answer"

    async def nested(self, request: Request) -> None:
        async with request.shield():
            async with request.shield():
                self.entered.set()
            await self.is_open.wait()
            self.done.append("outer")
        self.done.append("behind")

    async def limited(self, request: Request) -> str:
        try:
            async with asyncio.timeout(0.01), request.shield():
                self.entered.set()
                await asyncio.Event().wait()
        except TimeoutError:
            self.done.append("timeout")
        return "answer"

    async def until(self, count: int) -> list[str]:
        async with asyncio.timeout(DEADLINE_S):
            while len(self.done) < count:
                await asyncio.sleep(0.001)
        return self.done


@pytest.mark.parametrize("target", ["/watch", "/twice"])
@pytest.mark.parametrize("how", ["reset", "half_close"])
async def test_endpoint_is_told_that_its_client_has_left(target: str, how: str) -> None:
    watching = Watching()
    async with on_loopback(watching.app) as server, peer_of(server) as peer:
        await peer.send(get(target))
        await watching.entered.wait()
        await asyncio.sleep(0.05)  # five sweeps, none of which may wake it
        assert watching.done == []
        await getattr(peer, how)()
        assert await watching.until(1) == ["left"]
        await until_none(server.connections)


async def test_endpoint_whose_client_only_ended_its_side_is_answered() -> None:
    watching = Watching()
    async with on_loopback(watching.app) as server, peer_of(server) as peer:
        await peer.send(get("/watch"))
        await watching.entered.wait()
        await peer.half_close()
        assert (await peer.read_all()).startswith(b"HTTP/1.1 204 ")


async def test_waiting_for_a_client_to_leave_ends_with_the_connection() -> None:
    app, ended = App(), asyncio.Event()

    @app.get("/")
    async def index(request: Request) -> str:
        async def watch() -> None:
            await request.disconnected()
            ended.set()

        request.after_response(watch)
        return "index"

    async with on_loopback(app) as server, peer_of(server) as peer:
        await peer.send(get("/", "Connection: close"))
        assert (await peer.read_all()).endswith(b"index")
        async with asyncio.timeout(DEADLINE_S):
            await ended.wait()


async def test_shielded_block_ends_before_its_handler_is_cancelled() -> None:
    watching = Watching()
    async with on_loopback(watching.app) as server, peer_of(server) as peer:
        await peer.send(get("/shield"))
        await watching.entered.wait()
        await peer.reset()
        await asyncio.sleep(0.05)  # five sweeps, none of which may cancel it
        watching.is_open.set()
        assert await watching.until(1) == ["shielded"]
        await until_none(server.connections)
    assert watching.done == ["shielded"]


async def test_shield_in_a_shield_goes_on_until_the_outer_one_ends() -> None:
    watching = Watching()
    async with on_loopback(watching.app) as server, peer_of(server) as peer:
        await peer.send(get("/nested"))
        await watching.entered.wait()
        await peer.reset()
        await asyncio.sleep(0.05)  # five sweeps, none of which may cancel it
        watching.is_open.set()
        await until_none(server.connections)
    assert watching.done == ["outer"]


async def test_handler_that_finishes_goes_on_behind_its_shield() -> None:
    watching = Watching()
    async with on_loopback(watching.app) as server, peer_of(server) as peer:
        await peer.send(post("/shield"))
        await watching.entered.wait()
        await peer.reset()
        await asyncio.sleep(0.05)  # five sweeps, none of which may have an effect
        watching.is_open.set()
        assert await watching.until(2) == ["shielded", "behind"]
        await until_none(server.connections)


async def test_shield_is_nothing_to_a_client_that_stays() -> None:
    watching = Watching()
    watching.is_open.set()
    async with on_loopback(watching.app) as server, peer_of(server) as peer:
        for _ in range(2):
            await peer.send(get("/shield"))
            assert (await peer.read_until(b"answer")).startswith(b"HTTP/1.1 200 ")
    assert watching.done == ["shielded", "behind"] * 2


async def test_shield_holds_no_time_limit() -> None:
    watching = Watching()
    async with on_loopback(watching.app) as server, peer_of(server) as peer:
        await peer.send(get("/limited"))
        assert (await peer.read_until(b"answer")).startswith(b"HTTP/1.1 200 ")
    assert watching.done == ["timeout"]


async def test_shield_does_not_hold_up_a_stop_beyond_its_grace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watching = Watching()
    async with on_loopback(watching.app, grace_s=0.01) as server, peer_of(server) as peer:
        await peer.send(get("/shield"))
        await watching.entered.wait()
        async with asyncio.timeout(DEADLINE_S):
            await server.stop()
        assert not server.connections
    assert watching.done == []
    (record,) = caplog.records
    assert "GET /shield" in record.getMessage()
    caplog.clear()  # this record was expected


# --- in memory


class Left:
    """A handler that records how it ended."""

    def __init__(self, on_disconnect: str | None = None) -> None:
        self.is_open = asyncio.Event()
        self.ending = "none yet"
        self.on_disconnect = on_disconnect

    async def __call__(self, request: Request) -> Response:
        try:
            await self.is_open.wait()
        except asyncio.CancelledError:
            self.ending = "cancelled"
            raise
        self.ending = "finished"
        return Response("x")


@pytest.mark.parametrize(("method", "ending"), [("GET", "cancelled"), ("POST", "finished")])
async def test_handler_of_a_peer_that_was_reset(
    method: str, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Left()
    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET.replace(b"GET", method.encode()))
        await settle()
        end.transport.abort()
        await house.pass_time(1)
        handler.is_open.set()
        await settle()
        assert handler.ending == ending
    assert not caplog.records


async def test_half_closed_peer_gets_the_answer_of_a_slow_handler() -> None:
    handler = Left()
    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        end.write_eof()
        await house.pass_time(1)
        handler.is_open.set()
        assert statuses(await read_all(end)) == [200]


async def test_stream_of_undeclared_length_ends_with_the_input() -> None:
    is_closed = asyncio.Event()

    async def events() -> AsyncIterator[str]:
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            is_closed.set()

    async def handler(request: Request) -> Response:
        return Response.stream(events())

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        await read_until(end, b"first")
        end.write_eof()
        await house.pass_time(1)
        assert is_closed.is_set() and not house.server.connections


async def test_stream_of_declared_length_outlives_the_input() -> None:
    is_open = asyncio.Event()

    async def pieces() -> AsyncIterator[str]:
        yield "first"
        await is_open.wait()
        yield "second"

    async def handler(request: Request) -> Response:
        return Response.stream(pieces(), headers={"Content-Length": "11"})

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        end.write_eof()
        await house.pass_time(1)
        is_open.set()
        assert (await read_all(end)).endswith(b"\r\n\r\nfirstsecond")


async def test_peer_that_leaves_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    raised = []

    async def handler(request: Request) -> Response:
        try:
            await request.body()
        except ClientDisconnected as error:
            raised.append(error)
            raise
        return Response("x")

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(post("/", b"", "Content-Length: 10"))
        await settle()
        end.transport._lose(ConnectionResetError())
        await settle()
        assert len(raised) == 1 and not house.server.connections
    assert not caplog.records
