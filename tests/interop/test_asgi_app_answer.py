"""Responses as ASGI messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.asgi import Exchanged, answer_in, answered, body_of, http_scope

from microweb import App, Response
from microweb.interop.asgi_app_answer import _HEADS, parse_head

TEXT = (b"content-type", b"text/plain; charset=utf-8")


def serving(response: Response | None = None) -> App:
    app = App()

    @app.get("/")
    async def index() -> Response:
        assert response is not None
        return response

    return app


async def test_a_whole_answer_is_two_messages() -> None:
    response = Response("hello", 201, {"X-A": "1"})
    response.set_cookie("a", "b")
    response.headers.add("X-A", "2")
    exchanged = Exchanged(serving(response), http_scope())
    start, body = await exchanged.end()
    assert start == {
        "type": "http.response.start",
        "status": 201,
        "headers": [
            TEXT,
            (b"x-a", b"1"),
            (b"x-a", b"2"),
            (b"set-cookie", b"a=b; Path=/; HttpOnly; SameSite=Lax"),
            (b"content-length", b"5"),
        ],
    }
    assert body == {"type": "http.response.body", "body": b"hello"}


async def test_head_and_304_have_no_content() -> None:
    status, fields, content = await answered(serving(Response("abc")), http_scope("/", "HEAD"))
    assert (status, content) == (200, b"") and (b"content-length", b"3") in fields
    response = Response(b"", 304, {"ETag": '"a"', "Content-Length": "9"})
    status, fields, content = await answered(serving(response), http_scope())
    assert (status, fields, content) == (304, [(b"etag", b'"a"')], b"")


async def test_http_2_has_no_fields_of_the_connection() -> None:
    response = Response("x", headers={"Connection": "close", "X-A": "1"})
    assert (b"connection", b"close") in (await answered(serving(response), http_scope()))[1]
    _, fields, _ = await answered(serving(response), http_scope(http_version="2"))
    assert [name for name, _ in fields] == [b"content-type", b"x-a", b"content-length"]


async def test_a_large_body_is_sent_whole() -> None:
    _, _, content = await answered(serving(Response(b"x" * 300_000)), http_scope())
    assert content == b"x" * 300_000


async def slow_pieces(gate: asyncio.Event) -> AsyncIterator[str]:
    yield "a"
    yield "b"
    await gate.wait()
    yield "c"


async def test_pieces_are_joined_and_not_held_back() -> None:
    gate = asyncio.Event()
    app = serving(Response.stream(slow_pieces(gate)))
    async with Exchanged(app, http_scope()) as exchanged:
        sent = await exchanged.sent_within(2)
        assert sent[0]["headers"] == [TEXT]
        assert sent[1] == {"type": "http.response.body", "body": b"ab", "more_body": True}
        gate.set()
        assert answer_in(await exchanged.end())[2] == b"abc"


async def test_a_slow_client_stops_the_generator() -> None:
    made = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(100):
            made += 1
            yield bytes(64 * 1024)

    async with Exchanged(serving(Response.stream(pieces())), http_scope()) as exchanged:
        exchanged.gate.clear()
        for _ in range(20):
            await asyncio.sleep(0)
        assert made <= 3
        exchanged.gate.set()
        assert len(answer_in(await exchanged.end())[2]) == 100 * 64 * 1024


@pytest.mark.parametrize("is_offered", [False, True])
async def test_a_large_file_is_sent_by_its_path_if_offered(
    tmp_path: Path, is_offered: bool
) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"0123456789" * 20_000)
    app = App()
    app.get("/")(lambda: Response.file(path))
    app.static("/static", tmp_path)
    extensions = {"http.response.pathsend": {}} if is_offered else {}

    async def sent(target: str, *fields: tuple[bytes, bytes]) -> list[dict[str, object]]:
        headers = [(b"host", b"a"), *fields]
        scope = http_scope(target, headers=headers, extensions=extensions)
        exchanged = Exchanged(app, scope)
        exchanged.put(*body_of(b""))
        return [dict(message) for message in await exchanged.end()]

    start, *rest = await sent("/")
    assert (b"content-length", b"200000") in start["headers"]  # type: ignore[operator]
    if is_offered:
        assert rest == [{"type": "http.response.pathsend", "path": str(path)}]
    else:
        assert b"".join(each["body"] for each in rest) == path.read_bytes()  # type: ignore[misc]
    _, *rest = await sent("/", (b"range", b"bytes=100000-199998"))
    assert sum(len(each["body"]) for each in rest) == 99_999  # type: ignore[arg-type]
    # A folder is opened without following links, so its files have no path to hand on.
    _, *rest = await sent("/static/large")
    assert sum(len(each["body"]) for each in rest) == 200_000  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("extensions", "te", "has_trailers"),
    [
        ({}, b"trailers", False),
        ({"http.response.trailers": {}}, b"trailers", True),
        ({"http.response.trailers": {}}, b"gzip", False),
    ],
)
async def test_trailers(extensions: dict[str, object], te: bytes, has_trailers: bool) -> None:
    app = App()

    @app.get("/")
    async def index() -> Response:
        async def pieces() -> AsyncIterator[str]:
            yield "a"
            response.trailers["X-Sum"] = "7"

        response = Response.stream(pieces())
        return response

    headers = [(b"host", b"a"), (b"te", te)]
    exchanged = Exchanged(app, http_scope(headers=headers, extensions=extensions))
    start, *rest = await exchanged.end()
    assert start.get("trailers", False) == has_trailers
    trailers = {"headers": [(b"x-sum", b"7")], "more_trailers": False}
    expected = [{"type": "http.response.trailers", **trailers}] if has_trailers else []
    assert [each for each in rest if each["type"] != "http.response.body"] == expected


async def test_few_and_short_heads_are_kept() -> None:
    for number in range(1000):
        parse_head(b"HTTP/1.1 200 OK\r\nX-A: %d\r\n\r\n" % number)
    assert len(_HEADS) <= 256
    long = b"HTTP/1.1 200 OK\r\nX-A: %b" % (b"x" * 1000)
    assert parse_head(long + b"\r\n\r\nabc") == (200, [(b"x-a", b"x" * 1000)], b"abc")
    assert long not in _HEADS


def test_fields_that_a_caller_adds_reach_no_other_answer() -> None:
    head = b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n"
    for number in range(2):
        _, fields, _ = parse_head(head)
        assert fields == [(b"x-a", b"1")]
        fields.append((b"set-cookie", b"user=%d" % number))
