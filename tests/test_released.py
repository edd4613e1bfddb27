"""Exchanges and connections are freed immediately, without the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Iterator

import pytest
from support.serving import DEADLINE_S, get, on_loopback, peer_of, post, until_none

from microweb import App, Request, Response, abort
from microweb.server.server import Server


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Switch the garbage collector off: a test fails if a cycle keeps an object."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Kept:
    """A value of the application that a request holds."""


async def until_freed(reference: weakref.ref[Kept] | weakref.ref[asyncio.StreamReader]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while reference() is not None:
            await asyncio.sleep(0.01)


def app_keeping(references: list[weakref.ref[Kept]]) -> App:
    """Return an app that gives each request a new `Kept`, and adds a weak reference to the list."""
    app = App()

    @app.before_request
    async def keep(request: Request) -> None:
        request.state.kept = Kept()
        references.append(weakref.ref(request.state.kept))

    @app.get("/text")
    async def text() -> str:
        return "text"

    @app.post("/body")
    async def body(request: Request) -> bytes:
        return await request.body()

    @app.get("/thread")
    def thread(request: Request) -> str:
        return request.path

    @app.get("/stream")
    async def stream(request: Request) -> AsyncIterator[str]:
        yield request.path

    @app.get("/refused")
    async def refused() -> None:
        abort(403, "no")

    @app.get("/later")
    async def later(request: Request) -> Response:
        request.after_response(request.disconnected)
        return Response("later")

    return app


REQUESTS = {
    "text": get("/text"),
    "body": post("/body", b"x" * 100),
    "chunked": post("/body", b"1\r\nx\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
    "thread": get("/thread"),
    "stream": get("/stream"),
    "404": get("/nothing"),
    "403": get("/refused"),
    "after the answer": get("/later"),
}


async def reader_of(server: Server) -> weakref.ref[asyncio.StreamReader]:
    """Return a weak reference to the reader of the only connection, which has no `__weakref__`."""
    async with asyncio.timeout(DEADLINE_S):
        while not server.connections:
            await asyncio.sleep(0.01)
    (connection,) = server.connections
    return weakref.ref(connection.network.reader)


@pytest.mark.parametrize("request_bytes", REQUESTS.values(), ids=REQUESTS)
async def test_nothing_of_a_request_is_kept_while_its_connection_idles(
    request_bytes: bytes,
) -> None:
    references: list[weakref.ref[Kept]] = []
    async with on_loopback(app_keeping(references)) as server, peer_of(server) as peer:
        for count in (1, 2, 3):  # the second and third may hit memos
            await peer.send(request_bytes)
            await peer.read_until(b"\r\n\r\n")
            async with asyncio.timeout(DEADLINE_S):
                while len(references) < count:
                    await asyncio.sleep(0.01)
            await until_freed(references[-1])
        assert len(server.connections) == 1


async def test_idle_connection_keeps_no_head() -> None:
    """A head may contain credentials."""
    async with on_loopback(app_keeping([])) as server, peer_of(server) as peer:
        for _ in range(3):
            await peer.send(get("/text", "Authorization: Bearer 0123456789"))
            await peer.read_until(b"text")
        (connection,) = server.connections
        async with asyncio.timeout(DEADLINE_S):
            while b"0123456789" in connection.parser._last_head:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("request_bytes", REQUESTS.values(), ids=REQUESTS)
async def test_connection_is_freed_at_once(request_bytes: bytes) -> None:
    references: list[weakref.ref[Kept]] = []
    async with on_loopback(app_keeping(references)) as server:
        async with peer_of(server) as peer:
            reader = await reader_of(server)
            await peer.send(request_bytes)
            await peer.read_until(b"\r\n\r\n")
        await until_none(server.connections)
        await until_freed(reader)
        for reference in references:
            await until_freed(reference)


@pytest.mark.parametrize("data", [b"", b"GET / HT", b"no request\r\n\r\n", get("/text") * 10])
async def test_connection_that_ends_in_another_way_is_freed_at_once(data: bytes) -> None:
    async with on_loopback(app_keeping([])) as server:
        async with peer_of(server) as peer:
            reader = await reader_of(server)
            await peer.send(data)
            if data.endswith(b"\r\n\r\n"):
                await peer.read_until(b"\r\n\r\n")
        await until_none(server.connections)
        await until_freed(reader)
