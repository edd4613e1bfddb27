"""Cleanup that awaits runs to its end, however an exchange ends, on a real socket.

Between the first notice that the client left and the end of the cleanup nothing is cancelled again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from serving import (
    DEADLINE_S,
    QUICK_S,
    get,
    in_memory,
    on_loopback,
    peer_of,
    post,
    settle,
    until_none,
)

from microweb import App, Request, Response, WebSocket
from microweb.middleware.timeout import Timeout
from microweb.testing import Misbehaving

in_silence = pytest.mark.usefixtures("nothing_is_logged")

SWEEPS = 15  # that pass while something cleans up
UPGRADE = (
    b"GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Work:
    """Endpoints that begin, wait, and take their time to clean up; they tell what they saw."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cleaning = asyncio.Event()
        self.done = asyncio.Event()
        self.told: list[str] = []
        self.app = app = App()
        app.get("/wait")(self.wait)
        app.get("/limited", use=[Timeout(0.1)])(self.wait)
        app.post("/body", on_disconnect="cancel")(self.body)
        app.get("/quiet")(lambda: self.pieces(size=1, count=1))
        app.get("/late")(lambda: self.pieces(size=1, count=0))
        app.get("/flood")(lambda: self.pieces(size=64 * 1024, count=10_000))
        app.get("/drip")(lambda: self.pieces(size=100_000, count=10_000, turns=1))
        app.get("/typed")(lambda: Response.stream(self.pieces(1, 1), content_type="text/csv"))
        app.get("/events")(lambda: Response.events(self.events()))
        app.get("/events/flood")(lambda: Response.events(self.events(flood=True)))
        app.get("/manager")(lambda: Response.stream(self.manager()))
        app.get("/plain")(self.plain)
        app.websocket("/socket", origins=["*"])(self.socket)

    async def clean_up(self) -> None:
        self.cleaning.set()
        try:
            for _ in range(SWEEPS):
                await asyncio.sleep(QUICK_S)
        except asyncio.CancelledError:
            self.told.append("cut")
            raise
        else:
            self.told.append("clean")
        finally:
            self.done.set()

    async def wait(self) -> str:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await self.clean_up()
        return "never"

    async def body(self, request: Request) -> str:
        self.begun.set()
        try:
            return await request.text()
        finally:
            await self.clean_up()

    async def pieces(self, size: int, count: int, turns: int = 0) -> AsyncIterator[bytes]:
        self.begun.set()
        try:
            for _ in range(count):
                yield bytes(size)
                for _ in range(turns):
                    await asyncio.sleep(0)
            await asyncio.Event().wait()
        finally:
            await self.clean_up()

    async def events(self, *, flood: bool = False) -> AsyncIterator[str]:
        self.begun.set()
        try:
            yield "first"
            while flood:
                yield "x" * 100_000
            await asyncio.Event().wait()
        finally:
            await self.clean_up()

    @asynccontextmanager
    async def manager(self) -> AsyncIterator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            while True:
                yield bytes(64 * 1024)

        self.begun.set()
        try:
            yield pieces()
        finally:
            await self.clean_up()

    async def plain(self) -> AsyncIterator[bytes]:
        async with self.manager() as pieces:
            async for piece in pieces:
                yield piece

    async def socket(self, socket: WebSocket) -> None:
        await socket.accept()
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await self.clean_up()

    async def until_done(self) -> list[str]:
        async with asyncio.timeout(DEADLINE_S):
            await self.done.wait()
        return self.told


async def reset(peer: Misbehaving) -> None:
    await peer.reset()


async def half_close(peer: Misbehaving) -> None:
    await peer.half_close()


async def close(peer: Misbehaving) -> None:
    await peer.__aexit__(None, None, None)


ENDS: list[tuple[bytes, Callable[[Misbehaving], object]]] = [
    *[(get(path), reset) for path in ("/wait", "/limited", "/quiet", "/late", "/typed", "/events")],
    *[(get(path), reset) for path in ("/flood", "/drip", "/events/flood", "/manager", "/plain")],
    *[(get(path), half_close) for path in ("/quiet", "/late", "/typed", "/events")],
    *[(get(path), close) for path in ("/quiet", "/flood", "/drip", "/events", "/manager")],
    (post("/body", b"a", "Content-Length: 100000"), reset),
    (post("/body", b"a", "Content-Length: 100000"), close),
]


def name_of(value: object) -> str:
    if isinstance(value, bytes):
        return value.split(b" ", 2)[1].decode()
    return getattr(value, "__name__", "")


@in_silence
@pytest.mark.parametrize(("request_", "leave"), ENDS, ids=name_of)
async def test_cleanup_behind_a_client_that_left_is_not_cut(
    request_: bytes, leave: Callable[[Misbehaving], object]
) -> None:
    work = Work()
    async with on_loopback(work.app) as server:
        async with peer_of(server) as peer:
            await peer.send(request_)
            await work.begun.wait()
            await leave(peer)  # type: ignore[misc]
            assert await work.until_done() == ["clean"]
        await until_none(server.connections)


