"""WebSocket routes and their endpoints: from registration to the end of the connection."""

from __future__ import annotations

import asyncio
import functools
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path

import pytest
from support.serving import settle, statuses
from support.websocketing import (
    ENDED,
    close_frame,
    closed,
    echo,
    handshake,
    masked,
    serving,
    text,
    wait_for_ever,
    wait_for_ever_in,
)

from microweb import (
    App,
    ClientDisconnected,
    ConfigurationError,
    Request,
    Response,
    Router,
    WebSocket,
    abort,
)
from microweb.cli import main
from microweb.endpoints.signature import inspect_endpoint
from microweb.errors import LocalProtocolError, RouteConflict
from microweb.middleware.compression import Compression
from microweb.middleware.conditional import ConditionalGet
from microweb.middleware.cors import CORS
from microweb.middleware.request_id import RequestID
from microweb.middleware.security import SecurityHeaders
from microweb.middleware.sessions import Sessions
from microweb.middleware.timeout import Timeout
from microweb.testing.client import TestClient
from microweb.testing.websocket import HandshakeRefused
from microweb.websocket.endpoint import answering, bind_socket


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
        ConfigurationError, match=r"odd at .*: parameter 'what' has no source.*'socke"
    ):
        app.websocket("/")(odd)
    with pytest.raises(ConfigurationError, match=r"the path has \{room\}"):

        @app.websocket("/{room}")
        async def chat(socket: WebSocket) -> None:
            raise NotImplementedError


def test_a_socket_is_not_for_a_plain_route() -> None:
    app = App()
    with pytest.raises(ConfigurationError, match="parameter 's' has no source"):

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
    line = "MissingExtra a WebSocket needs the extra websockets: pip install 'websockets<18,>=17'\n"
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


# --- the handshake


async def test_before_the_first_use_it_is_an_ordinary_request() -> None:
    async def endpoint(socket: WebSocket) -> object:
        return {"not": "today"}, 503, {"Retry-After": "9"}

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        assert statuses(peer.head) == [503]
        assert b"Retry-After: 9" in peer.head


async def test_an_endpoint_that_never_uses_its_socket_is_403() -> None:
    async def endpoint(socket: WebSocket) -> None:
        return None

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        assert statuses(peer.head) == [403]


async def test_a_close_before_the_handshake_is_403() -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.close()
        with pytest.raises(ClientDisconnected, match="before it was accepted"):
            await socket.send("x")
        assert socket.close_code is None

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        assert statuses(peer.head) == [403]


async def test_what_is_raised_before_is_an_ordinary_answer() -> None:
    async def endpoint(socket: WebSocket) -> None:
        abort(401, "who are you?", headers={"WWW-Authenticate": "Basic"})

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        assert statuses(peer.head) == [401]
        assert b"WWW-Authenticate: Basic" in peer.head


async def test_a_fault_before_is_logged_once_and_a_500(caplog: pytest.LogCaptureFixture) -> None:
    async def endpoint(socket: WebSocket) -> None:
        raise RuntimeError("secret")

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        assert statuses(peer.head) == [500]
        assert b"secret" not in peer.head
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("microweb.error", "GET /ws failed")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n", 426),
        (handshake(Sec_WebSocket_Version="8"), 426),
        (handshake(Sec_WebSocket_Key="x"), 400),
        (handshake(method="POST", Content_Length="0"), 405),
        (handshake(version="1.0"), 426),
        (handshake(Origin="http://evil"), 403),
        (handshake("/ws", "Sec-WebSocket-Extensions: ;"), 400),
    ],
)
async def test_what_is_no_handshake_never_reaches_the_endpoint(
    request_: bytes, status: int
) -> None:
    async def endpoint(socket: WebSocket) -> None:
        raise AssertionError("it was called")

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(request_)
        assert statuses(peer.head) == [status]
        if status == 426:
            assert b"Upgrade: websocket\r\n" in peer.head
            assert b"Connection: Upgrade\r\n" in peer.head or b"HTTP/1.0" in request_
            assert b"Sec-WebSocket-Version: 13" in peer.head


async def test_a_subprotocol_of_those_that_are_offered() -> None:
    async def endpoint(socket: WebSocket) -> None:
        assert socket.subprotocols == ("a", "b")
        assert socket.subprotocol is None
        with pytest.raises(LocalProtocolError, match="'c'"):
            await socket.accept("c")
        await socket.accept("b")
        await socket.send(str(socket.subprotocol))
        with pytest.raises(LocalProtocolError, match="accepted already"):
            await socket.accept("a")

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake("/ws", "Sec-WebSocket-Protocol: a, b"))
        assert b"\r\nSec-WebSocket-Protocol: b\r\n" in peer.head
        assert await peer.frame() == text("b")


async def test_no_subprotocol_is_said_where_none_was_chosen() -> None:
    async with serving(echo) as (_, peer):
        await peer.shake_hands(handshake("/ws", "Sec-WebSocket-Protocol: a, b"))
        assert b"sec-websocket-protocol" not in peer.head.lower()


