"""Each exchange gives exactly one record, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.serving import (
    GET,
    MemoryHouse,
    get,
    in_memory,
    post,
    read_all,
    read_until,
    settle,
)
from support.websocketing import handshake

from microweb import App, WebSocket
from microweb.errors import BodyTimeout, HeadTimeout, MalformedRequest
from microweb.request import Request
from microweb.response import Response
from microweb.server.network import NetworkStream
from microweb.server.observing import how_of
from microweb.server.records import ExchangeRecord


async def hello(request: Request) -> Response:
    return Response("hello")


async def waiting(request: Request) -> Response:
    await asyncio.Event().wait()
    return Response("never")


def observed(house: MemoryHouse) -> list[ExchangeRecord]:
    """Return the list to which the server of `house` adds its records."""
    records: list[ExchangeRecord] = []
    house.server.state.observers = (records.append,)
    return records


def facts(records: list[ExchangeRecord]) -> list[tuple[str, str, int, str]]:
    return [(each.method, each.target, each.status, each.how) for each in records]


async def test_pipelined_answers_are_a_record_each() -> None:
    async with in_memory(hello) as house:
        records = observed(house)
        end = house.connect()
        await end.write(get("/1?a=b") + get("/2", "Connection: close"))
        answers = await read_all(end)
    assert facts(records) == [("GET", "/1?a=b", 200, "done"), ("GET", "/2", 200, "done")]
    assert sum(each.sent for each in records) == len(answers)
    assert [each.received for each in records] == [
        len(get("/1?a=b")),
        len(get("/2", "Connection: close")),
    ]


async def test_times_are_in_order() -> None:
    async def handler(request: Request) -> Response:
        house.now += 2.0
        return Response.stream(pieces())

    async def pieces() -> AsyncIterator[str]:
        house.now += 3.0
        yield "a"
        await has_begun.wait()
        house.now += 5.0
        yield "b"

    has_begun = asyncio.Event()
    async with in_memory(handler) as house:
        records = observed(house)
        end = house.connect()
        await end.write(get("/", "Connection: close"))
        answer = await end.read()
        has_begun.set()
        answer += await read_all(end)
    (record,) = records
    assert (record.handled - record.begun, record.first_byte - record.begun) == (2.0, 5.0)
    assert (record.ended - record.begun, record.sent) == (10.0, len(answer))


async def test_answer_to_head_is_a_record() -> None:
    async with in_memory(hello) as house:
        records = observed(house)
        end = house.connect()
        await end.write(b"HEAD / HTTP/1.0\r\n\r\n")
        answer = await read_all(end)
    assert facts(records) == [("HEAD", "/", 200, "done")]
    assert records[0].sent == len(answer)


@pytest.mark.parametrize("is_read", [True, False])
async def test_body_counts_as_received_if_it_is_read(is_read: bool) -> None:
    async def handler(request: Request) -> Response:
        return Response(await request.body() if is_read else "")

    request = post("/", b"x" * 1000)
    async with in_memory(handler) as house:
        records = observed(house)
        end = house.connect()
        await end.write(request)
        await read_until(end, b"\r\n\r\n")
        await end.write(request[:-500])
        await settle()
        await end.write(request[-500:])
        end.write_eof()
        await read_all(end)
    received = len(request) if is_read else len(request) - 1000
    assert [each.received for each in records] == [received] * 2


async def test_upgraded_connection_is_one_record_at_its_end() -> None:
    app = App()

    @app.websocket("/ws")
    async def echo(ws: WebSocket) -> None:
        await ws.send("a")

    async with in_memory(app.handle) as house:
        app.freeze()
        records = observed(house)
        end = house.connect()
        await end.write(handshake("/ws"))
        answer = await read_until(end, b"a")
        end.close()
        await settle()
    assert facts(records) == [("GET", "/ws", 101, "done")]
    assert records[0].route == "/ws"
    assert records[0].sent >= len(answer)


async def test_client_that_leaves_before_the_answer() -> None:
    async with in_memory(waiting) as house:
        records = observed(house)
        end = house.connect()
        await end.write(GET)
        await settle()
        end.transport.abort()  # as a reset does
        await house.pass_time(1.0)
        assert facts(records) == [("GET", "/", 0, "client_left")]
    assert len(records) == 1
    assert (records[0].handled, records[0].sent) == (0.0, 0)


async def test_client_that_leaves_while_the_handler_ends() -> None:
    is_gone = asyncio.Event()

    async def handler(request: Request) -> Response:
        await is_gone.wait()
        return Response("x")

    async with in_memory(handler) as house:
        records = observed(house)
        end = house.connect()
        await end.write(GET)
        await settle()
        end.transport.abort()  # as a reset does
        is_gone.set()
        await settle()
    assert facts(records) == [("GET", "/", 0, "client_left")]


async def test_client_that_leaves_inside_its_body() -> None:
    async def handler(request: Request) -> Response:
        return Response(await request.body())

    async with in_memory(handler) as house:
        records = observed(house)
        end = house.connect()
        await end.write(post("/", b"abc", "Content-Length: 10"))
        await settle()
        end.close()
        await settle()
    assert facts(records) == [("POST", "/", 0, "client_left")]
    assert records[0].received == len(post("/", b"abc", "Content-Length: 10"))


async def test_client_that_leaves_inside_the_answer() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield bytes(16 * 1024)

    async def handler(request: Request) -> Response:
        return Response.stream(pieces())

    async with in_memory(handler) as house:
        records = observed(house)
        end = house.connect()
        await end.write(GET)
        await end.read()
        end.close()
        await house.pass_time(1.0)
    assert facts(records) == [("GET", "/", 0, "client_left")]
    assert records[0].sent > 16 * 1024


async def test_client_that_does_not_read_has_a_deadline() -> None:
    async def handler(request: Request) -> Response:
        return Response(bytes(1 << 20))

    async def pieces(request: Request) -> Response:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield bytes(16 * 1024)

        return Response.stream(endless())

    async with in_memory(pieces, write_timeout_s=5.0) as house:
        records = observed(house)
        end = house.connect()
        await end.write(GET)
        for _ in range(10):
            await house.pass_time(1.0)
    assert facts(records) == [("GET", "/", 0, "deadline")]


async def test_answer_that_fails_after_its_first_part(caplog: pytest.LogCaptureFixture) -> None:
    async def pieces() -> AsyncIterator[str]:
        yield "abc"
        raise OSError("the disk is gone")

    async def handler(request: Request) -> Response:
        return Response.stream(pieces())

    async with in_memory(handler) as house:
        records = observed(house)
        end = house.connect()
        await end.write(GET * 2)
        answer = await read_all(end)
    assert facts(records) == [("GET", "/", 0, "failed")]
    assert records[0].sent == len(answer)
    assert len(caplog.records) == 1


async def test_fault_is_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request) -> Response:
        raise RuntimeError("a fault")

    async with in_memory(handler) as house:
        records = observed(house)
        end = house.connect()
        await end.write(get("/f"))
        answer = await read_all(end)
    assert facts(records) == [("GET", "/f", 500, "done")]
    assert (records[0].sent, len(caplog.records)) == (len(answer), 1)


async def test_refused_head_has_no_request() -> None:
    async with in_memory(hello) as house:
        records = observed(house)
        end = house.connect()
        await end.write(get("/1") + b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")
        end.write_eof()
        answers = await read_all(end)
    assert [(each.request is None, each.status) for each in records] == [(False, 200), (True, 400)]
    assert records[1].how.startswith("refused:")
    assert records[1].received == len(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")
    assert sum(each.sent for each in records) == len(answers)


async def test_refused_body_has_its_request() -> None:
    async def handler(request: Request) -> Response:
        return Response(await request.body())

    async with in_memory(handler) as house:
        records = observed(house)
        end = house.connect()
        await end.write(post("/", b"xyz\r\n", "Transfer-Encoding: chunked"))
        end.write_eof()
        answer = await read_all(end)
    assert facts(records) == [("POST", "/", 400, "refused:chunk size is not 1*HEXDIG")]
    assert records[0].sent == len(answer)


async def test_body_that_an_app_refuses_is_refused() -> None:
    app = App()

    @app.post("/")
    async def take(request: Request) -> bytes:
        return await request.body()

    async with in_memory(app.handle) as house:
        app.freeze()
        records = observed(house)
        end = house.connect()
        await end.write(post("/", b"xyz\r\n", "Transfer-Encoding: chunked"))
        end.write_eof()
        await read_all(end)
    assert facts(records) == [("POST", "/", 400, "refused:chunk size is not 1*HEXDIG")]


async def test_head_and_body_that_are_late() -> None:
    async def handler(request: Request) -> Response:
        return Response(await request.body())

    for sent in (b"GET / HT", post("/", b"abc", "Content-Length: 10")):
        async with in_memory(handler, head_timeout_s=5.0, body_timeout_s=5.0) as house:
            records = observed(house)
            end = house.connect()
            await end.write(sent)
            await house.pass_time(6.0)
            end.write_eof()
            await read_all(end)
        assert [(each.status, each.how) for each in records] == [(408, "deadline")]
        assert records[0].received == len(sent)


async def test_connection_without_a_request_has_no_record() -> None:
    async with in_memory(hello, idle_timeout_s=5.0, head_timeout_s=5.0) as house:
        records = observed(house)
        silent, leaving, idle = house.connect(), house.connect(), house.connect()
        leaving.close()
        await idle.write(GET)
        await idle.read()
        await house.pass_time(20.0)
        assert (await read_all(silent), await read_all(idle)) == (b"", b"")
    assert len(records) == 1


async def test_connection_over_the_limit_is_a_refusal() -> None:
    async with in_memory(waiting, max_connections=1) as house:
        records = observed(house)
        first, second = house.connect(), house.connect()
        await first.write(GET)
        await settle()
        third = house.connect()
        answer = await read_until(third, b"connections\n")
        second.close()
        third.close()
        first.transport.abort()
        await house.pass_time(1.0)
    refused = [each for each in records if each.how == "refused:max_connections"]
    assert [(each.request, each.status) for each in refused] == [(None, 503)] * len(refused)
    assert refused[-1].sent == len(answer)
    assert [each.how for each in records if each.request is not None] == ["client_left"]


async def test_stop_cuts_a_request() -> None:
    async with in_memory(waiting, grace_s=0.0) as house:
        records = observed(house)
        end = house.connect()
        await end.write(GET)
        await settle()
        await house.server.stop(silence_s=0.0)
    assert facts(records) == [("GET", "/", 0, "stopped")]


async def test_stop_cuts_a_refusal_that_is_made() -> None:
    async def refusing(error: object) -> Response:
        return await waiting(Request())

    async with in_memory(hello, grace_s=0.0) as house:
        house.server.state.refuse = refusing
        records = observed(house)
        end = house.connect()
        await end.write(b"garbage\r\n\r\n")
        await settle()
        await house.server.stop(silence_s=0.0)
    assert [(each.status, each.how[:8]) for each in records] == [(0, "refused:")]


async def test_fault_of_the_server_itself(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin_answer(network: NetworkStream) -> None:
        raise RuntimeError("a fault")

    async def handler(request: Request) -> Response:
        return Response.stream([])

    monkeypatch.setattr(NetworkStream, "begin_answer", begin_answer)
    async with in_memory(handler) as house:
        records = observed(house)
        end = house.connect()
        await end.write(GET)
        await settle()
    assert facts(records) == [("GET", "/", 0, "failed")]
    assert len(caplog.records) == 1


async def test_observer_that_raises_ends_no_exchange(caplog: pytest.LogCaptureFixture) -> None:
    records: list[ExchangeRecord] = []

    def failing(record: ExchangeRecord) -> None:
        raise ValueError("a fault of an observer")

    async with in_memory(hello) as house:
        house.server.state.observers = (failing, records.append)
        end = house.connect()
        await end.write(GET)
        assert (await end.read()).endswith(b"hello")
        end.close()
    assert len(records) == 1
    assert [each.getMessage() for each in caplog.records] == ["an observer of exchanges failed"]


async def test_no_record_is_made_without_an_observer() -> None:
    kept: list[ExchangeRecord | None] = []

    async def handler(request: Request) -> Response:
        kept.append(house.connection.network.record)
        return Response("x")

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        await end.read()
        end.close()
    assert kept == [None]


def test_timeouts_are_deadlines_and_other_faults_refusals() -> None:
    assert how_of(HeadTimeout("late")) == how_of(BodyTimeout("late")) == "deadline"
    assert how_of(MalformedRequest("no length", b"\x00secret")) == "refused:no length"
