"""Ended exchanges and connections are freed immediately, without the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from support.serving import DEADLINE_S, get, on_loopback, peer_of, post, until_none

from microweb import App, Request, Response, WebSocket
from microweb.server.connection import Connection

HANDSHAKE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
ECHOED = b"\x81\x82\x00\x00\x00\x00hi"
CLOSE = b"\x88\x82\x00\x00\x00\x00\x03\xe8"


@pytest.fixture
def left() -> Iterator[Callable[[type], list[object]]]:
    """Return the new instances of a class, while the garbage collector is off."""
    gc.collect()
    gc.disable()
    before = {id(each) for each in gc.get_objects()}
    yield lambda kind: [
        each for each in gc.get_objects() if type(each) is kind and id(each) not in before
    ]
    gc.enable()


@pytest.fixture
def app() -> App:
    app = App()

    @app.get("/")
    async def index() -> str:
        return "index"

    @app.post("/echo")
    async def echo(request: Request) -> bytes:
        return await request.body()

    @app.get("/events")
    async def events() -> Response:
        async def one() -> AsyncIterator[str]:
            yield "one event"

        return Response.events(one())

    @app.websocket("/socket")
    async def socket(socket: WebSocket) -> None:
        async for message in socket:
            await socket.send(message)

    @app.websocket("/refused")
    async def refused(socket: WebSocket) -> str:
        return "not today"

    @app.get("/stream")
    async def stream() -> AsyncIterator[str]:
        yield "one piece"

    return app


@pytest.mark.parametrize(
    "request_",
    [
        get("/"),
        get("/", "Connection: close"),
        get("/", version="1.0"),
        get("/stream"),
        get("/nowhere"),
        post("/echo", b"body"),
        post("/nowhere", b"body"),
        get("/events"),
        get("/socket", *HANDSHAKE) + ECHOED,
        get("/socket", *HANDSHAKE) + ECHOED + CLOSE,
        get("/refused", *HANDSHAKE),
        get("/socket"),
        b"GET / HTTP/1.1\r\n\r\n",
        b"",
    ],
    ids=(
        "get close old stream 404 post unread events socket socket-closed refused no-handshake "
        "malformed silent"
    ).split(),
)
async def test_connection_is_freed_with_its_end(
    app: App,
    request_: bytes,
    left: Callable[[type], list[object]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)  # a record would keep its error
    async with on_loopback(app) as server:
        async with peer_of(server) as peer:
            await peer.send(request_)
            await peer.half_close()
            await peer.read_all()
        await until_none(server.connections)
        await until_freed(left)


async def test_answer_of_a_client_that_resets_is_freed(
    app: App, left: Callable[[type], list[object]]
) -> None:
    has_reset = threading.Event()

    is_asked = threading.Event()

    @app.get("/reset")
    async def large() -> bytes:
        is_asked.set()
        has_reset.wait(DEADLINE_S)  # blocks the event loop: the write meets the reset
        return bytes(1024 * 1024)

    def ask(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as client:
            client.sendall(get("/reset"))
            is_asked.wait(DEADLINE_S)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        has_reset.set()

    async with on_loopback(app) as server:
        await asyncio.to_thread(ask, server.sockets[0].getsockname()[1])
        await until_none(server.connections)
        await until_freed(left)


async def until_freed(left: Callable[[type], list[object]]) -> None:
    """Wait until no connection and no request is in memory: the loop drops its transports late."""
    ends_at = asyncio.get_running_loop().time() + DEADLINE_S
    while left(Connection) or left(Request):
        assert asyncio.get_running_loop().time() < ends_at, (left(Connection), left(Request))
        await asyncio.sleep(0.01)
