"""Early hints on a connection: before the answer, in any number, and never after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.serving import DEADLINE_S, GET, get, in_memory, post, read_all, read_until, statuses

from microweb.errors import LocalProtocolError
from microweb.request import Request
from microweb.response import Response
from microweb.server import hints

STYLE = "</style.css>; rel=preload; as=style"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n"

pytestmark = pytest.mark.usefixtures("nothing_is_logged")


async def hinted(request: Request) -> Response:
    await request.early_hints([STYLE])
    return Response(f"{request.method} {request.path}")


async def test_hints_arrive_before_the_answer_is_made() -> None:
    may_answer = asyncio.Event()

    async def handler(request: Request) -> Response:
        await request.early_hints([STYLE])
        await request.early_hints(["</a>", "</b>"])
        await may_answer.wait()
        return Response("done")

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        first = await read_until(end, b"</b>\r\n\r\n")
        assert first == HINTS + b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n"
        may_answer.set()
        assert statuses(await read_until(end, b"done")) == [200]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_each_pipelined_request_has_its_own_hints(method: str) -> None:
    async with in_memory(hinted) as house:
        end = house.connect()
        one, two = [get(path).replace(b"GET", method.encode()) for path in ("/one", "/two")]
        await end.write(one + two)
        end.write_eof()
        answers = await read_all(end)
    assert statuses(answers) == [103, 200, 103, 200]
    assert answers.startswith(HINTS)
    if method != "HEAD":
        assert answers.index(b"/one") < answers.rindex(HINTS) < answers.index(b"/two")


@pytest.mark.parametrize("field", ["Connection: close", "Connection: keep-alive"])
async def test_http_1_0_gets_none(field: str) -> None:
    async with in_memory(hinted) as house:
        end = house.connect()
        await end.write(get("/", field, version="1.0"))
        end.write_eof()
        assert statuses(await read_all(end)) == [200]


async def test_they_go_before_100_continue_and_beside_it() -> None:
    async def handler(request: Request) -> Response:
        await request.early_hints([STYLE])
        await request.body()
        await request.early_hints([STYLE])
        return Response("done")

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(post("/", b"", "Content-Length: 4", "Expect: 100-continue"))
        assert statuses(await read_until(end, b"100 Continue\r\n\r\n")) == [103, 100]
        await end.write(b"abcd")
        assert statuses(await read_until(end, b"done")) == [103, 200]


async def test_no_links_are_no_hints() -> None:
    async def handler(request: Request) -> Response:
        await request.early_hints([])
        return Response("done")

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        assert statuses(await read_until(end, b"done")) == [200]


async def test_malformed_link_sends_no_byte_of_it() -> None:
    async def handler(request: Request) -> Response:
        with pytest.raises(LocalProtocolError):
            await request.early_hints([STYLE, "</a>\r\n\r\nHTTP/1.1 200 OK"])
        return Response("done")

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        assert statuses(await read_until(end, b"done")) == [200]


# --- too late


async def test_generator_may_hint_before_its_head_only() -> None:
    may_go_on = asyncio.Event()

    async def pieces(request: Request) -> AsyncIterator[str]:
        await request.early_hints([STYLE])
        yield "first"
        await may_go_on.wait()  # the head is sent
        await request.early_hints([STYLE])
        yield "last"

    async def handler(request: Request) -> Response:
        return Response.stream(pieces(request))

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        assert statuses(await read_until(end, b"first")) == [103, 200]
        may_go_on.set()
        assert await read_until(end, b"0\r\n\r\n") == b"4\r\nlast\r\n0\r\n\r\n"


async def test_hints_of_an_answered_request_never_reach_the_next_one() -> None:
    first: list[Request] = []
    may_answer = asyncio.Event()

    async def handler(request: Request) -> Response:
        if first:
            await first[0].early_hints([STYLE])
            await may_answer.wait()
        first.append(request)
        return Response(request.path)

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(get("/1"))
        await read_until(end, b"/1")
        await first[0].early_hints([STYLE])
        await end.write(get("/2"))
        await asyncio.sleep(0)
        await first[0].early_hints([STYLE])
        may_answer.set()
        assert statuses(await read_until(end, b"/2")) == [200]


async def test_other_task_may_hint_while_the_handler_answers() -> None:
    async def handler(request: Request) -> Response:
        async with asyncio.TaskGroup() as tasks:
            for number in range(5):
                tasks.create_task(request.early_hints([f"</{number}>"]))
        return Response("done")

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        answer = await read_until(end, b"done")
    assert statuses(answer) == [103] * 5 + [200]
    assert answer.count(b"\r\n\r\n") == 6


# --- clients that leave, or read nothing


async def test_client_that_has_left_does_not_end_the_handler() -> None:
    ended = asyncio.Event()

    async def handler(request: Request) -> Response:
        await request.disconnected()
        for _ in range(3):
            await request.early_hints([STYLE])
            await asyncio.sleep(0)
        ended.set()
        return Response("done")

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(post("/"))
        end.close()
        await house.pass_time(1)
        async with asyncio.timeout(DEADLINE_S):
            await ended.wait()


async def test_client_that_does_not_read_gets_a_bounded_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hints, "_MAX_UNSENT", 4096)
    waiting = []

    async def handler(request: Request) -> Response:
        for _ in range(10_000):
            await request.early_hints([STYLE])
            waiting.append(house.connection.network.transport.get_write_buffer_size())
        return Response("done")

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        answer = await read_until(end, b"done")
    assert 4096 < max(waiting) <= 4096 + len(HINTS)
    assert answer.count(HINTS) < 2000
    assert statuses(answer)[-1] == 200


async def test_failure_after_hints_is_a_whole_500(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request) -> Response:
        await request.early_hints([STYLE])
        raise OSError("the disk is gone")

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        end.write_eof()
        assert statuses(await read_all(end)) == [103, 500]
    assert [record.getMessage() for record in caplog.records] == ["GET / failed"]
    caplog.clear()
