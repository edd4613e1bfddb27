"""Clients that leave, stop reading or continue to send, on a real socket and both event loops."""

from __future__ import annotations

import asyncio
import gc
import os
import select
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from support.serving import DEADLINE_S, GET, get, on_loopback, peer_of, post, statuses, until_none

from microweb import App, Request, Response
from microweb.errors import ClientDisconnected
from microweb.server.phases import Phase
from microweb.server.server import Server
from microweb.testing.misbehaving import Misbehaving

MIB = 1024 * 1024

URLENCODED = "Content-Type: application/x-www-form-urlencoded"
MULTIPART = "Content-Type: multipart/form-data; boundary=b"

needs_to_see_the_end = pytest.mark.skipif(
    not hasattr(select, "POLLRDHUP"), reason="the system does not tell of an end behind other bytes"
)
pytestmark = pytest.mark.usefixtures("nothing_is_logged")


class Waiting:
    """An app whose handlers wait until they are cancelled or released, and record which."""

    def __init__(self) -> None:
        self.app = App()
        self.entered = asyncio.Event()
        self.is_open = asyncio.Event()
        self.ended = asyncio.Event()
        self.ending = ""
        self.app.get("/")(self.index)
        self.app.route("/wait", methods=["GET", "POST"])(self.wait)
        self.app.get("/finish", on_disconnect="finish")(self.wait)
        self.app.post("/cancel", on_disconnect="cancel")(self.wait)
        self.app.get("/stream")(self.stream)
        self.app.post("/body")(self.body)
        self.app.get("/large")(self.large)

    async def index(self) -> str:
        return "index"

    async def wait(self) -> str:
        await self._wait()
        return "at last"

    async def stream(self) -> AsyncIterator[str]:
        yield "first"
        await self._wait()

    async def body(self, request: Request) -> str:
        self.entered.set()
        try:
            return str(len(await request.body()))
        except Exception as error:
            self.ending = type(error).__name__
            raise
        finally:
            self.ended.set()

    async def large(self) -> AsyncIterator[bytes]:
        self.entered.set()
        try:
            for _ in range(1024):
                yield bytes(64 * 1024)
        finally:
            self.ended.set()

    async def _wait(self) -> None:
        self.entered.set()
        self.ending = "finished"
        try:
            await self.is_open.wait()
        except (asyncio.CancelledError, GeneratorExit):
            self.ending = "cancelled"
            raise
        finally:
            self.ended.set()

    async def until_ended(self) -> str:
        async with asyncio.timeout(DEADLINE_S):
            await self.ended.wait()
        return self.ending


async def until_noticed(server: Server) -> None:
    """Wait until the sweep can have seen that the only peer left."""
    async with asyncio.timeout(DEADLINE_S):
        while not all(c.network.transport.is_closing() for c in server.connections):
            await asyncio.sleep(0)
    await asyncio.sleep(0.05)  # five sweeps, of which none may have an effect


@pytest.mark.parametrize("request_", [get("/wait"), post("/cancel")], ids=["get", "cancel"])
async def test_reset_cancels_a_handler_that_works_for_nobody(request_: bytes) -> None:
    waiting = Waiting()
    async with on_loopback(waiting.app) as server, peer_of(server) as peer:
        await peer.send(request_)
        await waiting.entered.wait()
        await peer.reset()
        assert await waiting.until_ended() == "cancelled"
        await until_none(server.connections)


@pytest.mark.parametrize("request_", [post("/wait"), get("/finish")], ids=["post", "finish"])
async def test_reset_lets_other_handlers_finish(request_: bytes) -> None:
    waiting = Waiting()
    async with on_loopback(waiting.app) as server, peer_of(server) as peer:
        await peer.send(request_)
        await waiting.entered.wait()
        await peer.reset()
        await until_noticed(server)
        waiting.is_open.set()
        assert await waiting.until_ended() == "finished"
        await until_none(server.connections)


@pytest.mark.parametrize("target", ["/wait", "/finish"])
async def test_half_closed_client_gets_its_answer(target: str) -> None:
    waiting = Waiting()
    async with on_loopback(waiting.app) as server, peer_of(server) as peer:
        await peer.send(get(target))
        await waiting.entered.wait()
        await peer.half_close()
        await asyncio.sleep(0.05)  # five sweeps, of which none may have an effect
        waiting.is_open.set()
        assert (await peer.read_all()).endswith(b"at last")


@pytest.mark.parametrize("how", ["reset", "half_close", "close"])
async def test_stream_of_undeclared_length_ends_with_its_client(how: str) -> None:
    waiting = Waiting()
    async with on_loopback(waiting.app) as server, peer_of(server) as peer:
        await peer.send(get("/stream"))
        await peer.read_until(b"first")
        if how == "close":
            await peer.__aexit__(None, None, None)
        else:
            await getattr(peer, how)()
        assert await waiting.until_ended() == "cancelled"
        await until_none(server.connections)


