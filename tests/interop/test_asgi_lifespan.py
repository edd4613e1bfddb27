"""The lifespan of ASGI applications, alone and mounted."""

from __future__ import annotations

from typing import Any

import pytest
from support.asgi_apps import Receive, Scope, Send, answer_of, body, body_of, get, sending, start
from support.serving import on_loopback

from microweb import App
from microweb.interop.asgi_lifespan import StartupFailed, lifespan
from microweb.interop.asgi_server import ASGI


class Living:
    """An application whose lifespan writes down its events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send(start())
            return await send(body(scope["state"]["name"]))
        self.events.append((await receive())["type"])
        scope["state"]["name"] = b"ada"
        await send({"type": "lifespan.startup.complete"})
        self.events.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})


async def test_the_lifespan_runs_around_the_server() -> None:
    app = Living()
    assert body_of(await answer_of(ASGI(app), get())) == b"ada"
    assert app.events == ["lifespan.startup", "lifespan.shutdown"]


async def test_the_lifespan_of_a_mounted_application_runs_inside_ours() -> None:
    app, inner = App(), Living()
    app.mount("/inner", inner)
    assert body_of(await answer_of(app, get("/inner/"))) == b"ada"
    assert inner.events == ["lifespan.startup", "lifespan.shutdown"]


async def test_a_failed_startup_stops_the_server() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(StartupFailed, match="no database"):
        async with on_loopback(ASGI(app)):
            pass


async def test_an_application_without_a_lifespan_is_served() -> None:
    answer = await answer_of(ASGI(sending(start(), body(b"a"))), get())
    assert body_of(answer) == b"a"


async def test_a_failed_shutdown_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "still busy"})

    async with lifespan(app, {}):
        pass
    assert "still busy" in caplog.text


@pytest.mark.parametrize("kind", ["lifespan.shutdown.complete", "lifespan.startup.complete"])
async def test_a_wrong_order_is_logged(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await send({"type": kind})

    state: dict[str, Any] = {}
    async with lifespan(app, state):
        pass
    assert "the lifespan of the ASGI application failed" in caplog.text
