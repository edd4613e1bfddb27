"""An App as an ASGI 3 application: how servers see it, its lifespan, paths and options."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.answering import FakePeer
from support.asgi import Exchanged, answered, body_of, http_scope, started

from microweb import App, ConfigurationError, Request, from_thread
from microweb.http.request_head import PlainSection, parse_request_line
from microweb.interop.asgi_app import ASGIApplication
from microweb.interop.asgi_types import Receive, Scope, Send
from microweb.request import make_request


def hello() -> App:
    app = App()

    @app.get("/")
    async def index() -> str:
        return "hello"

    return app


def test_uvicorn_takes_an_app_for_asgi_3() -> None:
    uvicorn = pytest.importorskip("uvicorn")
    for app in (hello(), hello().asgi(max_body=1)):
        config = uvicorn.Config(app, log_config=None)
        config.load()
        assert config.interface == "asgi3"


def test_hypercorn_takes_an_app_for_asgi() -> None:
    utils = pytest.importorskip("hypercorn.utils")
    assert utils.is_asgi(hello()) and utils.is_asgi(hello().asgi())


def test_import_of_microweb_loads_no_bridge() -> None:
    code = "import sys, microweb; print([name for name in sys.modules if 'interop' in name])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


async def test_an_app_is_still_a_handler() -> None:
    request = make_request(parse_request_line("GET", "/"), PlainSection(), FakePeer())
    assert (await hello()(request)).body == b"hello"


# --- the lifespan ---------------------------------------------------------------------


async def test_the_lifespan_runs_around_the_requests() -> None:
    app, seen = App(), []

    @app.lifespan
    async def life(app: App) -> AsyncIterator[dict[str, object]]:
        seen.append("in")
        yield {"database": 42}
        seen.append("out")

    @app.get("/")
    async def index() -> str:
        return f"{app.state.database}"

    state: dict[str, Any] = {}
    async with started(app, state):
        assert state == {"database": 42}
        assert (await answered(app, http_scope(state=state.copy())))[2] == b"42"
        assert seen == ["in"]
    assert seen == ["in", "out"]


async def test_state_of_others_is_the_state_of_the_request() -> None:
    app = App()

    @app.on_startup
    async def start() -> None:
        app.state.ours = 1

    @app.get("/")
    async def index(request: Request) -> str:
        return repr(sorted(vars(request.state).items()))

    async with started(app, {}):
        scope = http_scope(state={"theirs": 2, "ours": 1})
        assert (await answered(app, scope))[2] == b"[('theirs', 2)]"


async def test_state_of_others_reaches_an_application_that_is_mounted() -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200})
            text = repr(sorted(scope["state"].items())).encode()
            await send({"type": "http.response.body", "body": text})

    app = App()
    app.state.ours = 1
    app.mount("/in", inner)
    async with started(app, {}):
        scope = http_scope("/in/", state={"theirs": 2, "ours": 1})
        assert (await answered(app, scope))[2] == b"[('ours', 1), ('theirs', 2)]"


@pytest.mark.parametrize("error", [ValueError("no database"), SystemExit(3)])
async def test_a_failed_startup_is_told(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()

    @app.on_startup
    async def start() -> None:
        raise error

    life = Exchanged(app, {"type": "lifespan"})
    life.put({"type": "lifespan.startup"})
    assert await life.end() == [{"type": "lifespan.startup.failed", "message": repr(error)}]
    assert caplog.messages == ["the startup failed"]


async def test_a_conflict_of_routes_is_a_failed_startup() -> None:
    app = hello()
    app.get("/")(lambda: "other")
    life = Exchanged(app, {"type": "lifespan"})
    life.put({"type": "lifespan.startup"})
    (failed,) = await life.end()
    assert failed["type"] == "lifespan.startup.failed" and "GET /" in failed["message"]


async def test_a_failed_shutdown_is_told() -> None:
    app = App()

    @app.on_shutdown
    async def stop() -> None:
        raise ValueError("still open")

    life = Exchanged(app, {"type": "lifespan"})
    life.put({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    failed = {"type": "lifespan.shutdown.failed", "message": "ValueError('still open')"}
    assert await life.end() == [{"type": "lifespan.startup.complete"}, failed]


async def test_a_cancelled_lifespan_is_left() -> None:
    app, seen = App(), []

    @app.on_shutdown
    async def stop() -> None:
        seen.append("out")

    async with Exchanged(app, {"type": "lifespan"}) as life:
        life.put({"type": "lifespan.startup"})
        await life.sent_within(1)
    assert seen == ["out"]


async def test_without_a_lifespan_requests_are_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = hello()
    app.on_startup(lambda: None)
    for _ in range(2):
        assert (await answered(app, http_scope()))[2] == b"hello"
    (message,) = caplog.messages
    assert message.startswith("the ASGI server has sent no lifespan.startup")


def test_another_event_loop_gets_threads_and_tasks_of_its_own() -> None:
    app = App()

    async def work() -> str:
        return "done"

    @app.get("/")
    def index() -> str:
        return from_thread(app.spawn(work()))

    for _ in range(2):
        assert asyncio.run(answered(app, http_scope()))[2] == b"done"


# --- scopes and paths -----------------------------------------------------------------


async def test_another_scope_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"http, websocket or lifespan, got 'mqtt'"):
        await Exchanged(hello(), {"type": "mqtt"}).end()


def rooted() -> App:
    app = App(redirect_slashes=True)

    @app.get("/a/{name}", name="one")
    async def one(request: Request, name: str) -> str:
        return f"{request.path} {request.prefix} {request.url} {request.url_for('one', name=name)}"

    inner = App()

    @inner.get("/x")
    async def inside(request: Request) -> str:
        return f"{request.path} {request.prefix} {request.url_for('inside')}"

    app.mount("/inner", inner)
    return app


@pytest.mark.parametrize("raw_path", [b"/api/a/b%2Fc", b"/a/b%2Fc"])
async def test_root_path_is_a_prefix(raw_path: bytes) -> None:
    # Some servers leave it in the path, some take it off.
    scope = http_scope(root_path="/api", path="ignored", raw_path=raw_path)
    _, _, content = await answered(rooted(), scope)
    assert content == b"/a/b/c /api http://a.test/api/a/b%2Fc /api/a/b%2Fc"


async def test_root_path_of_a_mounted_app_and_of_a_redirect() -> None:
    app = rooted()
    _, _, content = await answered(app, http_scope("/inner/x", root_path="/api/"))
    assert content == b"/x /api/inner /api/inner/x"
    status, fields, _ = await answered(app, http_scope("/api/a/b/", root_path="/api"))
    assert status == 308 and (b"location", b"/api/a/b") in fields
    assert (await answered(app, http_scope("/api/none", root_path="/api")))[0] == 404


async def test_many_root_paths_are_bounded() -> None:
    application = rooted().asgi()
    for number in range(100):
        scope = http_scope("/a/b", root_path=f"/tenant{number}")
        assert (await answered(application, scope))[0] == 200
    assert len(application._handlers) <= 64


# --- options --------------------------------------------------------------------------


async def test_limits_are_those_of_the_options() -> None:
    app = App()

    @app.post("/")
    async def echo(request: Request) -> bytes:
        return await request.body()

    fields = [(b"host", b"a.test"), (b"content-length", b"3")]
    scope = http_scope("/", "POST", headers=fields)
    assert (await answered(app, scope, *body_of(b"abc")))[2] == b"abc"
    assert (await answered(app.asgi(max_body=2), scope, *body_of(b"abc")))[0] == 413


def test_options_of_the_server_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"app\.asgi: the ASGI server decides 'port'"):
        hello().asgi(port=80)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="unknown option 'max_bod'"):
        hello().asgi(max_bod=80)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="max_body: expected an int"):
        hello().asgi(max_body=0)


@pytest.mark.parametrize(
    ("client", "host", "status"),
    [
        (("127.0.0.1", 1), b"localhost", 500),
        (("::1", 1), b"localhost", 500),
        (None, b"localhost", 500),
        (("192.0.2.1", 1), b"localhost", 421),
        (("127.0.0.1", 1), b"rebound.test", 421),
    ],
)
async def test_debug_is_for_this_machine(
    client: tuple[str, int] | None, host: bytes, status: int
) -> None:
    app = App(debug=True)

    @app.get("/")
    async def fail() -> str:
        raise ValueError("secret")

    scope = http_scope(client=client, headers=[(b"host", host)])
    answer = await answered(app, scope)
    assert answer[0] == status and (b"secret" in answer[2]) == (status == 500)
    assert b"secret" in (await answered(app.asgi(debug_anywhere=True), scope))[2]


def test_the_default_application_is_made_once() -> None:
    app = hello()
    asyncio.run(answered(app, http_scope()))
    first = app._asgi
    asyncio.run(answered(app, http_scope()))
    assert isinstance(first, ASGIApplication) and app._asgi is first