async def test_headers_of_the_endpoint_and_of_middleware_are_on_the_101() -> None:
    app = App()

    @app.after_request
    async def mark(request: Request, response: Response) -> None:
        assert response.status == 101
        response.headers["X-Middleware"] = "yes"
        response.set_cookie("seen", "1")

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept(headers={"X-Endpoint": "yes"})

    async with serving(endpoint, app) as (_, peer):
        await peer.shake_hands(handshake())
        assert b"X-Middleware: yes\r\n" in peer.head
        assert b"X-Endpoint: yes\r\n" in peer.head
        assert b"Set-Cookie: seen=1; Path=/; HttpOnly; SameSite=Lax" in peer.head


@pytest.mark.parametrize(
    "name", ["Connection", "upgrade", "Content-Length", "Sec-WebSocket-Accept"]
)
async def test_the_handshakes_own_fields_are_its_own(name: str) -> None:
    async def endpoint(socket: WebSocket) -> None:
        with pytest.raises(LocalProtocolError, match=f"the handshake sets '{name}'"):
            await socket.accept(headers={name: "x"})
        with pytest.raises(LocalProtocolError, match="control characters"):
            await socket.accept(headers={"X": "a\r\nb"})
        await socket.send("still")

    async with serving(endpoint) as (_, peer):
        await peer.shake_hands(handshake())
        assert await peer.frame() == text("still")


