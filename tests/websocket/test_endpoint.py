"""WebSocket routes: how they are registered and bound, mounted and shown."""

from __future__ import annotations

import functools
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from microweb import App, ConfigurationError, Request, Response, Router, WebSocket
from microweb.cli import main
from microweb.errors import RouteConflict
from microweb.middleware.compression import Compression
from microweb.middleware.conditional import ConditionalGet
from microweb.middleware.cors import CORS
from microweb.middleware.request_id import RequestID
from microweb.middleware.security import SecurityHeaders
from microweb.middleware.sessions import Sessions
from microweb.middleware.timeout import Timeout
from microweb.testing.client import TestClient
from microweb.testing.websocket import HandshakeRefused


async def first_of(client: TestClient, path: str) -> str | bytes:
    async with client.websocket(path) as socket:
        return await socket.receive()


# --- binding


async def test_path_and_query_are_bound_as_for_any_endpoint() -> None:
    app = App()

    @app.websocket("/chat/{room}/{number}")
    async def chat(room: str, number: int, s: WebSocket, like: list[int], last: int = 7) -> None:
        await s.send(repr((room, number, like, last)))

    async with app.test_client() as client:
        answer = await first_of(client, "/chat/a%2Fb/5?like=1&like=2")
        assert answer == "('a/b', 5, [1, 2], 7)"
        with pytest.raises(HandshakeRefused) as caught:
            await first_of(client, "/chat/a/5?like=x")
        assert caught.value.response.status_code == 400
        assert "query parameter 'like'" in caught.value.response.text
        with pytest.raises(HandshakeRefused, match="404"):
            await first_of(client, "/chat/a/b?like=1")


async def test_the_socket_is_bound_by_its_name() -> None:
    app = App()

    @app.websocket("/")
    async def by_name(socket) -> None:  # type: ignore[no-untyped-def]
        await socket.send("here")

    async with app.test_client() as client:
        assert await first_of(client, "/") == "here"


async def test_the_request_is_there_too() -> None:
    app = App()

    @app.websocket("/a")
    async def by_name(socket: WebSocket, request: Request) -> None:
        assert socket.request is request
        await socket.send(request.path)

    @app.websocket("/b")
    async def by_annotation(socket: WebSocket, asked: Request) -> None:
        await socket.send(asked.path)

    async with app.test_client() as client:
        assert await first_of(client, "/a") == "/a"
        assert await first_of(client, "/b") == "/b"