@needs_to_see_the_end
@pytest.mark.parametrize("pipelined", [GET, GET * 4096], ids=["little", "more than is read ahead"])
async def test_stream_ends_with_a_client_that_pipelined_and_half_closed(pipelined: bytes) -> None:
    waiting = Waiting()
    async with on_loopback(waiting.app) as server, peer_of(server) as peer:
        await peer.send(get("/stream"))
        await peer.read_until(b"first")
        await peer.send(pipelined)
        await peer.half_close()
        assert await waiting.until_ended() == "cancelled"
        await until_none(server.connections)


async def test_stream_goes_on_for_a_client_that_pipelined() -> None:
    waiting = Waiting()
    async with on_loopback(waiting.app) as server, peer_of(server) as peer:
        await peer.send(get("/stream"))
        await peer.read_until(b"first")
        await peer.send(GET)
        await asyncio.sleep(0.05)  # five sweeps, of which none may have an effect
        waiting.is_open.set()
        await peer.read_until(b"index")
    assert waiting.ending == "finished"


READING: dict[str, Callable[[Request], Awaitable[object]]] = {
    "body": Request.body,
    "json": Request.json,
    "form": Request.form,
    "stream": lambda request: all_of(request.stream()),
    "parts": lambda request: all_of(request.parts()),
}


async def all_of(pieces: AsyncIterator[object]) -> list[object]:
    return [piece async for piece in pieces]


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("how", ["reset", "half_close", "close"])
@pytest.mark.parametrize("way", READING)
async def test_leaving_inside_a_body_is_told_to_the_handler_alone(
    way: str, how: str, framing: str
) -> None:
    app, entered = App(), asyncio.Event()
    told: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    @app.post("/")
    async def read(request: Request) -> None:
        entered.set()
        try:
            await READING[way](request)
        except Exception as error:
            told.set_result(error)
            raise

    content_type = MULTIPART if way == "parts" else URLENCODED
    async with on_loopback(app) as server, peer_of(server) as peer:
        # In a multipart body these bytes begin a part, in a chunked body a chunk.
        begun = b"ff\r\n" * framing.startswith("Transfer") + b"--b\r\nContent-Disposition: form-"
        await peer.send(post("/", begun, framing, content_type))
        await entered.wait()
        if how == "close":
            await peer.__aexit__(None, None, None)
        else:
            await getattr(peer, how)()
        async with asyncio.timeout(DEADLINE_S):
            assert type(await told) is ClientDisconnected
        await until_none(server.connections)
        if how == "half_close":
            assert await peer.read_all() == b""


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_leaving_inside_a_download_ends_it(how: str) -> None:
    waiting = Waiting()
    async with on_loopback(waiting.app) as server, peer_of(server) as peer:
        await peer.send(get("/large"))
        await peer.receive(1000)
        await (peer.reset() if how == "reset" else peer.__aexit__(None, None, None))
        await waiting.until_ended()
        await until_none(server.connections)


async def test_reset_before_an_answer_that_closes() -> None:
    waiting = Waiting()
    async with on_loopback(waiting.app) as server, peer_of(server) as peer:
        await peer.send(post("/wait", b"", "Content-Length: 100000"))
        await waiting.entered.wait()
        await peer.reset()
        await asyncio.sleep(0.05)  # the event loop may notice it, paused or not
        waiting.is_open.set()
        await waiting.until_ended()
        await until_none(server.connections)


async def test_resets_leave_no_task_and_no_descriptor() -> None:
    waiting = Waiting()
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("no /proc to count open files in")
    async with on_loopback(waiting.app) as server:
        tasks, before = len(asyncio.all_tasks()), len(os.listdir(descriptors))
        for request in (GET, get("/wait"), get("/stream"), get("/large"), post("/body") + GET[:9]):
            for how in ("reset", "half_close", "close"):
                async with peer_of(server) as peer:
                    await peer.send(request)
                    if how != "close":
                        await getattr(peer, how)()
                    if how == "half_close":
                        waiting.is_open.set()
                        await peer.read_all()
                        waiting.is_open.clear()
        await until_none(server.connections)
        gc.collect()
        async with asyncio.timeout(DEADLINE_S):
            while len(os.listdir(descriptors)) > before or len(asyncio.all_tasks()) > tasks:
                await asyncio.sleep(0.01)


# --- clients that do not read


async def test_client_that_does_not_read_holds_no_more_than_the_mark_and_is_cut_off() -> None:
    waiting = Waiting()
    most = 0
    async with on_loopback(waiting.app, write_timeout_s=0.3) as server, peer_of(server) as peer:
        await peer.read_nothing()
        await peer.send(get("/large"))
        await waiting.entered.wait()
        (connection,) = server.connections
        async with asyncio.timeout(DEADLINE_S):
            while not waiting.ended.is_set():
                if not connection.network.transport.is_closing():
                    most = max(most, connection.network.transport.get_write_buffer_size())
                await asyncio.sleep(0)
        assert 64 * 1024 < most <= 2 * 64 * 1024 + 1024  # the limit, and the piece that exceeded it
        await until_none(server.connections)


