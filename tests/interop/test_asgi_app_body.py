"""Bodies under another ASGI server: pieces, limits, deadlines."""

from __future__ import annotations

import asyncio

import pytest
from support.asgi import Exchanged, answer_in, answered, body_of, http_scope

from microweb import App, Request, Response
from microweb.errors import BodyConsumed, BodyTimeout, ClientDisconnected, ContentTooLarge

CHUNKED = [(b"host", b"a.test"), (b"transfer-encoding", b"chunked")]
POST = http_scope("/", "POST", headers=CHUNKED)


def reading() -> tuple[App, list[object]]:
    """Return an app that answers with the pieces of the body, and a list of its errors."""
    app, errors = App(), []

    @app.post("/")
    async def pieces(request: Request) -> list[str]:
        try:
            return [piece.decode() async for piece in request.stream()]
        except Exception as error:
            errors.append(error)
            raise

    @app.post("/whole")
    async def whole(request: Request) -> bytes:
        return await request.body() + await request.body()

    return app, errors


async def test_pieces_and_the_whole_body() -> None:
    app, _ = reading()
    _, _, content = await answered(app, POST, *body_of(b"a", b"", b"bc", b""))
    assert content == b'["a","bc"]'
    scope = http_scope("/whole", "POST", headers=CHUNKED)
    assert (await answered(app, scope, *body_of(b"a", b"bc")))[2] == b"abcabc"


async def test_a_body_that_no_field_tells_is_not_read() -> None:
    app, _ = reading()
    assert (await answered(app, http_scope("/", "POST"), {"type": "none"}))[2] == b"[]"


async def test_limits_hold_for_declared_and_for_sent_bytes() -> None:
    app, errors = reading()
    small = app.asgi(max_body=4)
    declared = http_scope("/", "POST", headers=[(b"host", b"a"), (b"content-length", b"5")])
    assert (await answered(small, declared, {"type": "none"}))[0] == 413
    assert (await answered(small, POST, *body_of(b"abc", b"de")))[0] == 413
    assert (await answered(small, POST, *body_of(b"ab", b"cd")))[0] == 200
    assert [type(error) for error in errors] == [ContentTooLarge, ContentTooLarge]


async def test_a_client_that_leaves_inside_the_body() -> None:
    app, errors = reading()
    exchanged = Exchanged(app, POST)
    exchanged.put({"type": "http.request", "body": b"a", "more_body": True})
    exchanged.put({"type": "http.disconnect"})
    assert await exchanged.end() == []
    assert [type(error) for error in errors] == [ClientDisconnected]


async def test_a_body_that_stalls_is_a_408() -> None:
    app, errors = reading()
    exchanged = Exchanged(app.asgi(body_timeout_s=0.05), POST)
    exchanged.put({"type": "http.request", "body": b"a", "more_body": True})
    status, fields, _ = answer_in(await exchanged.end())
    assert status == 408 and (b"connection", b"close") in fields
    assert [type(error) for error in errors] == [BodyTimeout]


async def test_the_body_cannot_be_read_after_the_answer() -> None:
    app, errors = App(), []

    async def read_later(request: Request) -> None:
        try:
            await request.body()
        except BodyConsumed as error:
            errors.append(error)

    @app.post("/")
    async def index(request: Request) -> Response:
        tasks.append(asyncio.create_task(read_later(request)))
        await asyncio.sleep(0)  # it waits for the body now
        return Response("x")

    tasks: list[asyncio.Task[None]] = []
    exchanged = Exchanged(app, POST)
    assert answer_in(await exchanged.end())[0] == 200
    await tasks[0]
    assert len(errors) == 1


async def test_two_readers_share_a_body() -> None:
    app = App()

    @app.post("/")
    async def index(request: Request) -> list[str]:
        bodies = await asyncio.gather(request.body(), request.body())
        return [body.decode() for body in bodies]

    exchanged = Exchanged(app, POST)
    for message in body_of(b"a", b"b"):
        await asyncio.sleep(0)
        exchanged.put(message)
    content = answer_in(await exchanged.end())[2]
    assert sorted(content) == sorted(b'["ab","ab"]') or sorted(content) == sorted(b'["a","b"]')


@pytest.mark.parametrize("size", [0, 3])
async def test_a_plain_def_reads_ahead(size: int) -> None:
    app = App()

    @app.post("/")
    def index(request: Request) -> str:
        from microweb import from_thread

        return from_thread(request.text())

    assert (await answered(app, POST, *body_of(b"x" * size)))[2] == b"x" * size