@pytest.mark.parametrize("fails", [True, False])
async def test_middleware_may_answer_something_else(
    fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app, ended = App(), []

    @app.middleware
    async def refuse(request: Request, call_next: Callable[..., Awaitable[Response]]) -> object:
        await call_next(request)
        if fails:
            raise RuntimeError("broken middleware")
        return "no", 418

    async def endpoint(socket: WebSocket) -> None:
        try:
            await socket.accept()
        except ClientDisconnected:
            ended.append("told")
            raise

    async with serving(endpoint, app) as (_, peer):
        await peer.shake_hands(handshake())
        assert statuses(peer.head) == [500 if fails else 418]
        await settle()
        assert ended == ["told"]
    assert len(caplog.records) == fails


async def test_what_fails_when_middleware_answered_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App()

    @app.middleware
    async def refuse(request: Request, call_next: Callable[..., Awaitable[Response]]) -> object:
        await call_next(request)
        return "no", 418

    async def endpoint(socket: WebSocket) -> None:
        try:
            await socket.accept()
        finally:
            raise RuntimeError("on the way out")

    async with serving(endpoint, app) as (_, peer):
        await peer.shake_hands(handshake())
        await settle()
    (record,) = caplog.records
    assert record.getMessage() == "GET /ws failed"


async def test_where_no_more_background_work_is_taken_the_endpoint_ends() -> None:
    seen: list[object] = []

    async def endpoint(socket: WebSocket) -> None:
        with pytest.raises(ClientDisconnected):
            await socket.accept()
        seen.append("told")

    async with serving(endpoint, max_background_tasks=1) as (house, peer):
        running = house.server.background.spawn(asyncio.Event().wait())
        await peer.shake_hands(handshake())
        assert statuses(peer.head) == [503]
        assert seen == ["told"]
        running.cancel()


async def test_a_client_that_left_before_the_handshake() -> None:
    ended = []

    async def endpoint(socket: WebSocket) -> None:
        await leaving.wait()
        with pytest.raises(ClientDisconnected):
            await socket.accept()
        ended.append(True)

    leaving = asyncio.Event()
    async with serving(endpoint) as (house, peer):
        await peer.end.write(handshake())
        await settle()
        house.connection.network.transport.abort()
        await house.pass_time(1)  # the endpoint of a GET would be cancelled
        assert not ended
        leaving.set()
        await settle()
        assert ended


async def test_context_variables_of_middleware_are_seen_throughout() -> None:
    user: ContextVar[str] = ContextVar("user")
    app = App()

    @app.middleware
    async def sign_in(request: Request, call_next: Callable[..., Awaitable[Response]]) -> object:
        user.set("ada")
        return await call_next(request)

    async def endpoint(socket: WebSocket) -> None:
        await socket.send(user.get())
        await socket.receive()
        await socket.send(user.get())

    async with serving(endpoint, app) as (_, peer):
        await peer.shake_hands(handshake())
        await peer.send(masked("go on"))
        assert [await peer.frame(), await peer.frame()] == [text("ada"), text("ada")]


async def test_a_cancellation_before_the_handshake_reaches_the_endpoint() -> None:
    app, ended = App(), []

    @app.middleware
    async def hurry(request: Request, call_next: Callable[..., Awaitable[Response]]) -> object:
        try:
            async with asyncio.timeout(0.001):
                return await call_next(request)
        except TimeoutError:
            return "too slow", 504

    async def endpoint(socket: WebSocket) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async with serving(endpoint, app) as (_, peer):
        await peer.shake_hands(handshake())
        assert statuses(peer.head) == [504]
        assert ended


async def test_an_endpoint_may_outlive_a_cancellation() -> None:
    app = App()

    @app.middleware
    async def hurry(request: Request, call_next: Callable[..., Awaitable[Response]]) -> object:
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        return await call_next(request)

    async def endpoint(socket: WebSocket) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await socket.send("all the same")

    async with serving(endpoint, app) as (_, peer):
        await peer.shake_hands(handshake())
        assert await peer.frame() == text("all the same")


# --- the server's stop


@pytest.mark.parametrize("use", ["send", "receive"])
@pytest.mark.parametrize("leave", ["close", "end"])
async def test_a_task_beside_the_endpoint_that_sees_the_end_leaves_it_watched(
    leave: str, use: str
) -> None:
    ENDED.clear()

    async def go_on(socket: WebSocket) -> None:
        with suppress(ClientDisconnected):
            while True:
                await (socket.send("tick") if use == "send" else socket.receive())
                await ticking.wait()

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        async with asyncio.TaskGroup() as group:
            group.create_task(go_on(socket))
            await wait_for_ever_in(socket)

    ticking = asyncio.Event()
    async with serving(endpoint) as (house, peer):
        await peer.shake_hands(handshake())
        if leave == "close":
            await peer.send(close_frame(1000))
        else:
            peer.end.write_eof()
        await settle()
        await house.pass_time(1)
        ticking.set()
        for _ in range(11):
            await house.pass_time(1)
        assert [1000 if leave == "close" else 1006] == ENDED
        assert not house.server.connections


@pytest.mark.parametrize("goes_on", [True, False])
async def test_an_endpoint_whose_send_fails_has_10_seconds_to_clean_up(goes_on: bool) -> None:
    ended: list[str] = []

    async def endpoint(socket: WebSocket) -> None:
        try:
            with suppress(ClientDisconnected):
                while True:
                    await socket.send("tick")
                    await asyncio.sleep(0)
            await going_on.wait()
            ended.append("cleaned up")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    going_on = asyncio.Event()
    async with serving(endpoint) as (house, peer):
        await peer.shake_hands(handshake())
        peer.end.close()
        for _ in range(10):
            await house.pass_time(1)
        assert not ended
        if goes_on:
            going_on.set()
            await settle()
        await house.pass_time(1)
        assert ended == ["cleaned up" if goes_on else "cancelled"]
        assert not house.server.connections


async def test_a_server_that_stops_closes_with_1001() -> None:
    seen: list[object] = []

    async def endpoint(socket: WebSocket) -> None:
        async for _ in socket:
            pass
        seen.append(socket.close_code)

    async with serving(endpoint, grace_s=5) as (house, peer):
        await peer.shake_hands(handshake())
        stopping = asyncio.create_task(house.server.stop(silence_s=0.0))
        assert await peer.frame() == closed(1001)
        assert not stopping.done()
        await peer.send(close_frame(1001))
        assert await peer.frame() is None
        await stopping
        assert seen == [1001]


async def test_a_server_that_is_stopping_says_so_at_once() -> None:
    async def endpoint(socket: WebSocket) -> None:
        await going_on.wait()
        await socket.accept()

    going_on = asyncio.Event()
    async with serving(endpoint, grace_s=5) as (house, peer):
        await peer.end.write(handshake())
        await settle()
        stopping = asyncio.create_task(house.server.stop(silence_s=0.0))
        await settle()
        going_on.set()
        await peer.shake_hands(b"")
        assert await peer.frame() == closed(1001)
        await peer.send(close_frame(1001))
        await stopping


async def test_an_endpoint_that_goes_on_is_cancelled_after_the_grace() -> None:
    ENDED.clear()
    async with serving(wait_for_ever, grace_s=0.01) as (house, peer):
        await peer.shake_hands(handshake())
        await house.server.stop(silence_s=0.0)
        assert ENDED == [1001]
        assert await peer.frame() == closed(1001)
        assert await peer.frame() is None


async def test_what_fails_while_it_is_cancelled_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("in the cleanup")

    async with serving(endpoint, grace_s=0.01) as (house, peer):
        await peer.shake_hands(handshake())
        await house.server.stop(silence_s=0.0)
    cut, failed = caplog.records
    assert cut.getMessage() == "GET /ws (route /ws) did not end within grace_s=0.01: cut"
    assert failed.getMessage() == "GET /ws failed"


async def test_an_endpoint_is_called_with_its_socket_and_values_of_the_request() -> None:
    async def chat(tag: str, socket: WebSocket) -> None:
        await socket.send(f"{tag} {socket.request.method}")

    app = App()
    app.get("/ws")(answering(bind_socket(inspect_endpoint(chat), {}), frozenset()))
    async with (
        app.test_client() as client,
        client.websocket("/ws", params={"tag": "a"}) as socket,
    ):
        assert await socket.receive() == "a GET"


def test_endpoint_without_a_parameter_for_the_socket_is_refused() -> None:
    async def chat() -> None:
        """Not called."""

    with pytest.raises(
        ConfigurationError, match=r"takes the socket: add a parameter, as in `async"
    ):
        App().websocket("/chat")(chat)
