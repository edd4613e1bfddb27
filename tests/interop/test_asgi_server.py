"""ASGI applications, alone and mounted: which are taken, and errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from support.asgi_apps import (
    Receive,
    Scope,
    Send,
    answer_of,
    ask,
    body,
    body_of,
    get,
    sending,
    start,
)
from support.serving import on_loopback, statuses

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


# --- its state


class Showing:
    """An application that answers its state; its lifespan adds to it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope["state"]
        if scope["type"] == "lifespan":
            await receive()
            self.at_startup = dict(state)
            state.update(own=1, both="inner")
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        text = repr(sorted(state.items())).encode()
        state["own"] = 2  # of this request only
        await send(start())
        await send(body(text))


async def test_state_of_the_app_is_in_that_of_a_mounted_application() -> None:
    app, inner = App(), Showing()
    app.state.database = "db"

    @app.lifespan
    async def life(app: App) -> AsyncIterator[dict[str, object]]:
        yield {"both": "outer"}

    app.mount("/in", inner)
    async with on_loopback(app) as server:
        for _ in range(2):
            shown = body_of(await ask(server, get("/in/")))
            assert shown == b"[('both', 'inner'), ('database', 'db'), ('own', 1)]"
    assert inner.at_startup == {"database": "db", "both": "outer"}
    assert vars(app.state) == {"database": "db", "both": "outer"}


async def test_state_of_a_request_is_in_that_of_a_mounted_application() -> None:
    app = App()

    @app.use
    async def log_in(request: Request, call_next: Handler) -> Response:
        request.state.user = request.query["user"]
        return await call_next(request)

    app.mount("/in", Showing())
    async with on_loopback(app) as server:
        for user in (b"ada", b"eve"):
            shown = body_of(await ask(server, get(f"/in/?user={user.decode()}")))
            assert shown == b"[('both', 'inner'), ('own', 1), ('user', '%b')]" % user


async def test_each_app_gives_its_own_state() -> None:
    outer, app = App(), App()
    outer.state.place, app.state.place = "outer", "inner"
    outer.mount("/in", app)
    app.mount("/old", Showing())
    shown = body_of(await answer_of(outer, get("/in/old/")))
    assert shown == b"[('both', 'inner'), ('own', 1), ('place', 'inner')]"


async def test_an_application_alone_has_the_state_of_its_lifespan() -> None:
    shown = body_of(await answer_of(ASGI(Showing()), get()))
    assert shown == b"[('both', 'inner'), ('own', 1)]"