@in_silence
@pytest.mark.parametrize("path", ["/flood", "/drip", "/events/flood", "/manager"])
async def test_cleanup_behind_a_client_that_does_not_read_is_not_cut(path: str) -> None:
    work = Work()
    async with on_loopback(work.app, write_timeout_s=0.2) as server:
        async with peer_of(server) as peer:
            await peer.read_nothing()
            await peer.send(get(path))
            assert await work.until_done() == ["clean"]
        await until_none(server.connections)


@in_silence
async def test_cleanup_behind_a_time_limit_is_not_cut_by_a_client_that_leaves() -> None:
    work = Work()
    async with on_loopback(work.app) as server:
        async with peer_of(server) as peer:
            await peer.send(get("/limited"))
            await work.cleaning.wait()
            await peer.reset()
            assert await work.until_done() == ["clean"]
        await until_none(server.connections)


@pytest.mark.parametrize("path", ["/wait", "/flood", "/events", "/quiet", "/manager"])
@pytest.mark.parametrize("grace_s", [0.02, 5.0])
async def test_cleanup_behind_a_client_that_left_is_not_cut_by_a_stop(
    path: str, grace_s: float
) -> None:
    work = Work()
    async with on_loopback(work.app, grace_s=grace_s) as server, peer_of(server) as peer:
        await peer.send(get(path))
        await work.begun.wait()
        await peer.reset()
        await work.cleaning.wait()
        await server.stop()
        assert work.told == ["clean"]


@pytest.mark.parametrize("grace_s", [0.02, 5.0])
async def test_cleanup_of_events_that_a_stop_ends_is_not_cut(grace_s: float) -> None:
    work = Work()
    async with on_loopback(work.app, grace_s=grace_s) as server, peer_of(server) as peer:
        await peer.send(get("/events"))
        await peer.read_until(b"first")
        await server.stop()
        assert work.told == ["clean"]


async def test_cleanup_that_never_ends_does_not_hold_up_a_stop() -> None:
    app, told = App(), list[str]()
    begun, is_cleaning = asyncio.Event(), asyncio.Event()

    @app.get("/")
    async def index() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            is_cleaning.set()
            try:
                await asyncio.Event().wait()
            finally:
                told.append("cut")

    async with on_loopback(app, grace_s=0.02) as server, peer_of(server) as peer:
        await peer.send(get("/"))
        await begun.wait()
        await peer.reset()
        await is_cleaning.wait()
        async with asyncio.timeout(DEADLINE_S):
            await server.stop()
    assert told == ["cut"]


@pytest.mark.parametrize("stops", [False, True])
async def test_cleanup_of_a_socket_is_not_cut(stops: bool) -> None:
    work = Work()
    async with on_loopback(work.app, grace_s=0.02) as server, peer_of(server) as peer:
        await peer.send(UPGRADE)
        await work.begun.wait()
        await peer.reset()
        await work.cleaning.wait()
        if stops:
            await server.stop()
        assert await work.until_done() == ["clean"]


@in_silence
async def test_generator_that_waits_is_cancelled_though_a_write_has_failed() -> None:
    """A piece of this turn that can't be written tells the generator nothing."""
    app, told, go = App(), list[str](), asyncio.Event()
    begun = asyncio.Event()

    @app.get("/")
    async def index() -> AsyncIterator[bytes]:
        try:
            yield b"a"
            begun.set()
            await go.wait()
            yield b"b"
            await asyncio.Event().wait()
        finally:
            told.append("closed")

    async with on_loopback(app) as server:
        async with peer_of(server) as peer:
            await peer.send(get("/"))
            await begun.wait()
            (connection,) = server.connections
            connection.transport.abort()
            go.set()
        await until_none(server.connections)
    assert told == ["closed"]


async def test_cleanup_behind_a_heartbeat_is_not_cut() -> None:
    told: list[str] = []
    may_end = asyncio.Event()

    async def handler(request: Request) -> Response:
        async def events() -> AsyncIterator[str]:
            try:
                yield "x" * 70_000
                await asyncio.Event().wait()
            finally:
                try:
                    await may_end.wait()
                except asyncio.CancelledError:
                    told.append("cut")
                    raise
                told.append("clean")

        return Response.events(events())

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(get("/"))
        await end.read(1)
        for _ in range(4):
            await house.pass_time(15)  # it takes nothing between two heartbeats
        assert house.connection.transport.is_closing()
        for _ in range(3):
            await house.pass_time(1)
        assert told == []
        may_end.set()
        await settle()
        assert told == ["clean"]
