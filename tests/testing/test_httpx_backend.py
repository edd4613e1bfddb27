"""httpx over connections in memory: the pool, streams in both directions, errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpcore
import httpx
import pytest

from microweb import App, Request
from microweb.testing.httpx_backend import httpx_errors


async def test_second_request_reuses_the_connection(app: App) -> None:
    async with app.test_client() as client:
        ports = [(await client.get("/port")).text for _ in range(3)]
    assert len(set(ports)) == 1


async def test_concurrent_requests_have_connections_of_their_own(app: App) -> None:
    met = asyncio.Barrier(3)

    @app.get("/meet")
    async def meet(request: Request) -> str:
        await met.wait()
        return str(request.peer)

    async with app.test_client() as client:
        responses = await asyncio.gather(*(client.get("/meet") for _ in range(3)))
    assert len({response.text for response in responses}) == 3


async def test_connection_that_the_server_closed_is_not_used_again(app: App) -> None:
    async with app.test_client() as client:
        first = await client.get("/port", headers={"Connection": "close"})
        second = await client.get("/port")
    assert first.text != second.text


# --- streams


async def test_response_is_streamed_piece_by_piece(app: App) -> None:
    go_on = asyncio.Event()

    @app.get("/count")
    async def count() -> AsyncIterator[str]:
        yield "one"
        await go_on.wait()
        yield "two"

    async with app.test_client() as client, client.stream("GET", "/count") as response:
        pieces = response.aiter_text()
        assert await anext(pieces) == "one"
        go_on.set()  # only now: if a layer buffered, the first piece would never arrive
        assert await anext(pieces) == "two"


async def test_upload_is_streamed_piece_by_piece(app: App) -> None:
    arrived = asyncio.Event()

    @app.post("/upload")
    async def upload(request: Request) -> list[str]:
        pieces = []
        async for piece in request.stream():
            pieces.append(piece.decode())
            arrived.set()
        return pieces

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        await arrived.wait()
        yield b"two"

    async with app.test_client() as client:
        response = await client.post("/upload", content=pieces())
    assert response.request.headers["transfer-encoding"] == "chunked"
    assert response.json() == ["one", "two"]


async def test_megabytes_go_both_ways(app: App) -> None:
    content = bytes(range(256)) * 20_000
    async with app.test_client() as client:
        response = await client.post("/echo", content=content)
    assert response.content == content


async def test_endless_stream_is_held_back_and_ends_with_the_client(app: App) -> None:
    sent = 0
    is_closed = asyncio.Event()

    @app.get("/endless")
    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        try:
            while sent < 1000:  # without backpressure the client would not run before the end
                sent += 1
                yield bytes(65536)
        finally:
            is_closed.set()

    async with app.test_client() as client:
        async with client.stream("GET", "/endless") as response:
            assert len(await anext(response.aiter_raw())) > 0
        await is_closed.wait()
    assert sent < 10


async def test_early_answer_to_a_large_upload_is_heard(app: App) -> None:
    @app.post("/small", max_body=10)
    async def small(request: Request) -> bytes:
        return await request.body()

    async with app.test_client() as client:
        response = await client.post("/small", content=bytes(5_000_000))
    assert response.status_code == 413


async def test_slow_endpoint_is_a_read_timeout(app: App) -> None:
    @app.get("/never")
    async def never() -> None:
        await asyncio.Event().wait()

    async with app.test_client() as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/never", timeout=0.01)


async def test_server_that_does_not_read_is_a_write_timeout(app: App) -> None:
    @app.post("/never")
    async def never() -> None:
        await asyncio.Event().wait()

    async with app.test_client() as client:
        with pytest.raises(httpx.WriteTimeout):
            await client.post("/never", content=bytes(1_000_000), timeout=0.01)


async def test_unknown_scheme_is_an_error_of_httpx(app: App) -> None:
    async with app.test_client() as client:
        with pytest.raises(httpx.UnsupportedProtocol):
            await client.get("ftp://testserver/")


def test_errors_of_httpcore_are_those_of_httpx() -> None:
    with pytest.raises(httpx.ReadTimeout, match="too late"), httpx_errors():
        raise httpcore.ReadTimeout("too late")
