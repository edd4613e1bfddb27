"""ASGI applications, alone and mounted: which are taken, and errors."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from support.asgi_apps import Receive, Scope, Send, answer_of, body, body_of, get, sending, start
from support.serving import statuses

from microweb import App, ConfigurationError, Request, Response
from microweb.interop.asgi_server import ASGI, is_asgi
from microweb.request import Handler


async def plain(scope: Scope, receive: Receive, send: Send) -> None: ...


class Instance:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


def of_version_2(scope: Scope) -> Any: ...


def wsgi(environ: Any, start_response: Any) -> Any: ...


async def of_one(request: Request) -> None: ...


@pytest.mark.parametrize(
    ("app", "is_one"),
    [
        (plain, True),
        (Instance(), True),
        (partial(plain), True),
        (Instance, False),
        (of_version_2, False),
        (wsgi, False),
        (of_one, False),
        (3, False),
    ],
)
def test_an_application_is_an_async_def_of_three_arguments(app: Any, is_one: bool) -> None:
    assert is_asgi(app) is is_one
    if is_one:
        assert ASGI(app)
    else:
        with pytest.raises(ConfigurationError, match="expected an ASGI 3 application"):
            ASGI(app)


async def test_routes_of_the_app_come_first() -> None:
    app = App()
    app.mount("/old", sending(start(), body(b"old")))

    @app.get("/old/new")
    async def new() -> str:
        return "new"

    assert body_of(await answer_of(app, get("/old/new"))) == b"new"
    assert body_of(await answer_of(app, get("/old/other"))) == b"old"


async def test_middleware_runs_around_a_mounted_application() -> None:
    async def mark(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        response.headers["X-Status"] = str(response.status)
        return response

    app = App()
    app.use(mark)
    app.mount("/old", sending(start(202), body(b"a", more=True), body(b"b")))
    answer = await answer_of(app, get("/old/"))
    assert statuses(answer) == [202] and b"X-Status: 202\r\n" in answer


async def test_an_error_is_answered_by_the_app_around_it() -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("lost")

    app = App()
    app.mount("/old", fail)

    @app.errorhandler(LookupError)
    async def lost(error: LookupError) -> tuple[str, int]:
        return f"{error}", 410

    answer = await answer_of(app, get("/old/"))
    assert statuses(answer) == [410] and body_of(answer) == b"lost"
    assert statuses(await answer_of(ASGI(fail), get())) == [500]
