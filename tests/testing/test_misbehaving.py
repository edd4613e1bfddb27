"""The misbehaving client against a live server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from support.tested_apps import GET

from microweb import App
from microweb.testing.live import live_server
from microweb.testing.misbehaving import Misbehaving


async def test_dripped_request_is_answered(app: App) -> None:
    with live_server(app) as server:
        async with Misbehaving(server.host, server.port) as peer:
            await peer.drip(GET, interval_s=0.001)
            assert (await peer.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
            assert await peer.receive() == b"hello"


async def test_half_closed_peer_gets_its_answer(app: App) -> None:
    with live_server(app) as server:
        async with Misbehaving(server.host, server.port) as peer:
            await peer.send(GET * 2)
            await peer.half_close()
            assert (await peer.read_all()).count(b"HTTP/1.1 200 OK\r\n") == 2


async def test_read_until_keeps_what_comes_behind(app: App) -> None:
    with live_server(app) as server:
        async with Misbehaving(server.host, server.port) as peer:
            await peer.send(GET * 2)
            for _ in range(2):
                assert (await peer.read_until(b"hello")).endswith(b"\r\n\r\nhello")


def with_endless_stream() -> tuple[App, threading.Event]:
    app, is_closed = App(), threading.Event()

    @app.get("/")
    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(65536)
        finally:
            is_closed.set()

    return app, is_closed


async def test_reset_ends_a_stream() -> None:
    app, is_closed = with_endless_stream()
    with live_server(app) as server:
        async with Misbehaving(server.host, server.port) as peer:
            await peer.send(GET)
            assert await peer.receive()
            await peer.reset()
        assert await asyncio.to_thread(is_closed.wait, 10)


async def test_peer_that_reads_nothing_is_cut_off() -> None:
    app, is_closed = with_endless_stream()
    with live_server(app, write_timeout_s=0.01) as server:
        async with Misbehaving(server.host, server.port) as peer:
            await peer.read_nothing()
            await peer.send(GET)
            assert await asyncio.to_thread(is_closed.wait, 10)


async def test_peer_gives_up_after_its_timeout(app: App) -> None:
    with live_server(app) as server:
        async with Misbehaving(server.host, server.port, timeout_s=0.01) as peer:
            with pytest.raises(TimeoutError):
                await peer.receive()


async def test_peer_that_cannot_connect_says_so(app: App) -> None:
    with live_server(app) as server:
        pass
    with pytest.raises(ConnectionRefusedError):
        async with Misbehaving(server.host, server.port):
            raise AssertionError("unreachable")
