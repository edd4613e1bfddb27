"""Event streams over connections in memory, with a test clock: the bytes sent, and the ends."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

import pytest
from support.answering import GET, HEADS, OLD, FakeStream, Pieces, make_request, send, split
from support.serving import MemoryHouse, get, in_memory, post, read_all, read_until, settle

from microweb import App, Request, Response
from microweb.bodies.json_msgspec import msgspec_codec
from microweb.errors import LocalProtocolError
from microweb.http.bytestream import ResponseStream
from microweb.middleware.compression import Compression
from microweb.middleware.conditional import ConditionalGet
from microweb.middleware.sessions import Sessions
from microweb.middleware.timing import ServerTiming
from microweb.sessions.memory import MemoryStore
from microweb.sse import body as eventstreams_module
from microweb.testing.eventsource import EventParser
from microweb.testing.network import ClientEnd

HEARTBEAT = b"3\r\n:\n\n\r\n"


class Feed:
    """A handler that sends events from a queue, and counts how many were taken."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[object] = asyncio.Queue()
        self.asked = 0
        self.is_closed = False

    async def __call__(self, request: Request) -> Response:
        return Response.events(self.events())

    async def events(self) -> AsyncIterator[object]:
        try:
            while True:
                self.asked += 1
                yield await self.queue.get()
        finally:
            await asyncio.sleep(0)  # closing may need more than one turn of the loop
            self.is_closed = True


async def ask(house: MemoryHouse, request: bytes | None = None) -> ClientEnd:
    """Return the client's end after the head of an event stream has arrived."""
    end = house.connect()
    await end.write(get("/") if request is None else request)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await end.read(1)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    return end


# --- what is sent


async def test_events_are_sent_as_they_are_and_nobody_stores_them() -> None:
    pieces = Pieces("a", "b\nc")
    stream = await send(Response.events(pieces.generate()))
    assert split(stream.written) == (
        b"HTTP/1.1 200 OK",
        {
            b"content-type": b"text/event-stream",
            b"cache-control": b"no-cache",
            b"x-accel-buffering": b"no",
            b"transfer-encoding": b"chunked",
        },
        b"1a\r\ndata: a\n\ndata: b\ndata: c\n\n\r\n0\r\n\r\n",
    )
    assert pieces.is_closed


async def test_events_over_the_size_of_a_write_arrive_in_order() -> None:
    texts = [f"{number} " + "x" * 30_000 for number in range(10)]
    stream = await send(Response.events(Pieces(*texts).generate()), OLD)
    _, _, body = split(stream.written)
    assert body == b"".join(b"data: %b\n\n" % text.encode() for text in texts)
    assert max(map(len, stream.writes)) < 128 * 1024
    assert len(stream.writes) > 3


async def calls_of(count: int) -> int:
    """Return how many Python functions an event stream of `count` dicts enters or resumes."""
    response = Response.events(Pieces(*[{"n": 1}] * count).generate())
    calls, before = 0, sys.getprofile()

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(note)
    try:
        await send(response)
    finally:
        sys.setprofile(before)
    return calls


async def test_event_takes_few_python_calls() -> None:
    await calls_of(1)
    # The generator of the events, and the encoder: without msgspec two or three functions.
    most = 2 if msgspec_codec() else 4
    assert await calls_of(151) - await calls_of(51) <= 100 * most


async def test_header_fields_may_be_set() -> None:
    fields = {"Cache-Control": "no-store", "X-Accel-Buffering": "yes", "X-Own": "1"}
    response = Response.events(Pieces("a").generate(), fields)
    _, sent, _ = split((await send(response)).written)
    assert (sent[b"cache-control"], sent[b"x-accel-buffering"], sent[b"x-own"]) == (
        b"no-store",
        b"yes",
        b"1",
    )


async def test_http_1_0_gets_events_up_to_the_close() -> None:
    _, fields, body = split((await send(Response.events(Pieces("a").generate()), OLD)).written)
    assert b"transfer-encoding" not in fields
    assert body == b"data: a\n\n"


async def test_events_are_written_by_the_apps_json() -> None:
    app = App()
    app.json_default = lambda value: f"<{type(value).__name__}>"

    @app.get("/")
    async def events() -> Response:
        return Response.events(Pieces(1j).generate())  # type: ignore[arg-type]

    async with app.test_client() as client:
        assert (await client.get("/")).text == 'data: "<complex>"\n\n'