async def test_client_that_reads_slowly_but_steadily_lives() -> None:
    app = App()

    @app.get("/")
    async def large() -> bytes:
        return bytes(16 * MIB)

    # The whole takes longer than the deadline of a write, but none of its parts does. The clock
    # moves by the bytes that are read, so a pause of this machine is not a pause of the client.
    async with on_loopback(app, write_timeout_s=10) as server, peer_of(server) as peer:
        begun = server.state.clock()
        size = 0
        server.state.clock = lambda: begun + size / (640 * 1024)
        await peer.send(get("/", "Connection: close"))
        while piece := await peer.receive(64 * 1024):
            size += len(piece)
            for connection in tuple(server.connections):
                connection.check(server.state.clock())
            await asyncio.sleep(0)
        assert server.state.clock() - begun > 20
        assert size > 16 * MIB


async def test_pipelining_client_that_does_not_read_is_not_read_either() -> None:
    app = App()

    @app.get("/")
    async def large() -> bytes:
        return bytes(10_000)

    async with on_loopback(app, write_timeout_s=0.3) as server, peer_of(server) as peer:
        await peer.read_nothing()
        sending = asyncio.create_task(peer.send(GET * 200_000))
        async with asyncio.timeout(DEADLINE_S):
            while not any(c.network.is_draining for c in server.connections):
                await asyncio.sleep(0)
            await until_none(server.connections)
        with pytest.raises(ConnectionError):
            await sending


# --- clients that continue to send


@pytest.fixture
def limited() -> App:
    app = App(max_body=1000)

    @app.post("/")
    async def echo(request: Request) -> bytes:
        return await request.body()

    @app.post("/unread")
    async def unread() -> Response:
        return Response("no, thanks")

    return app


@pytest.mark.parametrize("size", [2000, 100_000, 200_000])
@pytest.mark.parametrize(("target", "status"), [("/", 413), ("/unread", 200), ("/nowhere", 404)])
async def test_answer_survives_what_nobody_reads(
    limited: App, target: str, status: int, size: int
) -> None:
    async with on_loopback(limited) as server, peer_of(server) as peer:
        half = bytes(size // 2)
        await peer.send(post(target, half, f"Content-Length: {size}"))
        await until_lingering(server, size)
        await peer.send(half)  # the answer is already sent
        await peer.half_close()
        assert statuses(await peer.read_all()) == [status]


async def until_lingering(server: Server, size: int) -> None:
    if size < 100_000:
        return  # the server may skim a small one
    async with asyncio.timeout(DEADLINE_S):
        while not any(c.network.phase is Phase.LINGER for c in server.connections):
            await asyncio.sleep(0)


async def test_answer_to_a_dripping_head_survives_the_next_drop() -> None:
    async with (
        on_loopback(App(), head_timeout_s=0.05) as server,
        peer_of(server) as peer,
    ):
        await peer.send(GET[:9])
        async with asyncio.timeout(DEADLINE_S):
            while not any(c.network.phase is Phase.LINGER for c in server.connections):
                await asyncio.sleep(0)
        await peer.send(GET[9:20])
        assert statuses(await peer.read_all()) == [408]


async def test_answer_to_a_body_that_stalled_survives_its_next_bytes() -> None:
    waiting = Waiting()
    async with on_loopback(waiting.app, body_timeout_s=0.05) as server, peer_of(server) as peer:
        await peer.send(post("/body", b"some", "Content-Length: 1000"))
        async with asyncio.timeout(DEADLINE_S):
            while not any(c.network.phase is Phase.LINGER for c in server.connections):
                await asyncio.sleep(0)
        await peer.send(b"more")
        assert statuses(await peer.read_all()) == [408]


async def test_silent_and_idle_connections_are_closed_without_an_answer() -> None:
    async with (
        on_loopback(Waiting().app, head_timeout_s=0.05, idle_timeout_s=0.05) as server,
        peer_of(server) as silent,
        peer_of(server) as idle,
    ):
        await idle.send(GET)
        await idle.read_until(b"index")
        assert await silent.read_all() == b"" == await idle.read_all()


async def use(peer: Misbehaving) -> bytes:
    await peer.send(GET)
    return await peer.read_until(b"index")


async def test_connection_goes_on_beside_those_that_left() -> None:
    waiting = Waiting()
    async with on_loopback(waiting.app) as server, peer_of(server) as good:
        for _ in range(20):
            async with peer_of(server) as bad:
                await bad.send(get("/large"))
                await bad.reset()
            assert (await use(good)).endswith(b"index")
