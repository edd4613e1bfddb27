"""One connection in memory: exchanges, deadlines with a clock that tests move, and the close."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import Any

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
    statuses,
)

from microweb.errors import ProtocolError
from microweb.request import Request
from microweb.response import Response

USER: ContextVar[str] = ContextVar("user", default="nobody")

CHUNKED = "Transfer-Encoding: chunked"
EXPECT = "Expect: 100-continue"


async def hello(request: Request) -> Response:
    return Response(request.path)


async def echo(request: Request) -> Response:
    return Response(await request.body())


# --- exchanges


async def test_request_is_answered() -> None:
    async with in_memory(hello) as house:
        end = house.connect()
        await end.write(GET)
        answer = await read_until(end, b"\r\n\r\n/")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\nDate: ")
        end.close()


async def test_pipelined_requests_are_answered_in_order_by_one_write() -> None:
    async with in_memory(hello) as house:
        end = house.connect()
        await end.write(get("/1") + get("/2") + get("/3"))
        answers = await end.read()
        assert statuses(answers) == [200] * 3
        assert answers.index(b"/1") < answers.index(b"/2") < answers.index(b"/3")
        end.close()


async def test_what_came_before_an_error_is_answered() -> None:
    async with in_memory(hello) as house:
        end = house.connect()
        await end.write(get("/1") + get("/2") + b"garbage\r\n\r\n" + get("/3"))
        end.write_eof()
        answers = await read_all(end)
        assert statuses(answers) == [200, 200, 400]
        assert b"\r\n\r\n/2" in answers and b"/3" not in answers
        assert answers.count(b"Connection: close\r\n") == 1


async def test_handler_that_waits_holds_no_earlier_answer_back() -> None:
    is_open = asyncio.Event()

    async def handler(request: Request) -> Response:
        if request.path == "/wait":
            await is_open.wait()
        return Response(request.path)

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(get("/1") + get("/wait") + get("/2"))
        assert (await end.read()).endswith(b"\r\n\r\n/1")
        is_open.set()
        assert statuses(await read_until(end, b"\r\n\r\n/2")) == [200, 200]
        end.close()


async def test_nothing_behind_connection_close_is_processed() -> None:
    seen = []

    async def handler(request: Request) -> Response:
        seen.append(request.path)
        return Response("x")

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(get("/1", "Connection: close") + get("/2"))
        end.write_eof()
        answer = await read_all(end)
        assert statuses(answer) == [200] and b"Connection: close\r\n" in answer
        assert seen == ["/1"]


@pytest.mark.parametrize(
    ("fields", "is_persistent"),
    [((), False), (("Connection: keep-alive",), True), (("Connection: Keep-Alive, x",), True)],
)
async def test_persistence_of_http_1_0(fields: tuple[str, ...], is_persistent: bool) -> None:
    async with in_memory(hello) as house:
        end = house.connect()
        await end.write(get("/1", *fields, version="1.0") + get("/2", version="1.0"))
        end.write_eof()
        answers = await read_all(end)
        assert len(statuses(answers)) == 1 + is_persistent
        assert (b"Connection: keep-alive\r\n" in answers) is is_persistent


@pytest.mark.parametrize("status", [204, 304])
async def test_answer_without_content_keeps_the_framing_in_step(status: int) -> None:
    async def handler(request: Request) -> Response:
        return Response("not to be sent", status if request.path == "/none" else 200)

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(get("/none") + GET)
        end.write_eof()
        first, second = (await read_all(end)).split(b"HTTP/1.1 200 OK\r\n")
        assert first.startswith(b"HTTP/1.1 %d " % status) and first.endswith(b"\r\n\r\n")
        assert b"content-length" not in first.lower()
        assert second.endswith(b"\r\n\r\nnot to be sent")


@pytest.mark.parametrize("size", [10, 100_000])
async def test_head_sends_the_length_and_no_content(size: int) -> None:
    async def handler(request: Request) -> Response:
        return Response(bytes(size))

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        end.write_eof()
        answers = await read_all(end)
        assert statuses(answers) == [200, 200] and answers.endswith(b"\r\n\r\n")
        assert answers.count(b"Content-Length: %d\r\n" % size) == 2


async def test_context_variable_is_not_seen_by_the_next_request() -> None:
    async def handler(request: Request) -> Response:
        before = USER.get()
        USER.set("bob")
        if request.path == "/wait":
            await asyncio.sleep(0)
        assert USER.get() == "bob"
        return Response(before)

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET + get("/wait") + GET + get("/wait"))
        end.write_eof()
        answers = await read_all(end)
        assert answers.count(b"nobody") == 4 and b"bob" not in answers


async def test_requests_share_one_context_until_one_leaves_something_in_it() -> None:
    async def handler(request: Request) -> Response:
        before = USER.get()
        if request.path == "/set":
            USER.set("bob")
        elif request.path == "/reset":
            USER.reset(USER.set("bob"))
        return Response(before)

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET + get("/reset") + GET)
        await settle()
        assert not house.server.state.isolates
        await end.write(get("/set") + GET + get("/set") + GET)
        end.write_eof()
        assert (await read_all(end)).count(b"nobody") == 7
        assert house.server.state.isolates
        later = house.connect()
        await later.write(GET + get("/set") + GET)
        later.write_eof()
        assert (await read_all(later)).count(b"nobody") == 3


async def test_variables_set_before_the_server_are_seen_and_stay() -> None:
    async def handler(request: Request) -> Response:
        before = USER.get()
        USER.set("bob")
        return Response(before)

    USER.set("alice")
    async with in_memory(handler) as house:
        end = house.connect(copy_context())
        await end.write(GET * 3)
        end.write_eof()
        assert (await read_all(end)).count(b"alice") == 3


async def test_stream_sees_the_variables_of_its_handler() -> None:
    async def pieces() -> AsyncIterator[str]:
        for _ in range(3):
            yield USER.get()
            await asyncio.sleep(0)

    async def handler(request: Request) -> Response:
        before = USER.get()
        USER.set("bob")
        return Response.stream(pieces(), headers={"X-Before": before})

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET * 2)
        end.write_eof()
        answers = await read_all(end)
        assert answers.count(b"X-Before: nobody") == 2 and answers.count(b"3\r\nbob\r\n") == 6


async def outlive_a_cancellation() -> int:
    """Suppress a cancellation; return how often the task had been cancelled before."""
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    return before


@pytest.mark.parametrize("is_stream", [False, True])
async def test_later_exchanges_begin_uncancelled(is_stream: bool) -> None:
    async def pieces() -> AsyncIterator[str]:
        yield f"cancelling {await outlive_a_cancellation()}"

    async def handler(request: Request) -> Response:
        if is_stream:
            return Response.stream(pieces())
        return Response(f"cancelling {await outlive_a_cancellation()}")

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET * 3)
        end.write_eof()
        assert (await read_all(end)).count(b"cancelling 0") == 3


# --- fairness


async def large(request: Request) -> Response:
    return Response(bytes(70_000))


async def streamed(request: Request) -> Response:
    return Response.stream(iter_pieces(), content_type="text/plain")


async def iter_pieces() -> AsyncIterator[str]:
    yield "a"
    yield "b"


@pytest.mark.parametrize(
    ("handler", "request_", "most"),
    [
        (hello, GET, 32),
        (echo, post("/", b"five!"), 32),
        (echo, post("/", b"5\r\nfive!\r\n0\r\n\r\n", CHUNKED), 32),
        (hello, post("/", b"unread"), 32),
        (hello, post("/", b"6\r\nunread\r\n0\r\n\r\n", CHUNKED), 32),
        (streamed, GET, 32),
        (large, GET, 1),
    ],
    ids=["get", "post", "chunked", "unread", "unread-chunked", "stream", "large"],
)
async def test_flood_of_pipelined_requests_lets_others_run(
    handler: Callable[[Request], Coroutine[Any, Any, Response]], request_: bytes, most: int
) -> None:
    loop = asyncio.get_running_loop()
    turn, exchanges = 0, Counter[int]()

    def count_turns() -> None:
        nonlocal turn
        turn += 1
        if len(house.server.connections):
            loop.call_soon(count_turns)

    async def counted(request: Request) -> Response:
        exchanges[turn] += 1
        return await handler(request)

    async with in_memory(counted) as house:
        end = house.connect()
        await settle()
        count_turns()
        sending = asyncio.create_task(end.write(request_ * 500))
        end_of_answers = 0
        async with asyncio.timeout(20):
            while exchanges.total() < 500 or end_of_answers == 0:
                end_of_answers = len(await end.read())
        await sending
        end.close()
        await settle()
        assert exchanges.total() == 500
        assert max(exchanges.values()) <= most


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "stream"])
async def test_slow_pipelined_requests_let_others_run_within_milliseconds(
    is_streamed: bool,
) -> None:
    """Each takes 2 ms of the test clock, so a turn is over after the fifth at the latest."""
    loop = asyncio.get_running_loop()
    turn, exchanges = 0, Counter[int]()

    def count_turns() -> None:
        nonlocal turn
        turn += 1
        if exchanges.total() < 30:
            loop.call_soon(count_turns)

    async def handler(request: Request) -> Response:
        house.now += 0.002
        exchanges[turn] += 1
        return await (streamed if is_streamed else hello)(request)

    async with in_memory(handler) as house:
        end = house.connect()
        await settle()
        count_turns()
        await end.write(get("/") * 30)
        end.write_eof()
        assert statuses(await read_all(end)) == [200] * 30
        assert max(exchanges.values()) <= 5


async def test_fast_pipelined_requests_share_a_turn() -> None:
    """The time of the answers before, long ago, does not count."""

    async def handler(request: Request) -> Response:
        house.now += 0.0001
        return await hello(request)

    async with in_memory(handler) as house:
        end = house.connect()
        for _ in range(3):
            await end.write(get("/1") * 15 + get("/last"))
            answers = await end.read()
            assert statuses(answers) == [200] * 16
            house.now += 1.0
        end.close()


async def test_other_client_is_answered_amid_a_flood() -> None:
    answered: list[str] = []

    async def handler(request: Request) -> Response:
        answered.append(request.path)
        return Response("x")

    async with in_memory(handler) as house:
        flooding, other = house.connect(), house.connect()
        await settle()
        await flooding.write(get("/flood") * 600)
        await other.write(get("/other"))
        await read_until(other, b"\r\n\r\nx")
        assert answered.index("/other") <= 64
        flooding.close()
        other.close()


# --- faults


async def test_what_is_no_response_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request) -> Response:
        return None  # type: ignore[return-value]

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        assert statuses(await read_all(end)) == [500]
    assert len(caplog.records) == 1


async def test_cancellation_of_something_awaited_is_a_500(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(request: Request) -> Response:
        other = asyncio.create_task(asyncio.Event().wait())
        await asyncio.sleep(0)
        other.cancel()
        await other
        return Response("never")

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        assert statuses(await read_all(end)) == [500]
    assert [record.getMessage() for record in caplog.records] == ["GET / failed"]


def test_task_that_is_dropped_with_its_loop_fails_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(request: Request) -> Response:
        await asyncio.Event().wait()
        return Response("never")

    async def begin() -> Coroutine[Any, Any, None]:
        house = MemoryHouse(handler)
        await house.open()
        await house.connect().write(GET)
        await settle()
        assert house.connection.network.task is not None
        running: Any = house.connection.network.task.get_coro()
        return running  # type: ignore[no-any-return]

    loop = asyncio.new_event_loop()
    running = loop.run_until_complete(begin())
    running.close()  # like the garbage collector
    loop.close()
    gc.collect()  # asyncio logs the end of the task: in this test, not in a later one
    assert "failed" not in caplog.text


# --- streams


async def test_stream_of_a_body_that_is_malformed_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(request: Request) -> Response:
        return Response.stream(request.stream())

    async def refuse(error: ProtocolError) -> Response:
        return Response("refused", error.status)

    async with in_memory(handler) as house:
        house.server.state.refuse = refuse
        end = house.connect()
        await end.write(post("/", b"zz\r\n", CHUNKED))
        end.write_eof()
        answer = await read_all(end)
        assert statuses(answer) == [400] and answer.endswith(b"\r\n\r\nrefused")
    assert not caplog.records


# --- bodies that nobody read


async def test_small_unread_body_is_skimmed() -> None:
    async with in_memory(hello) as house:
        end = house.connect()
        await end.write(post("/1", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n") + get("/2"))
        end.write_eof()
        answers = await read_all(end)
        assert statuses(answers) == [200, 200] and b"smuggled" not in answers


async def test_rest_of_an_unread_body_may_come_after_the_answer() -> None:
    async with in_memory(hello) as house:
        end = house.connect()
        await end.write(post("/1", b"", "Content-Length: 10") + b"five!")
        assert statuses(await read_until(end, b"/1")) == [200]
        await end.write(b"five!" + get("/2"))
        assert statuses(await read_until(end, b"/2")) == [200]
        end.close()


@pytest.mark.parametrize(
    "request_",
    [
        post("/", b"", "Content-Length: 100000"),
        post("/", b"5\r\nfive!\r\n", CHUNKED),
        post("/", b"", "Content-Length: 5", EXPECT),
        post("/", b"five!", "Content-Length: 5", EXPECT),
        post("/", b"zz\r\n", CHUNKED),
    ],
    ids=["large", "chunked", "expected", "expected-and-sent", "malformed"],
)
async def test_unread_body_closes_and_the_answer_says_so(request_: bytes) -> None:
    async with in_memory(hello) as house:
        end = house.connect()
        await end.write(request_)
        answer = await read_all(end)
        assert statuses(answer) == [200] and b"Connection: close\r\n" in answer
        end.close()


async def test_unread_body_that_stalls_gets_no_second_answer() -> None:
    async with in_memory(hello, body_timeout_s=20) as house:
        end = house.connect()
        await end.write(post("/", b"", "Content-Length: 10"))
        assert statuses(await read_until(end, b"\r\n\r\n/")) == [200]
        await house.pass_time(19)
        await end.write(b"x")
        await house.pass_time(1)  # for the whole head, not since the last byte
        assert await read_all(end) == b""


# --- peers that leave


async def test_body_that_ends_early_is_no_request() -> None:
    async with in_memory(echo) as house:
        end = house.connect()
        await end.write(post("/", b"", "Content-Length: 10") + b"five!")
        end.write_eof()
        assert await read_all(end) == b""


async def test_answers_before_a_body_that_ends_early_arrive() -> None:
    async def handler(request: Request) -> Response:
        return Response(await request.body() or bytes(200_000))

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET + post("/", b"", "Content-Length: 10") + b"five!")
        end.write_eof()
        assert (await read_all(end)).endswith(bytes(200_000))


@pytest.mark.parametrize("sent", [b"", b"\r\n", GET[:9], GET[:-2]])
async def test_end_of_input_before_a_whole_head_is_the_end(sent: bytes) -> None:
    async with in_memory(hello) as house:
        end = house.connect()
        await end.write(sent)
        end.write_eof()
        assert await read_all(end) == b""


# --- endings


async def test_awaiting_what_was_cancelled_before_is_a_500() -> None:
    async def handler(request: Request) -> Response:
        cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        await cancelled  # raises without a suspension
        return Response("never")

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        answer = await read_all(end)
    assert statuses(answer) == [500]
