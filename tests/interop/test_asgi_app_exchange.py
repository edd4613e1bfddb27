"""Exchanges under another ASGI server: errors, ends, background work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.asgi import Exchanged, answered, http_scope, started

from microweb import App, Request, Response
from microweb.concurrency.throttle import Throttle
from microweb.interop.asgi_app_exchange import AnswerCut
from microweb.server import refusal_log
from microweb.websocket.upgrade import UpgradeResponse


async def test_a_stream_that_is_longer_than_its_length_is_a_500(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App()

    @app.get("/")
    async def index() -> Response:
        async def pieces() -> AsyncIterator[str]:
            yield "abcde"

        return Response.stream(pieces(), headers={"Content-Length": "3"})

    status, _, content = await answered(app, http_scope())
    assert (status, content) == (500, b"Internal Server Error\n")
    assert caplog.messages == ["GET / failed"]


async def test_an_error_before_the_head_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    app = App()

    @app.get("/")
    async def fail() -> str:
        raise ValueError("boom")

    @app.get("/stream")
    async def stream() -> Response:
        async def pieces() -> AsyncIterator[str]:
            raise ValueError("boom")
            yield "never"

        return Response.stream(pieces())

    for path in ("/", "/stream"):
        assert (await answered(app, http_scope(path)))[0] == 500
    assert caplog.messages == ["GET / failed", "GET /stream failed"]


async def test_an_error_after_the_head_cuts_the_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App()

    @app.get("/")
    async def index() -> Response:
        async def pieces() -> AsyncIterator[str]:
            yield "a"
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            raise ValueError("boom")

        return Response.stream(pieces())

    exchanged = Exchanged(app, http_scope())
    with pytest.raises(AnswerCut, match=r"microweb\.error"):
        await exchanged.end()
    assert exchanged.sent[-1] == {"type": "http.response.body", "body": b"a", "more_body": True}
    assert caplog.messages == ["GET / failed"]


async def test_a_response_that_http_cannot_carry_is_a_500() -> None:
    app = App()
    app.get("/")(lambda: Response("x", headers={"Content-Length": "2"}))
    assert (await answered(app, http_scope()))[0] == 500


async def test_a_malformed_request_is_refused() -> None:
    status, fields, content = await answered(App(), http_scope(headers=[]))
    assert (status, content) == (400, b"Bad Request\n") and (b"connection", b"close") in fields


async def test_error_handlers_and_middleware_see_the_request() -> None:
    app = App()

    @app.errorhandler(404)
    async def missing(request: Request) -> str:
        return f"no {request.path}"

    @app.after_request
    async def mark(request: Request, response: Response) -> None:
        response.headers["X-Client"] = str(request.client)

    status, fields, content = await answered(app, http_scope("/x"))
    assert (status, content) == (404, b"no /x")
    assert (b"x-client", b"Address(host='192.0.2.7', port=50000)") in fields


async def test_work_after_the_response() -> None:
    app, seen = App(), []

    @app.get("/")
    async def index(request: Request) -> str:
        request.after_response(lambda: seen.append(request.method))
        return "x"

    async with started(app):
        await answered(app, http_scope())
    assert seen == ["GET"]  # the shutdown waits for it


async def test_an_upgrade_says_that_it_needs_our_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App()

    async def talk(stream: object) -> None:
        raise AssertionError("it has no stream")

    @app.get("/")
    async def index() -> Response:
        return UpgradeResponse({"Upgrade": "irc"}, talk)

    headers = [(b"host", b"a"), (b"connection", b"upgrade"), (b"upgrade", b"irc")]
    assert (await answered(app, http_scope(headers=headers)))[0] == 500
    assert "expected microweb's own server" in caplog.text


async def test_a_cancellation_of_the_server_passes_through() -> None:
    app, seen = App(), []

    @app.get("/")
    async def index() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("left")
        return "x"

    exchanged = Exchanged(app, http_scope())
    for _ in range(5):
        await asyncio.sleep(0)
    exchanged.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchanged.end()
    assert seen == ["left"] and exchanged.sent == []


async def test_a_server_that_raises_oserror_ends_the_exchange_quietly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App()
    app.get("/")(lambda: "x")
    exchanged = Exchanged(app, http_scope())
    exchanged.send_error = OSError("gone")
    assert await exchanged.end() == [] and caplog.messages == []


async def test_refusals_are_not_logged_too_often(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal_log, "_refusals", Throttle(3600.0, times=2))
    caplog.set_level("INFO", "microweb.protocol")
    for _ in range(4):
        scope = http_scope(headers=[(b"host", b"a"), (b"cookie", b"secret\x01")])
        assert (await answered(App(), scope))[0] == 400
    text = "400: a control byte in a field value (byte 0x01 at index 6 of 7)"
    assert caplog.messages == [text] * 2
    assert vars(caplog.records[0])["status"] == 400
