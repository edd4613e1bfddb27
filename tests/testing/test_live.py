"""Servers for tests: their lifespans, in memory and on a socket."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator

import pytest
from support.tested_apps import GET, Broken, with_lifespan

from microweb import App, ConfigurationError
from microweb.testing.live import LiveServer, live_server

# --- in memory


async def test_failing_startup_comes_out_of_async_with(app: App) -> None:
    @app.on_startup
    async def fail() -> None:
        raise Broken("no database")

    before = asyncio.all_tasks()
    with pytest.raises(Broken, match="no database"):
        async with app.test_client():
            pass
    assert asyncio.all_tasks() == before


async def test_failing_startup_is_tried_again_by_the_next_request(app: App) -> None:
    is_ready = False

    @app.on_startup
    async def start() -> None:
        if not is_ready:
            raise Broken("not yet")

    client = app.test_client()
    with pytest.raises(Broken):
        await client.get("/")
    is_ready = True
    assert (await client.get("/")).text == "hello"
    await client.aclose()


async def test_failing_shutdown_comes_out_of_async_with(app: App) -> None:
    @app.on_shutdown
    async def fail() -> None:
        raise Broken("not saved")

    with pytest.raises(Broken, match="not saved"):
        async with app.test_client() as client:
            await client.get("/")


async def test_lifespan_is_left_by_the_task_that_entered_it(app: App) -> None:
    @app.lifespan
    async def life(app: App) -> AsyncIterator[None]:
        async with asyncio.timeout(10):  # raises if another task leaves it
            yield

    client = app.test_client()
    await asyncio.create_task(client.__aenter__())
    assert (await client.get("/")).text == "hello"
    await asyncio.create_task(client.aclose())


def test_one_app_serves_many_loops() -> None:
    events: list[str] = []
    app = with_lifespan(events)

    async def ask() -> str:
        async with app.test_client() as client:
            return (await client.get("/")).text

    assert [asyncio.run(ask()) for _ in range(2)] == ["42", "42"]
    assert events == ["enter", "request", "leave"] * 2


def test_client_that_was_not_closed_serves_the_next_loop(app: App) -> None:
    client = app.test_client()

    async def ask() -> str:
        return (await client.get("/")).text

    assert [asyncio.run(ask()) for _ in range(2)] == ["hello", "hello"]
    asyncio.run(client.aclose())


# --- live_server


def fetch(server: LiveServer, path: str) -> bytes:
    with urllib.request.urlopen(f"{server.url}{path}", timeout=10) as response:
        return bytes(response.read())


def test_live_server_serves_a_browser() -> None:
    events: list[str] = []
    with live_server(with_lifespan(events)) as server:
        assert server.url == f"http://{server.host}:{server.port}"
        assert fetch(server, "/") == b"42"
    assert events == ["enter", "request", "leave"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port), timeout=10)


def test_live_server_leaves_no_thread(app: App) -> None:
    before = set(threading.enumerate())
    with live_server(app) as server:
        fetch(server, "/")
    assert set(threading.enumerate()) <= before


def test_live_server_outlives_an_exit_in_a_task() -> None:
    app = App()

    @app.get("/")
    async def index() -> str:
        async def leave() -> None:
            sys.exit(3)

        leaving = asyncio.create_task(leave())
        await asyncio.wait([leaving])
        return repr(leaving.exception())

    with live_server(app) as server:
        for _ in range(2):
            with urllib.request.urlopen(server.url, timeout=5) as answer:
                assert answer.read() == b"SystemExit(3)"


def test_live_server_raises_what_startup_raises(app: App) -> None:
    @app.on_startup
    async def fail() -> None:
        raise Broken("no database")

    with pytest.raises(Broken, match="no database"), live_server(app):
        raise AssertionError("unreachable")


def test_live_server_raises_what_shutdown_raises(app: App) -> None:
    @app.on_shutdown
    async def fail() -> None:
        raise Broken("not saved")

    with pytest.raises(Broken, match="not saved"), live_server(app) as server:
        fetch(server, "/")


def test_live_server_says_that_a_port_is_taken(app: App) -> None:
    with live_server(app) as first:
        second = live_server(app, host=first.host, port=first.port)
        with pytest.raises(ConfigurationError, match="in use"), second:
            raise AssertionError("unreachable")


def test_live_server_stops_when_the_block_raises(app: App) -> None:
    with pytest.raises(Broken), live_server(app) as server:
        raise Broken
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port), timeout=10)


def test_live_server_stops_in_spite_of_a_client_that_stays(app: App) -> None:
    with live_server(app) as server:
        peer = socket.create_connection((server.host, server.port), timeout=10)
        peer.sendall(GET)
        assert peer.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    with peer:
        assert peer.recv(65536) == b""
