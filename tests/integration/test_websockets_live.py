"""WebSockets on real sockets: the asyncio client of `websockets`, peers that vanish, a stop."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest
from support.serving import DEADLINE_S, QUICK_S, on_loopback, peer_of, until_none
from support.websocketing import close_frame, handshake, masked
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from microweb import App, WebSocket
from microweb.server.server import Server


@pytest.fixture
def app() -> App:
    app = App()

    @app.websocket("/ws")
    async def echo(socket: WebSocket) -> None:
        async for message in socket:
            await socket.send(message)

    @app.websocket("/silent")
    async def silent(socket: WebSocket) -> None:
        await socket.accept()
        await asyncio.Event().wait()

    return app


def url_of(server: Server, path: str = "/ws") -> str:
    return server.url.replace("http", "ws", 1) + path


async def test_another_implementation_is_echoed(app: App) -> None:
    messages = ["", "é", b"", b"\0" * 70_000, "x" * 300_000, "y" * 126]
    async with on_loopback(app) as server:
        async with connect(url_of(server)) as socket:
            for message in messages:
                await socket.send(message)
                assert await socket.recv() == message
            await socket.send(["in ", "fragments"])
            assert await socket.recv() == "in fragments"
            await (await socket.ping("there?"))
        assert (socket.close_code, socket.close_reason) == (1000, "")
        await until_none(server.connections)


async def test_another_implementation_is_refused(app: App) -> None:
    async with on_loopback(app) as server:
        with pytest.raises(InvalidStatus, match="404"):
            async with connect(url_of(server, "/nowhere")):
                raise AssertionError("it was let in")
        with pytest.raises(InvalidStatus, match="403"):
            async with connect(url_of(server), origin="http://evil"):  # type: ignore[arg-type]
                raise AssertionError("it was let in")


async def test_a_message_over_the_limit_is_told(app: App) -> None:
    async with on_loopback(app, max_message=100_000) as server:
        async with connect(url_of(server), compression=None) as socket:
            with pytest.raises(ConnectionClosed) as caught:
                await socket.send(b"x" * 200_000)
                await socket.recv()
            received = caught.value.rcvd
            assert received is not None and received.code == 1009
        await until_none(server.connections)


@pytest.mark.parametrize("path", ["/ws", "/silent"])
@pytest.mark.parametrize("how", ["reset", "half_close", "leave", "close"])
async def test_peers_that_vanish_leave_nothing(app: App, path: str, how: str) -> None:
    tasks = asyncio.all_tasks()

    async def come_and_go(server: Server) -> None:
        async with peer_of(server) as peer:
            await peer.send(handshake(path))
            await peer.read_until(b"\r\n\r\n")
            if how == "reset":
                await peer.reset()
            elif how == "half_close":
                await peer.half_close()
                assert await peer.read_all() == b""
            elif how == "close":
                await peer.send(close_frame(1000))
                assert await peer.read_all() == b"\x88\x02\x03\xe8"

    async with on_loopback(app) as server:
        await asyncio.gather(*(come_and_go(server) for _ in range(20)))
        if (path, how) == ("/silent", "close"):
            assert len(server.connections) == 20  # endpoints have 10 s to end
        else:
            await until_none(server.connections)
            async with asyncio.timeout(DEADLINE_S):
                while len(asyncio.all_tasks()) > len(tasks) + 1:  # tasks end a turn later
                    await asyncio.sleep(QUICK_S)


async def test_peers_that_fall_silent_are_dropped(app: App) -> None:
    async with (
        on_loopback(app, ping_interval_s=0.05, ping_timeout_s=0.05) as server,
        peer_of(server) as first,
        peer_of(server) as second,
    ):
        for peer, path in ((first, "/ws"), (second, "/silent")):
            await peer.send(handshake(path))
            await peer.read_until(b"\r\n\r\n")
            assert await peer.read_all() == b"\x89\x00"
        await until_none(server.connections)


async def test_a_peer_that_reads_nothing_is_dropped(app: App) -> None:
    @app.websocket("/flood")
    async def flood(socket: WebSocket) -> None:
        while True:
            await socket.send(b"x" * 100_000)

    async with on_loopback(app, write_timeout_s=0.1) as server, peer_of(server) as peer:
        await peer.read_nothing()
        await peer.send(handshake("/flood"))
        async with asyncio.timeout(DEADLINE_S):
            while not server.connections:
                await asyncio.sleep(0)
        await until_none(server.connections)


async def test_500_sockets_are_told_of_a_stop(app: App) -> None:
    seen: list[int | None] = []

    @app.websocket("/noting")
    async def noting(socket: WebSocket) -> None:
        async for _ in socket:
            pass
        seen.append(socket.close_code)

    server = app.serve(host="127.0.0.1", port=0, log="off", grace_s=DEADLINE_S)
    await server.start()
    peers = [peer_of(server) for _ in range(500)]
    for peer in peers:
        await peer.__aenter__()
        await peer.send(handshake("/noting"))
    for peer in peers:
        await peer.read_until(b"\r\n\r\n")
    stopping = asyncio.create_task(server.stop())
    for peer in peers:
        assert await peer.receive(4) == b"\x88\x02\x03\xe9"
    for peer in peers:
        await peer.send(close_frame(1001))
        assert await peer.read_all() == b""
        await peer.__aexit__(None, None, None)
    await stopping
    assert seen == [1001] * 500


async def test_the_access_log_has_a_line_when_it_is_over(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "microweb.access")
    async with on_loopback(app, log="text") as server:
        async with peer_of(server) as peer:
            await peer.send(handshake() + masked("hello") + close_frame(1000))
            await peer.read_all()
        await until_none(server.connections)
    (line,) = (record.getMessage() for record in caplog.records)
    assert "/ws" in line and " 101 " in line


@pytest.mark.parametrize("path", ["/ws", "/silent"])
async def test_a_client_that_breaks_the_protocol_and_leaves_is_no_error(
    app: App, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its closed socket resets the connection as soon as the close frame arrives."""
    async with on_loopback(app) as server:
        address = server.sockets[0].getsockname()[:2]
        loop = asyncio.get_running_loop()
        with socket.create_connection(address) as peer:
            peer.setblocking(False)
            await loop.sock_sendall(peer, handshake(path))
            assert (await loop.sock_recv(peer, 1000)).startswith(b"HTTP/1.1 101 ")
            peer.send(b"\x81\x01a")  # not masked, in the same turn as the close
        await until_none(server.connections)
    assert [record.getMessage() for record in caplog.records] == []
