"""Applications that are served without an App: errors, and targets that name https."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import pytest
from support.asgi_apps import Receive, Scope, Send, answer_of, body, body_of, get, start
from support.serving import on_loopback, peer_of, statuses
from support.wsgi import TEXT, Environ

from microweb import WSGI, App, HTTPError
from microweb.interop.asgi_server import ASGI
from microweb.interop.wsgi_answer import StartResponse


class Refused(HTTPError):
    def __init__(self) -> None:
        super().__init__(418, "no coffee")


ERRORS = {
    "/fault": RuntimeError("secret"),
    "/refused": Refused(),
    "/group": ExceptionGroup("of tasks", [Refused()]),
}


async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        if (error := ERRORS.get(scope["path"].removeprefix("/in"))) is not None:
            raise error
        await send(start())
        await send(body(b"hello"))


def wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    if (error := ERRORS.get(environ["PATH_INFO"])) is not None:
        raise error
    start_response("200 OK", TEXT)
    return [b"hello"]


ALONE = pytest.mark.parametrize("app", [ASGI(asgi), WSGI(wsgi)], ids=["asgi", "wsgi"])


@ALONE
async def test_an_exception_does_not_cost_the_next_request(
    app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with on_loopback(app) as server, peer_of(server) as peer:
        await peer.send(b"GET /fault HTTP/1.1\r\nHost: a\r\n\r\n" + get())
        answers = await peer.read_all()
    assert statuses(answers) == [500, 200]
    assert b"secret" not in answers
    (record,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert record.getMessage() == "GET /fault failed"
    assert record.exc_info is not None and "secret" in str(record.exc_info[1])


@ALONE
@pytest.mark.parametrize("path", ["/refused", "/group"])
async def test_an_http_error_is_its_answer(
    app: Any, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await answer_of(app, get(path))
    assert (statuses(answer), body_of(answer)) == ([418], b"I'm a Teapot\nno coffee\n")
    assert caplog.records == []


@ALONE
async def test_a_browser_gets_a_page(app: Any) -> None:
    answer = await answer_of(app, get("/fault", "Accept: text/html"))
    assert b"text/html" in answer and body_of(answer).startswith(b"<!doctype html>")


@ALONE
async def test_the_app_around_it_answers_its_errors(app: Any) -> None:
    outer = App()
    outer.mount("/in", app)
    outer.errorhandler(RuntimeError)(lambda error: f"handled {error}")
    assert body_of(await answer_of(outer, get("/in/fault"))) == b"handled secret"


@ALONE
@pytest.mark.parametrize(
    ("target", "status"),
    [("https://a/", 421), ("HTTPS://a/", 421), ("http://a/", 200), ("/https:", 200)],
)
async def test_a_target_that_names_https_is_refused(app: Any, target: str, status: int) -> None:
    assert statuses(await answer_of(app, get(target))) == [status]