async def test_head_goes_out_before_the_first_event() -> None:
    feed = Feed()
    async with in_memory(feed) as house:
        end = await ask(house)
        feed.queue.put_nowait("now")
        assert await read_until(end, b"\n\n") == b"b\r\ndata: now\n\n\r\n"
        end.close()
        await house.pass_time(1)
    assert feed.is_closed


async def test_head_does_not_wait_for_the_first_event_of_a_subscription(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(eventstreams_module, "_HEAD_WAIT_S", 1000.0)
    feed = Feed()

    @asynccontextmanager
    async def subscribe() -> AsyncIterator[AsyncIterator[object]]:
        yield feed.events()

    async def handler(request: Request) -> Response:
        return Response.events(subscribe())

    async with in_memory(handler) as house:
        end = await ask(house)
        feed.queue.put_nowait("now")
        assert await read_until(end, b"\n\n") == b"b\r\ndata: now\n\n\r\n"
        end.close()
        await house.pass_time(1)
    assert feed.is_closed


async def test_subscription_is_entered_when_the_stream_begins_and_left_when_it_ends() -> None:
    told: list[str] = []

    @asynccontextmanager
    async def subscribe() -> AsyncIterator[AsyncIterator[object]]:
        told.append("entered")
        try:
            yield Pieces("a", "b").generate()
        finally:
            await asyncio.sleep(0)
            told.append("left")

    response = Response.events(subscribe())
    assert told == []
    assert b"data: a\n\ndata: b\n\n" in (await send(response)).written
    assert told == ["entered", "left"]
    await send(Response.events(subscribe()), make_request("HEAD"))
    assert told == ["entered", "left"] * 2  # HEAD releases the subscription too


@pytest.mark.parametrize("events", [["a"], "a", None, Pieces, 7])
def test_what_gives_no_events_is_refused(events: object) -> None:
    with pytest.raises(TypeError, match="expected an async iterator of events"):
        Response.events(events)  # type: ignore[arg-type]


@pytest.mark.parametrize("heartbeat_s", [0, -1, float("inf"), float("nan")])
def test_heartbeat_is_above_0(heartbeat_s: float) -> None:
    with pytest.raises(ValueError, match="expected heartbeat_s above 0"):
        Response.events(Pieces().generate(), heartbeat_s=heartbeat_s)


async def test_event_stream_has_no_length() -> None:
    response = Response.events(Pieces("a").generate(), {"Content-Length": "9"})
    with pytest.raises(LocalProtocolError, match="no length"):
        await send(response)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_stream_that_nobody_wants_is_never_started_and_closed(method: str) -> None:
    pieces = Pieces("a")
    generator = pieces.generate()
    response = Response.events(generator)
    if method == "GET":
        response.status = 204  # it tells an EventSource not to reconnect
    stream = await send(response, make_request(method))
    assert (pieces.started, split(stream.written)[2]) == (0, b"")
    assert stream.long_lived is None
    with pytest.raises(StopAsyncIteration):
        await anext(generator)


async def test_middleware_may_change_the_pieces() -> None:
    response = Response.events(Pieces("a").generate())
    before = response.pieces

    async def marked() -> AsyncIterator[str | bytes]:
        async for piece in before:
            yield piece
            yield ": marked\n"

    response.pieces = marked()
    assert b"data: a\n\n: marked\n" in (await send(response)).written


async def test_pieces_that_replace_events_before_the_first_one_are_sent() -> None:
    async def other() -> AsyncIterator[str]:
        yield "other"
        yield " pieces"

    source = Pieces("a", "b")
    response = Response.events(source.generate())
    response.pieces = other()
    assert split((await send(response, OLD)).written)[2] == b"other pieces"


async def test_middleware_around_leaves_events_as_they_are() -> None:
    app = App()
    for middleware in (
        Compression(min_bytes=1),
        ConditionalGet(),
        ServerTiming(),
        Sessions("0123456789abcdefghijklmnopqrstuvwxyz", store=MemoryStore()),
    ):
        app.use(middleware)

    @app.get("/")
    async def events(request: Request) -> Response:
        request.session["seen"] = request.method
        return Response.events(Pieces("a" * 5000).generate())

    async with app.test_client() as client:
        for method in ("GET", "HEAD"):
            fields = {"Accept-Encoding": "gzip", "If-None-Match": "*"}
            response = await client.request(method, "/", headers=fields)
            assert response.status_code == 200
            assert {"content-encoding", "etag"}.isdisjoint(response.headers)
            assert "total;dur=" in response.headers["server-timing"]
            assert "session" in response.headers["set-cookie"]
            assert EventParser().feed(response.content) == [] or method == "GET"
            assert len(response.content) == (5008 if method == "GET" else 0)


# --- heartbeats


async def test_comment_goes_out_where_nothing_else_did() -> None:
    feed = Feed()
    async with in_memory(feed) as house:
        end = await ask(house)
        for _ in range(15):
            await house.pass_time(1)
        assert not end.is_readable
        await house.pass_time(1)
        assert await end.read() == HEARTBEAT
        feed.queue.put_nowait("a")
        assert await read_until(end, b"\n\n") == b"9\r\ndata: a\n\n\r\n"
        await house.pass_time(14)
        await house.pass_time(14)
        assert not end.is_readable
        await house.pass_time(1)
        await house.pass_time(15)
        assert await end.read() == HEARTBEAT * 2
        end.close()
        await house.pass_time(1)
        assert feed.is_closed


async def test_heartbeat_is_no_chunk_to_http_1_0() -> None:
    feed = Feed()
    async with in_memory(feed) as house:
        end = await ask(house, get("/", version="1.0"))
        for _ in range(2):
            await house.pass_time(15)
        assert await end.read() == b":\n\n"
        end.close()
        await house.pass_time(1)
    assert feed.is_closed


async def test_heartbeat_is_as_often_as_is_said() -> None:
    async def handler(request: Request) -> Response:
        return Response.events(Feed().events(), heartbeat_s=3)

    async with in_memory(handler) as house:
        end = await ask(house)
        for _ in range(7):
            await house.pass_time(1)
        assert await end.read() == HEARTBEAT * 2
        end.close()


async def test_client_that_does_not_read_is_not_asked_for_more_and_ends_by_the_deadline(
    caplog: pytest.LogCaptureFixture,
) -> None:
    feed = Feed()
    for _ in range(10):
        feed.queue.put_nowait("x" * 100_000)
    async with in_memory(feed, write_timeout_s=30) as house:
        end = await ask(house)
        await settle()
        assert feed.asked == 2  # the stream waits in `drain`
        for _ in range(2):
            await house.pass_time(15)
        assert feed.asked == 2
        await house.pass_time(1)
        await house.pass_time(1)
        assert feed.is_closed
        assert HEARTBEAT not in await read_all(end)
    assert caplog.records == []


async def test_heartbeat_does_not_pile_up_on_what_is_not_taken() -> None:
    """If bytes are pending, a heartbeat sends nothing, and checks that the peer has read some."""
    feed = Feed()
    feed.queue.put_nowait("x" * 70_000)
    async with in_memory(feed) as house:
        end = await ask(house)
        await house.pass_time(1)
        unsent = house.connection.network.transport.get_write_buffer_size()
        assert 0 < unsent < 64 * 1024
        await house.pass_time(15)
        assert house.connection.network.transport.get_write_buffer_size() == unsent
        assert not feed.is_closed
        await end.read(1000)
        await house.pass_time(15)
        assert not feed.is_closed  # the client reads, although slowly
        await house.pass_time(15)
        await house.pass_time(1)
        assert feed.is_closed


# --- ends


@pytest.mark.parametrize("how", ["close", "half_close"])
@pytest.mark.parametrize("request_", [get("/"), post("/", b"prompt")], ids=["get", "post"])
async def test_idle_stream_ends_with_its_client(
    how: str, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    feed = Feed()
    async with in_memory(feed) as house:
        end = await ask(house, request_)
        if how == "close":
            end.close()
        else:
            end.write_eof()
        assert not feed.is_closed
        await house.pass_time(1)
        assert feed.is_closed
        assert not house.server.connections
    assert caplog.records == []


async def test_route_that_finishes_is_not_kept_for_nobody_by_events() -> None:
    app, feed = App(), Feed()
    app.post("/", on_disconnect="finish")(feed.__call__)
    app.freeze()
    async with in_memory(app) as house:
        end = await ask(house, post("/", b"prompt"))
        end.close()
        await house.pass_time(1)
        assert feed.is_closed


async def test_shielded_step_of_what_makes_events_is_not_cut() -> None:
    steps: list[str] = []
    may_go_on = asyncio.Event()

    async def handler(request: Request) -> Response:
        async def events() -> AsyncIterator[str]:
            yield "a"
            async with request.shield():
                await may_go_on.wait()
                steps.append("done")
            await asyncio.Event().wait()
            steps.append("never")

        return Response.events(events())

    async with in_memory(handler) as house:
        end = await ask(house)
        await settle()
        stopping = asyncio.create_task(house.server.stop(silence_s=0.0))
        await house.pass_time(1)
        assert not stopping.done()
        may_go_on.set()
        await house.pass_time(1)
        await stopping
        assert (await read_all(end)).endswith(b"0\r\n\r\n")
    assert steps == ["done"]


async def test_fault_after_the_head_cuts_the_answer_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(request: Request) -> Response:
        return Response.events(Pieces("a", RuntimeError("boom")).generate())

    async with in_memory(handler) as house:
        end = await ask(house)
        assert await read_all(end) == b"9\r\ndata: a\n\n\r\n"  # and no last chunk
    assert [record.getMessage() for record in caplog.records] == ["GET / failed"]


async def test_end_of_the_events_is_the_end_of_the_answer_alone() -> None:
    async def handler(request: Request) -> Response:
        return Response.events(Pieces("a").generate())

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(get("/") * 2)
        data = b""
        while data.count(b"0\r\n\r\n") < 2:
            data += await end.read()
        assert data.count(b"data: a\n\n") == 2
        end.close()


@pytest.mark.parametrize("is_waiting", [True, False])
async def test_stop_of_the_server_ends_the_stream_with_its_last_chunk(
    is_waiting: bool, caplog: pytest.LogCaptureFixture
) -> None:
    feed = Feed()
    async with in_memory(feed) as house:
        end = await ask(house)
        if not is_waiting:
            feed.queue.put_nowait("a")  # queued, and not yet sent
        stopping = asyncio.create_task(house.server.stop(silence_s=0.0))
        await settle()
        assert feed.is_closed
        assert (await read_all(end)).endswith(b"0\r\n\r\n")
        await stopping
    assert caplog.records == []


async def test_stream_that_begins_while_the_server_stops_ends_at_once() -> None:
    is_open = asyncio.Event()
    pieces = Pieces("a")

    async def handler(request: Request) -> Response:
        await is_open.wait()
        return Response.events(pieces.generate())

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(get("/"))
        await settle()
        stopping = asyncio.create_task(house.server.stop(silence_s=0.0))
        await settle()
        is_open.set()
        data = await read_all(end)
        await stopping
    assert b"Connection: close\r\n" in data
    assert data.endswith(b"\r\n\r\n0\r\n\r\n")
    assert pieces.started == 0


async def test_stop_waits_within_the_grace_for_what_closes_the_events() -> None:
    is_open, told = asyncio.Event(), []

    async def events() -> AsyncIterator[str]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            await is_open.wait()
            told.append("closed")

    async def handler(request: Request) -> Response:
        return Response.events(events())

    async with in_memory(handler) as house:
        end = await ask(house)
        await settle()
        stopping = asyncio.create_task(house.server.stop(silence_s=0.0))
        await house.pass_time(1)
        await house.pass_time(1)
        assert not stopping.done()
        is_open.set()
        await stopping
        assert (await read_all(end)).endswith(b"0\r\n\r\n")
    assert told == ["closed"]


async def test_client_that_leaves_meanwhile_does_not_cut_what_closes_the_events_short() -> None:
    is_open, told = asyncio.Event(), []

    async def events() -> AsyncIterator[str]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            await is_open.wait()
            told.append("closed")

    async def handler(request: Request) -> Response:
        return Response.events(events())

    async with in_memory(handler) as house:
        end = await ask(house)
        await settle()
        stopping = asyncio.create_task(house.server.stop(silence_s=0.0))
        await settle()
        end.close()
        await house.pass_time(1)
        await house.pass_time(1)
        is_open.set()
        await stopping
    assert told == ["closed"]


async def test_slow_reader_gets_its_events_within_the_grace() -> None:
    feed = Feed()
    for _ in range(3):
        feed.queue.put_nowait("x" * 200_000)
    async with in_memory(feed) as house:
        end = await ask(house)
        await settle()
        stopping = asyncio.create_task(house.server.stop(silence_s=0.0))
        await settle()
        assert not feed.is_closed
        data = await read_all(end)
        await stopping
        assert feed.is_closed
    assert data.endswith(b"0\r\n\r\n")
    assert 200_000 < len(data) < 500_000


async def test_cancellation_of_something_that_is_awaited_is_a_fault() -> None:
    async def events() -> AsyncIterator[str]:
        yield "a"
        task = asyncio.create_task(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(task.cancel)
        await task

    stream: ResponseStream = FakeStream()  # type: ignore[assignment]
    with pytest.raises(asyncio.CancelledError):
        await Response.events(events()).send_to(stream, GET, HEADS, b"")


def test_logging_is_heard() -> None:
    """Check that the logger is enabled: otherwise the assertions on `caplog` could not fail."""
    assert logging.getLogger("microweb.error").isEnabledFor(logging.ERROR)
