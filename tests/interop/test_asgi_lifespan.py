"""The lifespan of ASGI applications, alone and mounted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.asgi_apps import Receive, Scope, Send, answer_of, body, body_of, get, sending, start
from support.serving import DEADLINE_S, on_loopback

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


async def test_an_application_that_waits_for_ever_fails_the_start() -> None:
    """It takes each scope for that of a request, and waits until its client leaves."""
    ended: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            ended.append("cancelled")

    with pytest.raises(StartupFailed, match=r"has not answered lifespan\.startup within 0\.05 s"):
        async with lifespan(app, {}, answer_s=0.05):
            pass
    assert ended == ["cancelled"]


async def test_a_startup_in_another_task_may_answer_while_the_application_waits() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def answer() -> None:
            await may_answer.wait()
            await send({"type": "lifespan.startup.complete"})

        await receive()
        answering = asyncio.create_task(answer())
        asyncio.get_running_loop().call_soon(may_answer.set)
        assert (await receive())["type"] == "lifespan.shutdown"
        await answering
        await send({"type": "lifespan.shutdown.complete"})

    may_answer = asyncio.Event()
    async with lifespan(app, {}, answer_s=DEADLINE_S):
        assert may_answer.is_set()


async def test_a_slow_startup_is_logged_and_may_take_its_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        async with asyncio.timeout(DEADLINE_S):
            while not caplog.messages:
                await asyncio.sleep(0.01)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async with lifespan(app, {}, answer_s=0.01, slow_s=0.05):
        pass
    told = "the start waits for the ASGI application to send lifespan.startup.complete"
    assert caplog.messages == [told]


async def test_a_start_that_is_cancelled_ends_the_application() -> None:
    is_waiting, ended = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        is_waiting.set()
        try:
            await receive()
        finally:
            ended.set()

    async def start() -> None:
        async with lifespan(app, {}):
            raise AssertionError("it has not started")

    starting = asyncio.create_task(start())
    await is_waiting.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert ended.is_set()


@pytest.mark.parametrize("error", [SystemExit(7), KeyboardInterrupt()])
async def test_an_exit_at_the_startup_ends_the_program(error: BaseException) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    with pytest.raises(type(error)):
        async with lifespan(app, {}):
            raise AssertionError("it has not started")


async def test_an_exit_at_the_shutdown_ends_the_program() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise SystemExit(7)

    with pytest.raises(SystemExit):
        async with lifespan(app, {}):
            pass
