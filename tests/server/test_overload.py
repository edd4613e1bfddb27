"""The limit of handlers that run at the same time, over real sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from support.serving import DEADLINE_S, get, on_loopback, peer_of, post, statuses
from support.waiting import until

from microweb import App, Request, WebSocket
from microweb.middleware.health import Health
from microweb.middleware.metrics import Metrics
from microweb.server import overload as overload_module
from microweb.server.overload import ConcurrencyLimit
from microweb.server.server import Server
from microweb.testing import MemoryTransport
from microweb.testing.misbehaving import Misbehaving

FIRST, NEXT = get("/hold?first"), get("/hold?next")
KEEP_CLOSED = "Connection: close"


class Holding:
    """An app whose handlers wait until they are released, and records the order of the calls."""

    def __init__(self) -> None:
        self.app = App()
        self.called: list[str] = []
        self.middleware_calls = 0
        self.is_open = asyncio.Event()
        self.app.route("/hold", methods=["GET", "POST"])(self.hold)
        self.app.get("/fail")(self.fail)
        self.app.get("/hints")(self.hints)
        self.app.post("/body")(self.body)
        self.app.get("/stream")(self.stream)
        self.app.websocket("/socket")(self.socket)
        self.app.use(self.count)

    async def count(self, request: Request, call_next: Any) -> Any:
        self.middleware_calls += 1
        return await call_next(request)

    async def hold(self, request: Request) -> str:
        self.called.append(request.line.query_string)
        await self.is_open.wait()
        return request.line.query_string

    async def fail(self) -> str:
        await self.is_open.wait()
        raise LookupError("of the application")

    async def hints(self, request: Request) -> str:
        await request.early_hints(["</a.css>; rel=preload"])
        return "after the hints"

    async def body(self, request: Request) -> str:
        self.called.append("body")
        return f"{len(await request.body())} bytes"

    async def stream(self) -> AsyncIterator[str]:
        yield "first"
        await self.is_open.wait()
        yield "last"

    async def socket(self, socket: WebSocket) -> None:
        await socket.accept()
        await self.is_open.wait()


def limit_of(server: Server) -> ConcurrencyLimit:
    handler = server.state.handler
    assert isinstance(handler, ConcurrencyLimit)
    return handler


async def until_waiting(server: Server, count: int) -> None:
    await until(lambda: limit_of(server).waiting == count)


@asynccontextmanager
async def occupied(holding: Holding, **options: Any) -> AsyncIterator[tuple[Server, Misbehaving]]:
    """Serve with one place, which the request of the yielded client has."""
    async with (
        on_loopback(holding.app, max_concurrent=1, **options) as server,
        peer_of(server) as first,
    ):
        await first.send(FIRST)
        await until(lambda: holding.called == ["first"])
        yield server, first


def test_without_the_option_the_handler_is_that_of_the_app() -> None:
    app = App()
    assert app.serve(port=0).state.handler == app.handle


async def test_requests_of_a_burst_are_served_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(overload_module, "_BURST_S", DEADLINE_S)
    holding = Holding()
    async with (
        occupied(holding, queue_timeout_s=60) as (server, first),
        peer_of(server) as second,
        peer_of(server) as third,
    ):
        await second.send(get("/hold?second"))
        await until_waiting(server, 1)
        await third.send(get("/hold?third"))
        await until_waiting(server, 2)
        assert holding.called == ["first"]
        holding.is_open.set()
        for peer, body in ((first, b"first"), (second, b"second"), (third, b"third")):
            assert statuses(await peer.read_until(body)) == [200]
        assert holding.called == ["first", "second", "third"]
        assert (limit_of(server).free, limit_of(server).waiting) == (1, 0)


@pytest.mark.parametrize("options", [{"max_queued": 0}, {"queue_timeout_s": 0}])
async def test_without_a_queue_a_request_for_more_is_503_before_any_work(
    options: dict[str, Any],
) -> None:
    holding = Holding()
    async with occupied(holding, **options) as (server, first), peer_of(server) as second:
        calls = holding.middleware_calls
        head = post("/body", b"", "Content-Length: 7", "Expect: 100-continue")
        await second.send(head)
        answer = await second.read_until(b"under way\n")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 5\r\n" in answer
        assert (holding.called, holding.middleware_calls) == (["first"], calls)
        holding.is_open.set()
        assert statuses(await first.read_until(b"first")) == [200]


async def test_a_connection_stays_open_after_its_503() -> None:
    holding = Holding()
    async with occupied(holding, max_queued=0) as (server, first), peer_of(server) as second:
        for _ in range(3):
            await second.send(NEXT)
            assert statuses(await second.read_until(b"under way\n")) == [503]
        holding.is_open.set()
        await first.read_until(b"first")
        await second.send(NEXT)
        assert statuses(await second.read_until(b"next")) == [200]


async def test_a_full_queue_refuses_the_oldest_request() -> None:
    holding = Holding()
    async with (
        occupied(holding, max_queued=1, queue_timeout_s=60) as (server, _),
        peer_of(server) as second,
        peer_of(server) as third,
    ):
        await second.send(NEXT)
        await until_waiting(server, 1)
        await third.send(get("/hold?third"))
        assert statuses(await second.read_until(b"under way\n")) == [503]
        holding.is_open.set()
        assert statuses(await third.read_until(b"third")) == [200]
        assert holding.called == ["first", "third"]


async def test_a_queue_that_stands_for_long_serves_the_newest_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(overload_module, "_BURST_S", 0.0)
    holding = Holding()
    async with (
        occupied(holding, max_queued=5, queue_timeout_s=60) as (server, _),
        AsyncExitStack() as stack,
    ):
        peers = {}
        for number in range(5):
            peers[number] = peer = await stack.enter_async_context(peer_of(server))
            await peer.send(get(f"/hold?{number}"))
            await until_waiting(server, number + 1)
        holding.is_open.set()
        for number, peer in peers.items():
            assert statuses(await peer.read_until(b"\r\n\r\n%d" % number)) == [200]
        assert holding.called == ["first", "4", "3", "2", "1", "0"]


async def test_a_request_waits_for_its_time_at_most() -> None:
    holding = Holding()
    async with (
        occupied(holding, max_queued=2, queue_timeout_s=0.2) as (server, first),
        peer_of(server) as second,
        peer_of(server) as third,
    ):
        begun = time.monotonic()
        await second.send(NEXT)
        await third.send(NEXT)
        for peer in (second, third):
            assert statuses(await peer.read_until(b"under way\n")) == [503]
        assert time.monotonic() - begun >= 0.19  # the clock of uvloop counts milliseconds
        assert holding.called == ["first"]
        holding.is_open.set()
        await first.read_until(b"first")
        assert (limit_of(server).free, limit_of(server).waiting) == (1, 0)


@pytest.mark.parametrize("leave", ["reset", "half_close"])
async def test_clients_that_left_a_full_queue_make_room(
    leave: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overload_module, "_SWEEP_S", 0.0)
    holding = Holding()
    async with (
        occupied(holding, max_queued=3, queue_timeout_s=60) as (server, _first),
        peer_of(server) as last,
    ):
        leavers = [peer_of(server) for _ in range(3)]
        for each in leavers:
            await each.__aenter__()
            await each.send(post("/hold?left"))
        await until_waiting(server, 3)
        for each in leavers:
            await getattr(each, leave)()

        await last.send(get("/hold?last"))
        await until_waiting(server, 1)
        holding.is_open.set()
        assert statuses(await last.read_until(b"last")) == [200]
        assert holding.called == ["first", "last"]
        for each in leavers:
            await each.__aexit__(None, None, None)


async def test_a_client_that_left_gets_no_place() -> None:
    holding = Holding()
    async with occupied(holding, queue_timeout_s=60) as (server, _first), peer_of(server) as last:
        async with peer_of(server) as left:
            await left.send(post("/hold?left"))
            await until_waiting(server, 1)
        await last.send(get("/hold?last"))
        await until_waiting(server, 2)
        holding.is_open.set()
        assert statuses(await last.read_until(b"last")) == [200]
        assert holding.called == ["first", "last"]
        assert limit_of(server).free == 1


async def test_a_client_that_ended_only_its_side_gets_its_503() -> None:
    holding = Holding()
    async with occupied(holding, queue_timeout_s=60) as (server, _first), peer_of(server) as ended:
        await ended.send(get("/hold?ended"))
        await until_waiting(server, 1)
        await ended.half_close()
        holding.is_open.set()
        assert statuses(await ended.read_all()) == [503]


async def test_a_get_whose_client_resets_leaves_the_queue_at_the_next_tick() -> None:
    holding = Holding()
    async with occupied(holding, queue_timeout_s=60) as (server, first):
        async with peer_of(server) as left:
            await left.send(NEXT)
            await until_waiting(server, 1)
            await left.reset()
            await until_waiting(server, 0)
        holding.is_open.set()
        await first.read_until(b"first")
        assert limit_of(server).free == 1


async def test_a_stream_and_a_socket_do_not_count_after_their_head() -> None:
    holding = Holding()
    async with (
        on_loopback(holding.app, max_concurrent=1, max_queued=0) as server,
        peer_of(server) as streaming,
        peer_of(server) as upgraded,
    ):
        await streaming.send(get("/stream"))
        await streaming.read_until(b"first")
        assert limit_of(server).free == 1
        await upgraded.send(
            get(
                "/socket",
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            )
        )
        assert statuses(await upgraded.read_until(b"\r\n\r\n")) == [101]
        assert limit_of(server).free == 1
        holding.is_open.set()
        await streaming.read_until(b"last")


async def test_a_handler_that_raises_frees_its_place(caplog: pytest.LogCaptureFixture) -> None:
    holding = Holding()
    holding.is_open.set()
    async with (
        on_loopback(holding.app, max_concurrent=1, max_queued=0) as server,
        peer_of(server) as peer,
    ):
        for _ in range(3):
            await peer.send(get("/fail"))
            assert statuses(await peer.read_until(b"\r\n\r\n")) == [500]
            await peer.read_until(b"Internal Server Error")
        assert limit_of(server).free == 1
    assert len(caplog.records) == 3


async def test_a_slow_body_holds_its_place_until_its_deadline() -> None:
    holding = Holding()
    async with (
        on_loopback(holding.app, max_concurrent=1, max_queued=0, body_timeout_s=0.05) as server,
        peer_of(server) as slow,
        peer_of(server) as other,
    ):
        await slow.send(post("/body", b"x", "Content-Length: 10"))
        await until(lambda: limit_of(server).free == 0)
        await other.send(NEXT)
        assert statuses(await other.read_until(b"under way\n")) == [503]
        assert statuses(await slow.read_all()) == [408]
        assert limit_of(server).free == 1


async def test_early_hints_of_a_request_that_waited() -> None:
    holding = Holding()
    async with occupied(holding, queue_timeout_s=60) as (server, _first), peer_of(server) as hinted:
        await hinted.send(get("/hints"))
        await until_waiting(server, 1)
        holding.is_open.set()
        assert statuses(await hinted.read_until(b"after the hints")) == [103, 200]


async def test_pipelined_requests_are_answered_in_order() -> None:
    holding = Holding()
    async with (
        occupied(holding, max_queued=1, queue_timeout_s=0.05) as (server, first),
        peer_of(server) as piped,
    ):
        await piped.send(NEXT * 3 + get("/hold?end", KEEP_CLOSED))
        assert statuses(await piped.read_all()) == [503] * 4
        holding.is_open.set()
        await first.read_until(b"first")
    assert holding.called == ["first"]


async def test_probes_do_not_wait() -> None:
    holding, inner = Holding(), App()
    health = Health()
    holding.app.use(health)
    holding.app.use(Metrics())
    inner.use(health)
    holding.app.mount("/inner", inner)
    async with occupied(holding, max_queued=0) as (server, first):
        expected = dict.fromkeys(("/livez", "/readyz", "/inner/livez", "/metrics"), 200)
        for path, status in (expected | {"/other/livez": 503}).items():
            async with peer_of(server) as probing:
                await probing.send(get(path, KEEP_CLOSED))
                assert statuses(await probing.read_all()) == [status]
        async with peer_of(server) as posting:
            await posting.send(get("/livez", KEEP_CLOSED).replace(b"GET", b"POST", 1))
            assert statuses(await posting.read_all()) == [503]
        holding.is_open.set()
        await first.read_until(b"first")


async def test_a_stop_serves_the_queue() -> None:
    holding = Holding()
    async with (
        occupied(holding, queue_timeout_s=60, grace_s=DEADLINE_S) as (server, first),
        peer_of(server) as waiting,
    ):
        await waiting.send(NEXT)
        await until_waiting(server, 1)
        stopping = asyncio.create_task(server.stop(silence_s=0.0))
        await until(lambda: server.state.is_stopping)
        holding.is_open.set()
        assert statuses(await first.read_all()) == [200]
        assert statuses(await waiting.read_all()) == [200]
        await stopping


@pytest.mark.parametrize("count", [1, 50])
async def test_a_stop_answers_the_requests_that_still_wait_at_its_end(count: int) -> None:
    holding = Holding()
    async with occupied(holding, queue_timeout_s=60, grace_s=0.2) as (server, _first):
        peers = [peer_of(server) for _ in range(count)]
        for peer in peers:
            await peer.__aenter__()
            await peer.send(post("/hold?waiting"))
        await until_waiting(server, count)
        await server.stop(silence_s=0.0)
        for peer in peers:
            answer = await peer.read_all()
            assert statuses(answer) == [503] and b"\r\nConnection: close\r\n" in answer
            await peer.__aexit__(None, None, None)
    assert holding.called == ["first"]


async def test_the_test_client_has_the_limit() -> None:
    holding = Holding()
    transport = MemoryTransport(holding.app, max_concurrent=1, max_queued=0)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        first = asyncio.create_task(client.get("/hold?first"))
        await until(lambda: holding.called == ["first"])
        refused = await client.get("/hold?next")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        holding.is_open.set()
        assert (await first).status_code == 200
