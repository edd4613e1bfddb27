"""The test client, used as the tests of an application use it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextvars import ContextVar

import httpx
import pytest
from support.tested_apps import GET, with_lifespan

from microweb import App, ConfigurationError, Request, Response, WebSocket
from microweb.middleware.sessions import Sessions
from microweb.testing.client import TestClient

# --- the way of a request


async def test_request_is_answered(app: App) -> None:
    async with app.test_client() as client:
        response = await client.get("/")
    assert response.status_code == 200
    assert response.text == "hello"
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert "date" in response.headers


async def test_request_passes_the_real_parser(app: App) -> None:
    async with app.test_client() as client:
        answer = await client.raw(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Connection: close\r\n" in answer


async def test_context_does_not_leak_between_requests_nor_from_the_test() -> None:
    user: ContextVar[str] = ContextVar("user", default="nobody")
    app = App()

    @app.get("/{name}")
    async def greet(name: str) -> str:
        seen = user.get()
        user.set(name)
        return seen

    user.set("the test")
    async with app.test_client() as client:
        assert (await client.get("/ada")).text == "nobody"
        assert (await client.get("/bob")).text == "nobody"
    assert user.get() == "the test"


async def test_context_of_the_lifespan_is_seen() -> None:
    database: ContextVar[str] = ContextVar("database")
    app = App()

    @app.on_startup
    async def open_database() -> None:
        database.set("open")

    @app.get("/")
    async def show() -> str:
        return database.get()

    async with app.test_client() as client:
        assert (await client.get("/")).text == "open"


async def test_cookies_persist() -> None:
    app = App()

    @app.get("/set")
    async def set_cookie() -> Response:
        return Response("set").set_cookie("theme", "dark")

    @app.get("/show")
    async def show(request: Request) -> str:
        return request.cookies.get("theme", "none")

    async with app.test_client() as client:
        assert (await client.get("/show")).text == "none"
        await client.get("/set")
        assert (await client.get("/show")).text == "dark"


async def test_https_is_seen_by_the_app_and_by_its_cookies() -> None:
    app = App()

    @app.get("/")
    async def show(request: Request) -> Response:
        seen = f"{request.scheme} {request.cookies.get('id', 'none')}"
        return Response(seen).set_cookie("id", "1")

    async with app.test_client(base_url="https://testserver") as client:
        first = await client.get("/")
        second = await client.get("/")
    assert "Secure" in first.headers["set-cookie"]
    assert (first.text, second.text) == ("https none", "https 1")
    async with app.test_client() as client:
        first = await client.get("/")
    assert "Secure" not in first.headers["set-cookie"]
    assert first.text == "http none"


async def test_any_host_comes_to_the_app(app: App) -> None:
    @app.get("/host")
    async def host(request: Request) -> str:
        return request.host

    async with app.test_client(base_url="http://testserver:8080") as client:
        assert (await client.get("/host")).text == "testserver:8080"
        assert (await client.get("http://elsewhere.example/host")).text == "elsewhere.example"


async def test_options_are_those_of_httpx(app: App) -> None:
    @app.get("/away")
    async def away() -> Response:
        return Response.redirect("/")

    async with app.test_client(follow_redirects=True, headers={"X-Test": "1"}) as client:
        response = await client.get("/away")
    assert response.text == "hello"
    assert response.request.headers["x-test"] == "1"


async def test_plain_functions_run_in_threads_that_end_with_the_client(app: App) -> None:
    @app.get("/thread")
    def name_thread() -> str:
        return threading.current_thread().name

    before = set(threading.enumerate())
    async with app.test_client() as client:
        name = (await client.get("/thread")).text
    assert name != threading.main_thread().name
    assert set(threading.enumerate()) <= before


async def test_no_task_is_left_behind(app: App) -> None:
    before = asyncio.all_tasks()
    async with app.test_client() as client:
        await client.get("/")
        await client.raw(b"GET / HT")
    assert asyncio.all_tasks() == before


# --- lifespan


async def test_client_enters_and_leaves_the_lifespan() -> None:
    events: list[str] = []
    async with with_lifespan(events).test_client() as client:
        assert events == ["enter"]
        assert (await client.get("/")).text == "42"
        assert events == ["enter", "request"]
    assert events == ["enter", "request", "leave"]


async def test_first_request_enters_the_lifespan_without_async_with() -> None:
    events: list[str] = []
    client = with_lifespan(events).test_client()
    assert events == []
    await asyncio.gather(client.get("/"), client.get("/"))
    assert events == ["enter", "request", "request"]
    await client.aclose()
    assert events == ["enter", "request", "request", "leave"]


async def test_client_that_was_never_used_closes() -> None:
    events: list[str] = []
    await with_lifespan(events).test_client().aclose()
    assert events == []


async def test_lifespan_false_leaves_it_out() -> None:
    events: list[str] = []
    async with with_lifespan(events).test_client(lifespan=False) as client:
        assert (await client.get("/")).text == "None"
    assert events == ["request"]


# --- raw


async def test_raw_returns_the_answers_to_pipelined_requests(app: App) -> None:
    async with app.test_client() as client:
        answers = await client.raw(GET * 3)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert answers.endswith(b"\r\n\r\nhello")


async def test_raw_reads_while_it_sends(app: App) -> None:
    @app.get("/large")
    async def large() -> bytes:
        return bytes(100_000)

    request = GET.replace(b"/ ", b"/large ").replace(
        b"\r\n\r\n", b"\r\nX: %b\r\n\r\n" % (b"x" * 4000)
    )
    count = 100  # both the requests and the answers are longer than the buffers between the ends
    async with app.test_client() as client:
        answers = await client.raw(request * count)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == count


async def test_raw_returns_nothing_for_half_a_request(app: App) -> None:
    async with app.test_client() as client:
        assert await client.raw(GET[:-2]) == b""


async def test_raw_enters_the_lifespan() -> None:
    events: list[str] = []
    client = with_lifespan(events).test_client()
    assert (await client.raw(GET)).endswith(b"42")
    await client.aclose()
    assert events == ["enter", "request", "leave"]


async def test_raw_gives_up_after_the_read_timeout(app: App) -> None:
    @app.post("/never")
    async def never() -> None:
        await asyncio.Event().wait()

    async with app.test_client(timeout=0.01) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.raw(b"POST /never HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")


# --- sessions, events, WebSockets


async def test_client_brings_its_session_to_pages_events_and_sockets() -> None:
    app = App()
    app.use(Sessions("0123456789abcdef" * 2))

    @app.get("/page")
    async def page(request: Request) -> str:
        return str(request.session["user"])

    @app.get("/events")
    async def events(request: Request) -> Response:
        name = str(request.session["user"])

        async def names() -> AsyncIterator[str]:
            yield name

        return Response.events(names())

    @app.websocket("/socket")
    async def socket(socket: WebSocket) -> None:
        await socket.send(str(socket.request.session["user"]))

    async with TestClient(app) as client:
        await client.login_session({"user": "ada"})
        assert (await client.get("/page")).text == "ada"
        async with client.events("/events") as received:
            assert (await anext(received)).data == "ada"
        async with client.websocket("/socket") as connected:
            assert await connected.receive() == "ada"


async def test_login_session_without_sessions_says_what_is_missing(app: App) -> None:
    async with TestClient(app) as client:
        with pytest.raises(ConfigurationError, match=r"app\.use\(Sessions\(secret_key\)\)"):
            await client.login_session({"user": "ada"})


# --- the extra


@pytest.mark.parametrize("package", ["httpx", "httpcore"])
def test_without_httpx_the_command_that_mends_it_is_named(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from microweb import App; "
    code += "App().test_client()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert "MissingExtra: microweb.testing needs the extra testing" in run.stderr
    assert "pip install 'h11>=" in run.stderr
