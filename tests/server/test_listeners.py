"""Listening: connections wait in the queue while file descriptors are scarce."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest
from support.gate import Gate, ask, is_refused
from support.serving import (
    GET,
    on_loopback,
    peer_of,
    statuses,
)

from microweb.server.listeners import Listeners
from microweb.server.server import Server


async def test_pause_leaves_connections_in_the_queue(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with on_loopback(Gate().app) as server:
        listeners = listeners_of(server)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(listeners, "_read_limit", lambda: None)
            patched.setattr(listeners, "_ceiling", 0)
            async with peer_of(server) as first, peer_of(server) as waiting:
                await first.send(GET)
                assert (await first.read_until(b"index")).endswith(b"index")
                assert listeners.is_paused
                await waiting.send(GET)
                patched.undo()
                assert (await waiting.read_until(b"index")).endswith(b"index")
                assert not listeners.is_paused
        assert statuses(await ask(server)) == [200]
    (record,) = caplog.records
    assert record.getMessage().startswith("nearly out of file descriptors")


async def test_server_can_stop_while_it_is_paused() -> None:
    async with on_loopback(Gate().app) as server:
        address = server.sockets[0].getsockname()
        listeners = listeners_of(server)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(listeners, "_read_limit", lambda: None)
            patched.setattr(listeners, "_ceiling", 0)
            await ask(server)
            assert listeners.is_paused
            await server.stop()
    assert await is_refused(address)


async def test_some_of_many_connections_are_checked() -> None:
    class Counting(asyncio.BaseTransport):
        asked = 0

        def get_extra_info(self, name: str, default: object = None) -> None:
            self.asked += 1

    async with on_loopback(Gate().app) as server:
        listeners, transport = listeners_of(server), Counting()
        listeners._spare = 64
        for _ in range(10):
            listeners.check_descriptor(transport)
        assert transport.asked == 2
        listeners.check()
        listeners.check_descriptor(transport)
        assert transport.asked == 3


def listeners_of(server: Server) -> Listeners:
    listeners = server._listeners
    assert listeners is not None
    return listeners


async def test_small_writes_do_not_wait_for_each_other() -> None:
    async with on_loopback(Gate().app) as server, peer_of(server) as peer:
        await peer.send(GET)
        await peer.read_until(b"index")
        (connection,) = server.connections
        connected = connection.network.transport.get_extra_info("socket")
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
