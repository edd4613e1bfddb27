"""Cleanup that awaits runs to its end, however an exchange ends, on a real socket.

A task is cancelled only once: not again before its cleanup has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from support.serving import (
    DEADLINE_S,
    QUICK_S,
    MemoryHouse,
    get,
    in_memory,
    on_loopback,
    peer_of,
    post,
    settle,
    until_none,
)
from support.websocketing import Peer, close_frame, closed, handshake

from microweb import App, Request, Response, WebSocket
from microweb.channels.channel import Channels
from microweb.middleware.timeout import Timeout
from microweb.testing.misbehaving import Misbehaving

in_silence = pytest.mark.usefixtures("nothing_is_logged")

SWEEPS = 15  # during a cleanup
UPGRADE = (
    b"GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Work:
    """Endpoints that begin, wait, and clean up slowly; they record each step."""

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
    """The failed write of a piece does not tell the generator, so it must be cancelled."""
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
            connection.network.transport.abort()
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
            await house.pass_time(15)  # the client reads nothing between two heartbeats
        assert house.connection.network.transport.is_closing()
        for _ in range(3):
            await house.pass_time(1)
        assert told == []
        may_end.set()
        await settle()
        assert told == ["clean"]


class Pushing:
    """An endpoint that waits inside `forward`, and the record of its cleanup."""

    def __init__(self, waits: Callable[[WebSocket], Awaitable[object]]) -> None:
        self.waits = waits
        self.app, self.channel = App(), Channels()["news"]
        self.begun, self.goes_on = asyncio.Event(), asyncio.Event()
        self.told: list[str] = []
        self.app.websocket("/socket", origins=["*"])(self.push)

    async def push(self, socket: WebSocket) -> None:
        async with self.channel.forward(socket):
            try:
                self.begun.set()
                await self.waits(socket)
                self.told.append("went on")
            except asyncio.CancelledError:
                self.told.append("cancelled")
                raise
            finally:
                await self.goes_on.wait()
                self.told.append("clean")


@asynccontextmanager
async def stopping(work: Pushing, path: str = "/socket") -> AsyncIterator[MemoryHouse]:
    """Stop a server while a client is connected, with a grace that no test reaches."""
    work.app.freeze()
    async with in_memory(work.app, grace_s=DEADLINE_S) as house:
        peer = await Peer(house.connect()).shake_hands(handshake(path))
        await work.begun.wait()
        stop = asyncio.create_task(house.server.stop(silence_s=0.0))
        assert await peer.frame() == closed(1001)
        await settle()
        yield house
        await peer.send(close_frame(1001))
        async with asyncio.timeout(DEADLINE_S):
            await stop
    assert len(work.channel) == 0


@in_silence
async def test_endpoint_that_only_forwards_is_ended_once_by_a_stop() -> None:
    work = Pushing(lambda socket: asyncio.Event().wait())
    async with stopping(work) as house:
        assert work.told == ["cancelled"]
        await house.pass_time(1)
        assert work.told == ["cancelled"]  # its cleanup is still running
        work.goes_on.set()
    assert work.told == ["cancelled", "clean"]


@in_silence
async def test_endpoint_that_receives_in_forward_finishes_its_work_behind_a_stop() -> None:
    async def handle_all(socket: WebSocket) -> None:
        async for _ in socket:
            pass
        await finished.wait()

    finished, work = asyncio.Event(), Pushing(handle_all)
    work.goes_on.set()
    async with stopping(work) as house:
        await house.pass_time(1)
        finished.set()
    assert work.told == ["went on", "clean"]


@in_silence
async def test_shielded_endpoint_in_forward_is_ended_by_a_stop_behind_its_shield() -> None:
    async def spend(socket: WebSocket) -> None:
        async with socket.request.shield():
            await finished.wait()
        await asyncio.Event().wait()

    finished, work = asyncio.Event(), Pushing(spend)
    work.goes_on.set()
    async with stopping(work) as house:
        await house.pass_time(1)
        assert not work.told
        finished.set()
        await house.pass_time(1)
        assert work.told == ["cancelled", "clean"]


@in_silence
async def test_endpoint_that_forwards_first_behind_a_stop_is_ended_too() -> None:
    work, is_stopping = Pushing(lambda socket: asyncio.Event().wait()), asyncio.Event()

    async def push_later(socket: WebSocket) -> None:
        await socket.accept()
        work.begun.set()
        await is_stopping.wait()
        await work.push(socket)

    work.app.websocket("/later", origins=["*"])(push_later)
    work.goes_on.set()
    async with stopping(work, "/later") as house:
        is_stopping.set()
        await house.pass_time(1)
        assert work.told == ["cancelled", "clean"]
