"""The server on a real socket: starting, limits of connections, stopping."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from support.gate import Gate, ask, is_refused
from support.serving import (
    DEADLINE_S,
    GET,
    LATER_S,
    QUICK_S,
    get,
    on_loopback,
    peer_of,
    post,
    statuses,
    until_none,
)

from microweb import App, ConfigurationError, Request
from microweb.server.config import ServerConfig
from microweb.server.server import Server
from microweb.testing.misbehaving import Misbehaving

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
        monkeypatch.setattr(server.state.head_cache, "refresh", lambda: 1 / 0)
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
    """The kernel resets the connection of a socket that is closed with unread bytes."""
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
            while not connection.network.is_draining:
                await asyncio.sleep(0)
            connected = connection.network.transport.get_extra_info("socket")
            connection.network.transport.abort()
            while connected.fileno() >= 0:
                await asyncio.sleep(0)
            connection.check(server.state.clock())
            await until_none(server.connections)


async def test_connection_in_the_queue_at_the_stop_is_answered() -> None:
    async with on_loopback(Gate().app, grace_s=DEADLINE_S) as server:
        address = server.sockets[0].getsockname()
        clients = [socket.create_connection(address) for _ in range(100)]
        for client in clients:  # the event loop does not run in between: the kernel has them all
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
    """Send a request, stop the server while the handler runs; return the whole answer."""
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
    """All deadlines pass while an endpoint blocks the event loop, after the bytes arrived."""
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
        while not any(connection.network.is_draining for connection in server.connections):
            await asyncio.sleep(0)
        await blocking.send(get("/block"))
        await blocking.read_until(b"blocked")
        rest = await peer.read_until(b"\r\n0\r\n\r\n")
        assert len(b"".join(received) + rest) > 20_000_000
