"""The server on a real socket: starting, limits of connections, stopping."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress

import pytest
from support.serving import (
    DEADLINE_S,
    GET,
    LATER_S,
    QUICK_S,
    get,
    in_memory,
    on_loopback,
    peer_of,
    post,
    read_all,
    read_until,
    settle,
    statuses,
    until_none,
)

from microweb import App, ConfigurationError, Request
from microweb.server.config import ServerConfig
from microweb.server.listeners import Listeners
from microweb.server.server import Server
from microweb.testing.misbehaving import Misbehaving
from microweb.testing.network import ClientEnd


class Gate:
    """An app whose `/wait` answers once it is opened."""

    def __init__(self) -> None:
        self.app = App()
        self.entered = asyncio.Event()
        self.is_open = asyncio.Event()
        self.endings: list[str] = []
        self.app.get("/")(self.index)
        self.app.route("/wait", methods=["GET", "POST"])(self.wait)
        self.app.get("/stream")(self.stream)

    async def index(self) -> str:
        return "index"

    async def wait(self) -> str:
        self.entered.set()
        try:
            await self.is_open.wait()
        except asyncio.CancelledError:
            self.endings.append("cancelled")
            raise
        self.endings.append("finished")
        return "at last"

    async def stream(self) -> AsyncIterator[str]:
        yield "first"
        self.entered.set()
        await self.is_open.wait()
        yield "second"


async def ask(server: Server, request: bytes = GET) -> bytes:
    async with peer_of(server) as peer:
        await peer.send(request)
        await peer.half_close()
        return await peer.read_all()


async def is_refused(server_address: tuple[str, int]) -> bool:
    try:
        async with Misbehaving(*server_address):
            return False
    except ConnectionRefusedError:
        return True


# --- start


async def test_server_serves_until_it_stops() -> None:
    async with on_loopback(Gate().app) as server:
        assert statuses(await ask(server)) == [200]
        host, port = server.sockets[0].getsockname()
        assert server.url == f"http://{host}:{port}"
    assert await is_refused((host, port))


async def test_busy_port_enters_no_lifespan() -> None:
    entered = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        entered.append(1)
        yield

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = ServerConfig(host="127.0.0.1", port=taken.getsockname()[1])
        with pytest.raises(ConfigurationError, match="in use"):
            await Server(Gate().app, config, lifespan=lifespan())
    assert not entered


async def test_lifespan_that_fails_leaves_nothing_open() -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        raise ValueError("no database")
        yield

    server = Server(Gate().app, ServerConfig(host="127.0.0.1", port=0), lifespan=lifespan())
    with pytest.raises(ValueError, match="no database"):
        await server.start()
    assert all(bound.fileno() == -1 for bound in server.sockets)


async def test_sweep_goes_on_after_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, contexts = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    async with on_loopback(Gate().app, idle_timeout_s=0) as server:
        monkeypatch.setattr(server.state.heads, "refresh", lambda: 1 / 0)
        async with asyncio.timeout(DEADLINE_S):
            while len(contexts) < 3:
                await asyncio.sleep(0)


# --- too many connections


async def test_connection_over_the_limit_gets_a_503() -> None:
    gate = Gate()
    async with on_loopback(gate.app, max_connections=1) as server, peer_of(server) as first:
        await first.send(get("/wait"))
        await gate.entered.wait()
        async with peer_of(server) as second:
            answer = await second.read_all()
        assert statuses(answer) == [503]
        assert b"Retry-After: 5\r\n" in answer and b"Connection: close\r\n" in answer
        gate.is_open.set()
        await first.read_until(b"at last")
        await first.send(GET)
        assert (await first.read_until(b"index")).endswith(b"index")


async def test_503_outlives_a_request_that_was_sent_at_once() -> None:
    gate = Gate()
    async with on_loopback(gate.app, max_connections=1) as server, peer_of(server) as first:
        await first.send(get("/wait"))
        await gate.entered.wait()
        async with peer_of(server) as second:
            await second.send(post("/", bytes(10_000)))
            assert statuses(await second.read_all()) == [503]
        gate.is_open.set()


async def test_place_of_one_that_left_is_free() -> None:
    async with on_loopback(Gate().app, max_connections=1) as server:
        for _ in range(3):
            assert statuses(await ask(server)) == [200]
            await until_none(server.connections)


async def test_many_over_the_limit_are_just_closed() -> None:
    gate = Gate()
    async with on_loopback(gate.app, max_connections=1, grace_s=0.05) as server:
        async with peer_of(server) as first:
            await first.send(get("/wait"))
            await gate.entered.wait()
            peers = [peer_of(server) for _ in range(120)]
            for peer in peers:
                await peer.__aenter__()
            answers = [statuses(await read_until_closed(peer)) for peer in peers]
            for peer in peers:
                await peer.__aexit__(None, None, None)
        assert answers.count([503]) >= 100
        assert answers.count([503]) + answers.count([]) == 120


async def read_until_closed(peer: Misbehaving) -> bytes:
    try:
        return await peer.read_all()
    except ConnectionError:
        return b""


async def idle_from(clients: ExitStack, server: Server, host: str, *, sends: bool = True) -> Client:
    """Connect from an address of this machine; idle behind an answer, or with nothing sent."""
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
    """Whether a new connection is one too many; it is closed."""
    answer = await read_until(end, b"connections\n")
    end.close()
    return statuses(answer) == [503]


def pass_a_second(server: Server) -> None:
    """Let connections count as idle that were silent until now."""
    clock = server.state.clock
    server.state.clock = lambda: clock() + 1.0 + QUICK_S


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
    """The request reaches the kernel in the turn of the loop in which the server is full."""
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
        await house.pass_time(3)  # times are those of the sweep
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
        await stopping


# --- stop


async def test_silent_connections_are_closed() -> None:
    async with (
        on_loopback(Gate().app, grace_s=1000) as server,
        peer_of(server) as fresh,
        peer_of(server) as idle,
    ):
        await idle.send(GET)
        await idle.read_until(b"index")
        while len(server.connections) < 2:
            await asyncio.sleep(0)
        await server.stop()
        assert await fresh.read_all() == b"" == await idle.read_all()


async def test_connection_that_idles_at_the_stop_has_its_next_request_answered() -> None:
    async with (
        on_loopback(Gate().app, grace_s=1000) as server,
        peer_of(server) as fresh,
        peer_of(server) as idle,
    ):
        await idle.send(GET)
        await idle.read_until(b"index")
        while len(server.connections) < 2:
            await asyncio.sleep(0)
        stopping = asyncio.create_task(server.stop())
        while not server.state.is_stopping:
            await asyncio.sleep(0)
        for peer in (fresh, idle):
            await peer.send(GET)
            answer = await peer.read_all()
            assert statuses(answer) == [200] and b"Connection: close\r\n" in answer
        await stopping


async def test_head_that_has_begun_at_the_stop_is_answered() -> None:
    async with on_loopback(Gate().app, grace_s=1000) as server, peer_of(server) as peer:
        await peer.send(GET[:10])
        while not server.connections:
            await asyncio.sleep(0)
        stopping = asyncio.create_task(server.stop(silence_s=0.0))
        while not server.state.is_stopping:
            await asyncio.sleep(0)
        await peer.send(GET[10:])
        assert statuses(await peer.read_all()) == [200]
        await stopping


async def test_pipelined_requests_are_answered_and_the_last_answer_says_close() -> None:
    gate = Gate()
    async with on_loopback(gate.app, grace_s=DEADLINE_S) as server, peer_of(server) as peer:
        data = await stop_amid(server, gate, peer, get("/wait") + GET * 3)
        assert statuses(data) == [200] * 4
        assert data.count(b"Connection: close\r\n") == 1
        assert b"Connection: close\r\n" in data.rpartition(b"HTTP/1.1 200 ")[2]


async def test_request_behind_the_last_answer_does_not_destroy_it() -> None:
    """A socket that is closed with unread bytes resets the connection."""
    gate = Gate()
    async with on_loopback(gate.app, grace_s=DEADLINE_S) as server, peer_of(server) as peer:
        await peer.send(get("/wait"))
        await gate.entered.wait()
        stopping = asyncio.create_task(server.stop())
        while not server.state.is_stopping:
            await asyncio.sleep(0)
        gate.is_open.set()
        while gate.endings != ["finished"]:
            await asyncio.sleep(0)
        await peer.send(GET)
        await stopping
        assert (await peer.read_all()).endswith(b"at last")


async def test_finished_answer_reaches_a_peer_that_reads_slowly() -> None:
    app = App()

    @app.get("/large")
    async def large() -> bytes:
        return bytes(20_000_000)

    async with on_loopback(app, grace_s=DEADLINE_S) as server, peer_of(server) as peer:
        await peer.send(get("/large"))
        data = await peer.receive(1)
        stopping = asyncio.create_task(server.stop(silence_s=0.0))
        while not server.state.is_stopping:
            await asyncio.sleep(0)
        data += await peer.read_all()
        assert len(data) > 20_000_000
        await stopping


async def test_sweep_survives_a_connection_whose_end_its_answer_has_not_noticed() -> None:
    app = App()

    @app.get("/large")
    async def large() -> bytes:
        return bytes(20_000_000)

    async with on_loopback(app) as server, peer_of(server) as peer:
        await peer.send(get("/large"))
        await peer.receive(1)
        (connection,) = server.connections
        async with asyncio.timeout(DEADLINE_S):
            while not connection.is_draining:
                await asyncio.sleep(0)
            connected = connection.transport.get_extra_info("socket")
            connection.transport.abort()
            while connected.fileno() >= 0:
                await asyncio.sleep(0)
            connection.check(server.state.clock())
            await until_none(server.connections)


async def test_connection_in_the_queue_at_the_stop_is_answered() -> None:
    async with on_loopback(Gate().app, grace_s=DEADLINE_S) as server:
        address = server.sockets[0].getsockname()
        clients = [socket.create_connection(address) for _ in range(100)]
        for client in clients:  # no turn of the loop in between: the kernel has them all
            client.sendall(GET)
        await server.stop()
        for client in clients:
            with client, client.makefile("rb") as file:
                client.settimeout(DEADLINE_S)
                assert statuses(file.read()) == [200]


async def test_request_that_the_grace_cuts_is_named(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()

    @gate.app.get("/users/{name}")
    async def user(name: str) -> str:
        return await gate.wait()

    async with on_loopback(gate.app, grace_s=0.05) as server, peer_of(server) as peer:
        await peer.send(get("/users/ada"))
        await gate.entered.wait()
        await server.stop()
    (record,) = caplog.records
    expected = "GET /users/ada (route /users/{name}) did not end within grace_s=0.05: cut"
    assert record.getMessage() == expected and record.name == "microweb.server"


async def stop_amid(server: Server, gate: Gate, peer: Misbehaving, request: bytes) -> bytes:
    """Send a request, stop the server while it runs, let it go on; return the whole answer."""
    await peer.send(request)
    await gate.entered.wait()
    stopping = asyncio.create_task(server.stop())
    while not server.state.is_stopping:
        await asyncio.sleep(0)
    gate.is_open.set()
    data = await peer.read_all()
    await stopping
    return data


async def test_request_under_way_finishes_and_says_close() -> None:
    gate = Gate()
    async with on_loopback(gate.app, grace_s=DEADLINE_S) as server, peer_of(server) as peer:
        answer = await stop_amid(server, gate, peer, get("/wait"))
        assert answer.endswith(b"at last") and b"Connection: close\r\n" in answer
        assert gate.endings == ["finished"]


async def test_stream_under_way_finishes() -> None:
    gate = Gate()
    async with on_loopback(gate.app, grace_s=DEADLINE_S) as server, peer_of(server) as peer:
        answer = await stop_amid(server, gate, peer, get("/stream"))
        assert answer.endswith(b"6\r\nsecond\r\n0\r\n\r\n")


async def test_large_answer_reaches_a_peer_that_reads_it_late() -> None:
    gate = Gate()

    @gate.app.get("/large")
    async def large() -> bytes:
        gate.entered.set()
        await gate.is_open.wait()
        return bytes(20_000_000)

    async with on_loopback(gate.app, grace_s=DEADLINE_S) as server, peer_of(server) as peer:
        answer = await stop_amid(server, gate, peer, get("/large"))
        assert len(answer) > 20_000_000


async def test_after_the_grace_handlers_are_cancelled() -> None:
    gate = Gate()
    async with on_loopback(gate.app, grace_s=0.05) as server, peer_of(server) as peer:
        await peer.send(get("/wait"))
        await gate.entered.wait()
        await server.stop()
        assert gate.endings == ["cancelled"]
        assert await read_until_closed(peer) == b""


async def stubborn() -> str:
    while True:
        try:
            await asyncio.sleep(0.3)
            return "x"
        except asyncio.CancelledError:
            pass


@pytest.mark.parametrize("request_", [get("/wait"), get("/stubborn"), GET[:9], post("/wait")[:-1]])
async def test_lifespan_is_left_whatever_the_peers_do(request_: bytes) -> None:
    events = []
    gate = Gate()
    gate.app.get("/stubborn")(stubborn)

    @gate.app.lifespan
    async def life(app: App) -> AsyncIterator[None]:
        events.append("enter")
        yield
        events.append("leave")

    async with on_loopback(gate.app, grace_s=0.05) as server, peer_of(server) as peer:
        await peer.send(request_)
        while not server.connections:
            await asyncio.sleep(0)
        await server.stop()
        assert events == ["enter", "leave"]


async def test_stopping_twice_is_stopping_once() -> None:
    async with on_loopback(Gate().app) as server:
        await asyncio.gather(server.stop(), server.stop())


async def test_peer_that_does_not_read_cannot_hold_the_server() -> None:
    gate = Gate()

    @gate.app.get("/large")
    async def large() -> bytes:
        return bytes(20_000_000)

    async with on_loopback(gate.app, grace_s=0.05) as server, peer_of(server) as peer:
        await peer.read_nothing()
        await peer.send(get("/large"))
        await peer.receive(1)
        await server.stop()
        assert not server.connections


# --- pauses


@pytest.mark.parametrize(
    ("sent", "rest"),
    [(b"", GET), (GET[:10], GET[10:]), (post("/echo", b"index")[:-2], b"ex")],
)
async def test_bytes_that_came_while_the_loop_was_blocked_are_answered(
    sent: bytes, rest: bytes
) -> None:
    """All deadlines pass while an endpoint blocks the loop, behind the bytes."""
    app, reading = Gate().app, asyncio.Event()
    loop, late_s = asyncio.get_running_loop(), 0.0

    @app.post("/echo")
    async def echo(request: Request) -> bytes:
        reading.set()
        return await request.body()

    @app.get("/block")
    async def block() -> str:
        nonlocal late_s
        assert peer._socket.send(rest) == len(rest)
        late_s = LATER_S
        time.sleep(2 * QUICK_S)  # until the sweep is due
        return "blocked"

    async with (
        on_loopback(app) as server,
        peer_of(server) as peer,
        peer_of(server) as blocking,
    ):
        server.state.clock = lambda: loop.time() + late_s
        await peer.send(GET)
        await peer.read_until(b"index")
        await peer.send(sent)
        if sent.startswith(b"POST"):
            await reading.wait()
        await blocking.send(get("/block"))
        await blocking.read_until(b"blocked")
        assert statuses(await peer.read_until(b"index")) == [200]
        await peer.send(GET)
        assert statuses(await peer.read_until(b"index")) == [200]


async def test_peer_that_read_while_the_loop_was_blocked_gets_the_rest() -> None:
    app, loop, late_s = App(), asyncio.get_running_loop(), 0.0

    @app.get("/large")
    async def large() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield bytes(100_000)

    @app.get("/block")
    async def block() -> str:
        nonlocal late_s
        with suppress(BlockingIOError):
            while read := peer._socket.recv(1 << 20):
                received.append(read)
        late_s = LATER_S
        time.sleep(2 * QUICK_S)
        return "blocked"

    received: list[bytes] = []
    async with (
        on_loopback(app, grace_s=DEADLINE_S) as server,
        peer_of(server) as peer,
        peer_of(server) as blocking,
    ):
        server.state.clock = lambda: loop.time() + late_s
        await peer.send(get("/large"))
        while not any(connection.is_draining for connection in server.connections):
            await asyncio.sleep(0)
        await blocking.send(get("/block"))
        await blocking.read_until(b"blocked")
        rest = await peer.read_until(b"\r\n0\r\n\r\n")
        assert len(b"".join(received) + rest) > 20_000_000


# --- listeners


async def test_pause_leaves_connections_in_the_queue(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with on_loopback(Gate().app) as server:
        listeners = listeners_of(server)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(listeners, "_look_at_limit", lambda: None)
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
            patched.setattr(listeners, "_look_at_limit", lambda: None)
            patched.setattr(listeners, "_ceiling", 0)
            await ask(server)
            assert listeners.is_paused
            await server.stop()
    assert await is_refused(address)


def listeners_of(server: Server) -> Listeners:
    listeners = server._listeners
    assert listeners is not None
    return listeners


async def test_small_writes_do_not_wait_for_each_other() -> None:
    async with on_loopback(Gate().app) as server, peer_of(server) as peer:
        await peer.send(GET)
        await peer.read_until(b"index")
        (connection,) = server.connections
        connected = connection.transport.get_extra_info("socket")
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
