"""Ended exchanges and connections are freed immediately, without the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

import pytest
from support.serving import DEADLINE_S, get, on_loopback, peer_of, post, statuses, until_none

from microweb import App, HTTPError, Request, Response, WebSocket
from microweb.server.connection import Connection
from microweb.typed import Depends, Json, Meta

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


@dataclass
class Draft:
    title: Annotated[str, Meta(min_length=1)]
    tags: list[int]


def form(body: bytes) -> bytes:
    return post(
        "/form",
        body,
        f"Content-Length: {len(body)}",
        "Content-Type: application/x-www-form-urlencoded",
    )


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (post("/draft", b'{"title":"a","tags":[1]}'), 200),
        (post("/draft", b'{"title":"","tags":["a","b"]}'), 422),
        (post("/draft", b'{"tags":[]}'), 422),
        (post("/draft", b"{"), 400),
        (get("/page?limit=a&offset=b"), 400),
        (get("/page"), 400),
        (form(b"b=1"), 400),
        (get("/held"), 404),
        (get("/nowhere"), 404),
        (get("/draft"), 405),
    ],
    ids="ok faults missing no-json wrong absent form dependency nowhere method".split(),
)
async def test_exchange_leaves_no_cycle(request_: bytes, status: int) -> None:
    app = App()

    @app.post("/draft")
    async def draft(draft: Json[Draft]) -> Draft:
        return draft

    @app.get("/page")
    async def page(limit: int, offset: int) -> str:
        return f"{limit}{offset}"

    @app.post("/form")
    async def form(request: Request) -> str:
        return (await request.form())["a"]

    async def held() -> AsyncIterator[int]:
        yield 1

    @app.get("/held")
    async def use(held: Annotated[int, Depends(held)]) -> str:
        raise HTTPError(404)

    gc.disable()
    try:
        async with on_loopback(app, tick_s=3600) as server, peer_of(server) as peer:
            for number in range(15):
                if number == 5:  # everything is cached
                    gc.collect()
                await peer.send(request_)
                answer = await peer.read_until(b"\r\n\r\n")
                assert statuses(answer) == [status]
            assert gc.collect() < 10
    finally:
        gc.enable()