async def test_a_decorator_gets_the_socket() -> None:
    app = App()

    def twice(endpoint: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        @functools.wraps(endpoint)
        async def wrapper(socket: WebSocket, *args: object, **kwargs: object) -> None:
            await socket.send("first")
            await endpoint(socket, *args, **kwargs)

        return wrapper

    @app.websocket("/{room}")
    @twice
    async def chat(socket: WebSocket, room: str) -> None:
        await socket.send(room)

    def any_arguments(endpoint: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        @functools.wraps(endpoint)
        async def wrapper(*args: object, **kwargs: object) -> None:
            await endpoint(*args, **kwargs)

        return wrapper

    @app.websocket("/other/{room}")
    @any_arguments
    async def other(socket: WebSocket, room: str) -> None:
        await socket.send(room)

    async with app.test_client() as client:
        async with client.websocket("/lobby") as socket:
            assert [await socket.receive(), await socket.receive()] == ["first", "lobby"]
        assert await first_of(client, "/other/lobby") == "lobby"


def test_what_fits_nothing_is_told_at_once() -> None:
    app = App()

    async def odd(socket: WebSocket, what: dict[str, str]) -> None:
        raise NotImplementedError

    with pytest.raises(
        ConfigurationError, match=r"odd at .*: parameter 'what' fits nothing.*'socke"
    ):
        app.websocket("/")(odd)
    with pytest.raises(ConfigurationError, match=r"the path has \{room\}"):

        @app.websocket("/{room}")
        async def chat(socket: WebSocket) -> None:
            raise NotImplementedError


def test_a_socket_is_not_for_a_plain_route() -> None:
    app = App()
    with pytest.raises(ConfigurationError, match="parameter 's' fits nothing"):

        @app.get("/")
        async def page(s: WebSocket) -> None:
            raise NotImplementedError


def test_a_plain_def_is_refused() -> None:
    app = App()

    def plain(socket: WebSocket) -> None:
        raise NotImplementedError

    async def generator(socket: WebSocket) -> AsyncIterator[str]:
        yield "x"

    for endpoint in (plain, generator):
        with pytest.raises(ConfigurationError, match="write a WebSocket endpoint as async def"):
            app.websocket("/")(endpoint)


def test_an_origin_is_checked_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"origins: .*got 'example\.org'"):
        App().websocket("/", origins=["example.org"])


def test_a_path_has_one_route_for_get() -> None:
    app = App()

    @app.get("/a")
    async def page() -> str:
        raise NotImplementedError

    @app.websocket("/a")
    async def chat(socket: WebSocket) -> None:
        raise NotImplementedError

    with pytest.raises(RouteConflict, match=r"GET /a \(page at .*\) and WEBSOCKET /a \(chat at"):
        app.freeze()


async def test_other_methods_may_share_the_path() -> None:
    app = App()

    @app.post("/a")
    async def post() -> str:
        return "posted"

    @app.websocket("/a")
    async def chat(socket: WebSocket) -> None:
        await socket.send("hello")

    async with app.test_client() as client:
        assert (await client.post("/a")).text == "posted"
        assert (await client.get("/a")).status_code == 426
        assert (await client.head("/a")).status_code == 426
        assert await first_of(client, "/a") == "hello"
        assert (await client.put("/a")).headers["allow"] == "GET, HEAD, OPTIONS, POST"


def test_without_the_extra_its_name_is_told() -> None:
    program = (
        "import sys\n"
        "sys.modules['websockets'] = None\n"
        "from microweb import App, Router, WebSocket\n"
        "app = App()\n"
        "async def chat(socket: WebSocket): ...\n"
        "try:\n"
        "    app.websocket('/')(chat)\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
        "router = Router()\n"
        "router.websocket('/')(chat)\n"
        "app.include(router)\n"
        "try:\n"
        "    app.freeze()\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", timeout=60
    )
    line = "MissingExtra a WebSocket needs an extra: pip install 'microweb[websockets]'\n"
    assert (done.stdout, done.stderr) == (2 * line, "")


# --- mounting


async def test_routers_and_mounted_apps_have_sockets_too() -> None:
    inner, router, app = App(), Router("/rooms", name="rooms"), App()
    order: list[str] = []

    def noting(name: str) -> Callable[..., Awaitable[object]]:
        async def note(request: Request, call_next: Callable[..., Awaitable[Response]]) -> object:
            order.append(name)
            response = await call_next(request)
            order.append(f"{name} {response.status}")
            return response

        return note

    app.use(noting("app"))
    inner.use(noting("inner"))

    @inner.websocket("/chat", name="chat", use=[noting("route")])
    async def chat(socket: WebSocket) -> None:
        request = socket.request
        await socket.send(f"{request.prefix} {request.path} {request.url_for('chat')}")

    @router.websocket("/{room}")
    async def enter(socket: WebSocket, room: str) -> None:
        await socket.send(room)

    app.mount("/live", inner)
    app.include(router)
    async with app.test_client() as client:
        assert await first_of(client, "/live/chat") == "/live /chat /live/chat"
        assert order == ["app", "inner", "route", "route 101", "inner 101", "app 101"]
        assert await first_of(client, "/rooms/a") == "a"
        assert app.url_for("rooms.enter", room="b") == "/rooms/b"


async def test_middleware_that_comes_with_it_lets_a_handshake_through() -> None:
    app = App()
    for middleware in (
        CORS("https://example.org"),
        SecurityHeaders(),
        RequestID(),
        Timeout(5),
        Compression(),
        ConditionalGet(),
        Sessions("0123456789abcdefghijklmnopqrstuv"),
    ):
        app.use(middleware)

    @app.websocket("/", origins="*")
    async def endpoint(socket: WebSocket) -> None:
        session = socket.request.session
        session["visits"] = session.get("visits", 0) + 1
        await socket.send(str(session["visits"]))

    headers = {"Origin": "https://example.org", "Accept-Encoding": "gzip"}
    async with app.test_client(headers=headers, base_url="https://testserver") as client:
        for visit in ("1", "2"):
            async with client.websocket("/") as socket:
                assert socket.response.status_code == 101
                assert await socket.receive() == visit


async def test_origins_are_the_routes() -> None:
    app = App()

    @app.websocket("/own")
    async def own(socket: WebSocket) -> None:
        await socket.send("own")

    @app.websocket("/shared", origins=["https://example.org"])
    async def shared(socket: WebSocket) -> None:
        await socket.send("shared")

    headers = {"Origin": "https://example.org"}
    async with app.test_client(headers=headers) as client:
        assert await first_of(client, "/shared") == "shared"
        with pytest.raises(HandshakeRefused, match="403"):
            await first_of(client, "/own")


# --- shown


def test_the_table_of_routes_says_websocket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("chatting.py").write_text(
        "from microweb import App, WebSocket\n"
        "app = App()\n"
        "@app.websocket('/chat')\n"
        "async def chat(socket: WebSocket): ...\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    main(["routes", "chatting.py"])
    _, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["WEBSOCKET", "/chat", "chat", "chatting.chat", "chatting.py:3"]


async def test_the_page_of_a_miss_says_websocket() -> None:
    app = App(debug=True)

    @app.websocket("/chat")
    async def chat(socket: WebSocket) -> None:
        raise NotImplementedError

    async with app.test_client(raise_errors=False) as client:
        assert "WEBSOCKET  /chat" in (await client.get("/chta")).text


async def test_debug_does_not_hint_at_what_an_endpoint_returns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App(debug=True)
    caplog.set_level(logging.INFO)

    @app.websocket("/")
    async def chat(socket: WebSocket):  # type: ignore[no-untyped-def]
        await socket.send("x")

    async with app.test_client() as client:
        await first_of(client, "/")
    assert not caplog.records


def test_names_of_other_frameworks_say_ours() -> None:
    with pytest.raises(AttributeError, match=r"await socket\.receive\(\)"):
        WebSocket.receive_text  # type: ignore[attr-defined]  # noqa: B018
