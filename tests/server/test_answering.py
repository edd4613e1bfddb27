"""Streamed answers on a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from support.answering import OLD, make_request
from support.serving import (
    DEADLINE_S,
    GET,
    get,
    in_memory,
    read_all,
    settle,
    statuses,
)

from microweb.bodies import stream as streams
from microweb.http.framing import CLOSE, KEEP_ALIVE
from microweb.request import Request
from microweb.response import Response
from microweb.server.answering import is_streaming, may_read_body, persistence_of
from microweb.server.records import ExchangeRecord


async def broken_off(*pieces: str) -> AsyncIterator[str]:
    for piece in pieces:
        yield piece
    raise OSError("the disk is gone")


def broken_off_in_a_thread() -> Iterator[str]:
    yield from ()
    raise OSError("the disk is gone")


async def test_stream_that_fails_half_way_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request) -> Response:
        return Response.stream(broken_off("abc"))

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET * 2)
        answer = await read_all(end)
        assert statuses(answer) == [200]
        assert answer.endswith(b"3\r\nabc\r\n")  # no last chunk
    assert [record.getMessage() for record in caplog.records] == ["GET / failed"]


@pytest.mark.parametrize("content_type", [None, "text/csv"])
@pytest.mark.parametrize("make", [broken_off, broken_off_in_a_thread])
async def test_stream_that_fails_before_its_first_byte_is_a_500(
    make: Callable[[], AsyncIterator[str] | Iterator[str]],
    content_type: str | None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def handler(request: Request) -> Response:
        return Response.stream(make(), content_type=content_type)

    monkeypatch.setattr(streams, "_HEAD_WAIT_S", DEADLINE_S)  # a thread may take long to begin

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        assert statuses(await read_all(end)) == [500]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("said", ["2", "4"])
async def test_stream_of_another_length_than_declared_is_cut(
    said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def pieces() -> AsyncIterator[str]:
        yield "ab"
        yield "c"

    async def handler(request: Request) -> Response:
        return Response.stream(pieces(), headers={"Content-Length": said})

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        head, content = (await read_all(end)).split(b"\r\n\r\n")
        assert b"Content-Length: " + said.encode() in head
        assert len(content) <= int(said)
    assert len(caplog.records) == 1


async def test_stream_waits_while_the_peer_does_not_read() -> None:
    produced = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal produced
        while True:
            produced += 1
            yield bytes(16 * 1024)

    async def handler(request: Request) -> Response:
        return Response.stream(pieces())

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(GET)
        await settle()
        assert (
            produced * 16 <= 64 + 64 + 16 + 16
        )  # KiB: the kernel, the high-water mark, two pieces
        before = produced
        await end.read(200_000)
        await settle()
        assert produced > before
        end.close()


async def test_access_log_has_a_record_per_request() -> None:
    access: list[tuple[str, int, int]] = []

    async def handler(request: Request) -> Response:
        return Response.stream(broken_off()) if request.path == "/broken" else Response("x")

    def log(record: ExchangeRecord) -> None:
        access.append((record.target, record.status, record.sent))

    async with in_memory(handler) as house:
        house.server.state.observers = (log,)
        end = house.connect()
        await end.write(GET + get("/broken"))
        end.write_eof()
        answers = await read_all(end)
    assert [(path, status) for path, status, _ in access] == [("/", 200), ("/broken", 500)]
    assert sum(size for *_, size in access) == len(answers)


@pytest.mark.parametrize(
    ("response", "request_", "wanted", "connection"),
    [
        (Response(), make_request(), b"", b""),
        (Response(), make_request(), CLOSE, CLOSE),
        (Response(), OLD, KEEP_ALIVE, KEEP_ALIVE),
        (Response(headers={"connection": "CLOSE"}), make_request(), b"", CLOSE),
        (Response(headers={"connection": "x, close"}), make_request(), b"", CLOSE),
        (Response(headers={"connection": "closed"}), make_request(), b"", b""),
        (Response.stream([]), make_request(), b"", b""),
        (Response.stream([]), OLD, KEEP_ALIVE, CLOSE),
        (Response.stream([], headers={"Content-Length": "0"}), OLD, KEEP_ALIVE, KEEP_ALIVE),
    ],
)
def test_a_response_says_whether_the_connection_goes_on(
    response: Response, request_: Request, wanted: bytes, connection: bytes
) -> None:
    assert persistence_of(response, request_, wanted) == connection


def test_only_a_stream_without_a_length_is_streaming() -> None:
    assert is_streaming(Response.stream([]))
    assert not is_streaming(Response.stream([], headers={"Content-Length": "0"}))
    assert not is_streaming(Response("a"))


def test_only_an_answer_that_writes_itself_may_read_the_body() -> None:
    assert may_read_body(Response.stream([]))
    assert not may_read_body(Response.file("a.txt"))
    assert not may_read_body(Response("a"))
