"""How a full server makes room for a new connection."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import ExitStack

import pytest
from support.gate import Gate
from support.serving import (
    DEADLINE_S,
    GET,
    get,
    in_memory,
    on_loopback,
    pass_a_second,
    read_all,
    read_until,
    settle,
    statuses,
)

from microweb.server.server import Server
from microweb.testing.network import ClientEnd


async def idle_from(clients: ExitStack, server: Server, host: str, *, sends: bool = True) -> Client:
    """Connect from an address of this machine, and idle: after an answer, or without a request."""
    client = Client(clients, server, host)
    before = len(server.connections)
    await client.connect()
    if sends:
        assert statuses(await client.ask(GET)) == [200]
    else:
        async with asyncio.timeout(DEADLINE_S):
            while len(server.connections) <= before:
                await asyncio.sleep(0)
    return client


async def is_turned_away(end: ClientEnd) -> bool:
    """Whether the server turns away a new connection, which is then closed."""
    answer = await read_until(end, b"connections\n")
    end.close()
    return statuses(answer) == [503]


class Client:
    """A connection from one of the addresses of loopback."""

    def __init__(self, clients: ExitStack, server: Server, host: str) -> None:
        self._clients = clients
        self._to, self._from = server.sockets[0].getsockname(), (host, 0)

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(*self._to, local_addr=self._from)
        self._clients.callback(self.writer.close)

    async def ask(self, request: bytes) -> bytes:
        self.writer.write(request)
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.readuntil(b"index")

    async def is_closed(self) -> bool:
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.read() == b""


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 needs to be set up")


@linux_only
@pytest.mark.parametrize("sends", [True, False])
async def test_idle_connection_of_the_most_crowded_address_makes_room(sends: bool) -> None:
    async with on_loopback(Gate().app, max_connections=4) as server:
        with ExitStack() as clients:
            honest = await idle_from(clients, server, "127.0.0.2")
            greedy = [await idle_from(clients, server, "127.0.0.3", sends=sends) for _ in range(3)]
            pass_a_second(server)
            new = [await idle_from(clients, server, f"127.0.0.{each}") for each in (4, 5)]
            async with asyncio.timeout(DEADLINE_S):
                while [client.reader.at_eof() for client in greedy].count(True) < 2:
                    await asyncio.sleep(0)
            left = [client for client in greedy if not client.reader.at_eof()]
            for client in (honest, *left, *new):
                assert statuses(await client.ask(GET)) == [200]


@linux_only
async def test_addresses_are_counted_anew_after_a_while() -> None:
    async with on_loopback(Gate().app, max_connections=12) as server:
        with ExitStack() as clients:
            first = [await idle_from(clients, server, "127.0.0.3") for _ in range(4)]
            pass_a_second(server)
            assert server._eviction.make_room()  # the other two are candidates too
            later = [await idle_from(clients, server, "127.0.0.4") for _ in range(5)]
            pass_a_second(server)
            assert server._eviction.make_room()
            async with asyncio.timeout(DEADLINE_S):
                while not any(client.reader.at_eof() for client in later):
                    await asyncio.sleep(0)
            assert [client.reader.at_eof() for client in first].count(True) == 1


@linux_only
async def test_busy_connections_make_no_room() -> None:
    gate = Gate()
    async with on_loopback(gate.app, max_connections=2, grace_s=0.05) as server:
        clients = ExitStack()
        busy = [Client(clients, server, "127.0.0.3") for _ in range(2)]
        for client, target in zip(busy, ("/wait", "/stream"), strict=True):
            await client.connect()
            gate.entered.clear()
            client.writer.write(get(target))
            await gate.entered.wait()
        late = Client(clients, server, "127.0.0.4")
        await late.connect()
        assert statuses(await late.reader.read()) == [503]
        gate.is_open.set()
        assert await busy[0].reader.readuntil(b"at last")
        assert await busy[1].reader.readuntil(b"second")
        clients.close()


@linux_only
async def test_connection_on_which_bytes_wait_makes_no_room() -> None:
    """The request reaches the kernel in the iteration in which the server becomes full."""
    async with on_loopback(Gate().app, max_connections=2) as server:
        clients = ExitStack()
        greedy = [await idle_from(clients, server, "127.0.0.3") for _ in range(2)]
        connected = greedy[0].writer.get_extra_info("socket")
        assert os.write(connected.fileno(), GET) == len(GET)
        pass_a_second(server)
        assert server._eviction.make_room()
        assert statuses(await greedy[0].ask(b"")) == [200]
        assert await greedy[1].is_closed()
        clients.close()


@linux_only
async def test_connection_whose_request_was_just_read_makes_no_room() -> None:
    """The event loop has read the request in this iteration, and its task has not run yet."""
    async with on_loopback(Gate().app, max_connections=1) as server:
        with ExitStack() as clients:
            client = await idle_from(clients, server, "127.0.0.3")
            pass_a_second(server)
            (connection,) = server.connections
            await settle()
            connection.network.inflow.data_received(GET)
            assert not server._eviction.make_room()
            assert statuses(await client.ask(b"")) == [200]


@pytest.mark.parametrize("sends", [True, False])
async def test_connection_that_was_silent_for_less_than_a_second_makes_no_room(sends: bool) -> None:
    async with in_memory(Gate().app, max_connections=1) as house:
        fresh = house.connect()
        if sends:
            await fresh.write(GET)
            assert statuses(await read_until(fresh, b"index")) == [200]
        await house.pass_time(0.9)
        assert await is_turned_away(house.connect())
        await fresh.write(GET)
        assert statuses(await read_until(fresh, b"index")) == [200]
        await house.pass_time(3)  # the sweep sets the times
        late = house.connect()
        assert await read_all(fresh) == b""
        await late.write(GET)
        assert statuses(await read_until(late, b"index")) == [200]
        late.close()


async def test_connection_that_idles_makes_no_room_while_the_server_stops() -> None:
    async with in_memory(Gate().app, max_connections=1) as house:
        first = house.connect()
        await first.write(GET)
        assert statuses(await read_until(first, b"index")) == [200]
        await house.pass_time(5)
        stopping = asyncio.create_task(house.server.stop(silence_s=1.0))
        await settle()
        assert await is_turned_away(house.connect())
        await first.write(GET)
        assert statuses(await read_all(first)) == [200]
        first.close()
        await stopping
