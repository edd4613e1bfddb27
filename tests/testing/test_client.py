"""The testing module, by the tests that an application would have."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator
from contextvars import ContextVar

import httpx
import pytest

from microweb import App, ConfigurationError, Request, Response, abort
from microweb.testing.client import LiveServer, MemoryTransport, Misbehaving, live_server

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Broken(Exception):
    """What an endpoint of these tests raises."""


@pytest.fixture
def app() -> App:
    app = App()

    @app.get("/")
    async def hello() -> str:
        return "hello"

    @app.get("/port")
    async def port(request: Request) -> str:
        assert request.client is not None
        return str(request.client.port)

    @app.post("/echo")
    async def echo(request: Request) -> bytes:
        return await request.body()

    @app.get("/broken")
    async def broken() -> str:
        raise Broken("as told")

    return app


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


async def test_second_request_reuses_the_connection(app: App) -> None:
    async with app.test_client() as client:
        ports = [(await client.get("/port")).text for _ in range(3)]
    assert len(set(ports)) == 1


async def test_concurrent_requests_have_connections_of_their_own(app: App) -> None:
    met = asyncio.Barrier(3)

    @app.get("/meet")
    async def meet(request: Request) -> str:
        await met.wait()
        return str(request.peer)

    async with app.test_client() as client:
        responses = await asyncio.gather(*(client.get("/meet") for _ in range(3)))
    assert len({response.text for response in responses}) == 3


async def test_connection_that_the_server_closed_is_not_used_again(app: App) -> None:
    async with app.test_client() as client:
        first = await client.get("/port", headers={"Connection": "close"})
        second = await client.get("/port")
    assert first.text != second.text


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


# --- streams


async def test_response_is_streamed_piece_by_piece(app: App) -> None:
    go_on = asyncio.Event()

    @app.get("/count")
    async def count() -> AsyncIterator[str]:
        yield "one"
        await go_on.wait()
        yield "two"

    async with app.test_client() as client, client.stream("GET", "/count") as response:
        pieces = response.aiter_text()
        assert await anext(pieces) == "one"
        go_on.set()  # only now: with buffering in between, the first piece would never come
        assert await anext(pieces) == "two"


async def test_upload_is_streamed_piece_by_piece(app: App) -> None:
    arrived = asyncio.Event()

    @app.post("/upload")
    async def upload(request: Request) -> list[str]:
        pieces = []
        async for piece in request.stream():
            pieces.append(piece.decode())
            arrived.set()
        return pieces

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        await arrived.wait()
        yield b"two"

    async with app.test_client() as client:
        response = await client.post("/upload", content=pieces())
    assert response.request.headers["transfer-encoding"] == "chunked"
    assert response.json() == ["one", "two"]


async def test_megabytes_go_both_ways(app: App) -> None:
    content = bytes(range(256)) * 20_000
    async with app.test_client() as client:
        response = await client.post("/echo", content=content)
    assert response.content == content


async def test_endless_stream_is_held_back_and_ends_with_the_client(app: App) -> None:
    sent = 0
    is_closed = asyncio.Event()

    @app.get("/endless")
    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        try:
            while sent < 1000:  # without back pressure the client would not run before the end
                sent += 1
                yield bytes(65536)
        finally:
            is_closed.set()

    async with app.test_client() as client:
        async with client.stream("GET", "/endless") as response:
            assert len(await anext(response.aiter_raw())) > 0
        await is_closed.wait()
    assert sent < 10


async def test_early_answer_to_a_large_upload_is_heard(app: App) -> None:
    @app.post("/small", max_body=10)
    async def small(request: Request) -> bytes:
        return await request.body()

    async with app.test_client() as client:
        response = await client.post("/small", content=bytes(5_000_000))
    assert response.status_code == 413


async def test_slow_endpoint_is_a_read_timeout(app: App) -> None:
    @app.get("/never")
    async def never() -> None:
        await asyncio.Event().wait()

    async with app.test_client() as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/never", timeout=0.01)


async def test_server_that_does_not_read_is_a_write_timeout(app: App) -> None:
    @app.post("/never")
    async def never() -> None:
        await asyncio.Event().wait()

    async with app.test_client() as client:
        with pytest.raises(httpx.WriteTimeout):
            await client.post("/never", content=bytes(1_000_000), timeout=0.01)


# --- errors


async def test_error_of_an_endpoint_comes_out_of_the_await(app: App) -> None:
    raised = Broken("this very one")

    @app.get("/raise")
    async def fail() -> None:
        raise raised

    async with app.test_client() as client:
        with pytest.raises(Broken) as caught:
            await client.get("/raise")
        assert (await client.get("/")).text == "hello"
    assert caught.value is raised
    assert "fail" in [entry.name for entry in caught.traceback]


async def test_error_of_a_middleware_comes_out_of_the_await(app: App) -> None:
    @app.middleware
    async def fail(request: Request, call_next: object) -> Response:
        raise Broken("in front")

    async with app.test_client() as client:
        with pytest.raises(Broken, match="in front"):
            await client.get("/")


async def test_without_raise_errors_it_is_a_500(app: App) -> None:
    async with app.test_client(raise_errors=False) as client:
        response = await client.get("/broken")
    assert response.status_code == 500
    assert "as told" not in response.text


async def test_error_that_a_handler_answers_is_not_raised(app: App) -> None:
    @app.errorhandler(Broken)
    async def mend(error: Broken) -> tuple[str, int]:
        return f"mended: {error}", 409

    async with app.test_client() as client:
        response = await client.get("/broken")
    assert (response.status_code, response.text) == (409, "mended: as told")


@pytest.mark.parametrize("status", [404, 500])
async def test_http_error_is_an_answer(app: App, status: int) -> None:
    @app.get("/abort")
    async def give_up() -> None:
        abort(status)

    async with app.test_client() as client:
        assert (await client.get("/abort")).status_code == status


async def test_returned_500_is_not_raised(app: App) -> None:
    @app.get("/returned")
    async def returned() -> tuple[str, int]:
        return "sorry", 500

    async with app.test_client() as client:
        assert (await client.get("/returned")).text == "sorry"


async def test_error_inside_a_stream_comes_out_of_its_iteration(app: App) -> None:
    @app.get("/cut")
    async def cut() -> AsyncIterator[str]:
        yield "begun"
        raise Broken("half-way")

    async with app.test_client() as client:
        with pytest.raises(Broken, match="half-way"):
            await client.get("/cut")
    async with app.test_client(raise_errors=False) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/cut")


async def test_answer_that_http_cannot_carry_is_raised(app: App) -> None:
    @app.get("/length")
    async def length() -> Response:
        return Response(b"four", headers={"Content-Length": "5"})

    async with app.test_client() as client:
        with pytest.raises(Exception, match="Content-Length"):
            await client.get("/length")


# --- lifespan


def with_lifespan(events: list[str]) -> App:
    app = App()

    @app.lifespan
    async def life(app: App) -> AsyncIterator[dict[str, int]]:
        events.append("enter")
        yield {"answer": 42}
        events.append("leave")

    @app.get("/")
    async def show() -> str:
        events.append("request")
        return str(getattr(app.state, "answer", None))

    return app


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


async def test_failing_startup_comes_out_of_async_with(app: App) -> None:
    @app.on_startup
    async def fail() -> None:
        raise Broken("no database")

    before = asyncio.all_tasks()
    with pytest.raises(Broken, match="no database"):
        async with app.test_client():
            pass
    assert asyncio.all_tasks() == before


async def test_failing_startup_is_tried_again_by_the_next_request(app: App) -> None:
    is_ready = False

    @app.on_startup
    async def start() -> None:
        if not is_ready:
            raise Broken("not yet")

    client = app.test_client()
    with pytest.raises(Broken):
        await client.get("/")
    is_ready = True
    assert (await client.get("/")).text == "hello"
    await client.aclose()


async def test_failing_shutdown_comes_out_of_async_with(app: App) -> None:
    @app.on_shutdown
    async def fail() -> None:
        raise Broken("not saved")

    with pytest.raises(Broken, match="not saved"):
        async with app.test_client() as client:
            await client.get("/")


async def test_lifespan_is_left_by_the_task_that_entered_it(app: App) -> None:
    @app.lifespan
    async def life(app: App) -> AsyncIterator[None]:
        async with asyncio.timeout(10):  # refuses to be left by another task
            yield

    client = app.test_client()
    await asyncio.create_task(client.__aenter__())
    assert (await client.get("/")).text == "hello"
    await asyncio.create_task(client.aclose())


def test_one_app_serves_many_loops() -> None:
    events: list[str] = []
    app = with_lifespan(events)

    async def ask() -> str:
        async with app.test_client() as client:
            return (await client.get("/")).text

    assert [asyncio.run(ask()) for _ in range(2)] == ["42", "42"]
    assert events == ["enter", "request", "leave"] * 2


def test_client_that_was_not_closed_serves_the_next_loop(app: App) -> None:
    client = app.test_client()

    async def ask() -> str:
        return (await client.get("/")).text

    assert [asyncio.run(ask()) for _ in range(2)] == ["hello", "hello"]
    asyncio.run(client.aclose())


# --- raw and MemoryTransport


async def test_raw_returns_the_answers_to_pipelined_requests(app: App) -> None:
    async with app.test_client() as client:
        answers = await client.raw(GET * 3)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert answers.endswith(b"\r\n\r\nhello")


async def test_raw_reads_while_it_sends(app: App) -> None:
    @app.get("/large")
    async def large() -> bytes:
        return bytes(100_000)

    request = GET.replace(b"/ ", b"/large ") * 3000
    async with app.test_client() as client:
        answers = await client.raw(request)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 3000


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


async def test_memory_transport_is_for_any_httpx_client(app: App) -> None:
    transport = MemoryTransport(app, max_body=4)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        assert (await client.post("/echo", content=b"four")).text == "four"
        assert (await client.post("/echo", content=b"fifth")).status_code == 413


async def test_memory_transport_can_be_used_again() -> None:
    events: list[str] = []
    transport = MemoryTransport(with_lifespan(events))
    for _ in range(2):
        async with httpx.AsyncClient(transport=transport) as client:
            await client.get("http://testserver/")
    assert events == ["enter", "request", "leave"] * 2


async def test_unknown_scheme_is_an_error_of_httpx(app: App) -> None:
    async with app.test_client() as client:
        with pytest.raises(httpx.UnsupportedProtocol):
            await client.get("ftp://testserver/")


def test_unknown_option_is_a_configuration_error(app: App) -> None:
    with pytest.raises(ConfigurationError, match="max_bodies"):
        MemoryTransport(app, max_bodies=1)  # type: ignore[call-arg]


# --- live_server


def fetch(server: LiveServer, path: str) -> bytes:
    with urllib.request.urlopen(f"{server.url}{path}", timeout=10) as response:
        return bytes(response.read())


def test_live_server_serves_a_browser() -> None:
    events: list[str] = []
    with live_server(with_lifespan(events)) as server:
        assert server.url == f"http://{server.host}:{server.port}"
        assert fetch(server, "/") == b"42"
    assert events == ["enter", "request", "leave"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port), timeout=10)


def test_live_server_leaves_no_thread(app: App) -> None:
    before = set(threading.enumerate())
    with live_server(app) as server:
        fetch(server, "/")
    assert set(threading.enumerate()) <= before


def test_live_server_outlives_an_exit_in_a_task() -> None:
    app = App()

    @app.get("/")
    async def index() -> str:
        async def leave() -> None:
            sys.exit(3)

        leaving = asyncio.create_task(leave())
        await asyncio.wait([leaving])
        return repr(leaving.exception())

    with live_server(app) as server:
        for _ in range(2):
            with urllib.request.urlopen(server.url, timeout=5) as answer:
                assert answer.read() == b"SystemExit(3)"


def test_live_server_raises_what_startup_raises(app: App) -> None:
    @app.on_startup
    async def fail() -> None:
        raise Broken("no database")

    with pytest.raises(Broken, match="no database"), live_server(app):
        raise AssertionError("unreachable")


def test_live_server_raises_what_shutdown_raises(app: App) -> None:
    @app.on_shutdown
    async def fail() -> None:
        raise Broken("not saved")

    with pytest.raises(Broken, match="not saved"), live_server(app) as server:
        fetch(server, "/")


def test_live_server_says_that_a_port_is_taken(app: App) -> None:
    with live_server(app) as first:
        second = live_server(app, host=first.host, port=first.port)
        with pytest.raises(ConfigurationError, match="in use"), second:
            raise AssertionError("unreachable")


def test_live_server_stops_when_the_block_raises(app: App) -> None:
    with pytest.raises(Broken), live_server(app) as server:
        raise Broken
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port), timeout=10)


def test_live_server_stops_in_spite_of_a_client_that_stays(app: App) -> None:
    with live_server(app) as server:
        peer = socket.create_connection((server.host, server.port), timeout=10)
        peer.sendall(GET)
        assert peer.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    with peer:
        assert peer.recv(65536) == b""


# --- Misbehaving


async def test_dripped_request_is_answered(app: App) -> None:
    with live_server(app) as server:
        async with Misbehaving(server.host, server.port) as peer:
            await peer.drip(GET, interval_s=0.001)
            assert (await peer.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
            assert await peer.receive() == b"hello"


async def test_half_closed_peer_gets_its_answer(app: App) -> None:
    with live_server(app) as server:
        async with Misbehaving(server.host, server.port) as peer:
            await peer.send(GET * 2)
            await peer.half_close()
            assert (await peer.read_all()).count(b"HTTP/1.1 200 OK\r\n") == 2


async def test_read_until_keeps_what_comes_behind(app: App) -> None:
    with live_server(app) as server:
        async with Misbehaving(server.host, server.port) as peer:
            await peer.send(GET * 2)
            for _ in range(2):
                assert (await peer.read_until(b"hello")).endswith(b"\r\n\r\nhello")


def with_endless_stream() -> tuple[App, threading.Event]:
    app, is_closed = App(), threading.Event()

    @app.get("/")
    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(65536)
        finally:
            is_closed.set()

    return app, is_closed


async def test_reset_ends_a_stream() -> None:
    app, is_closed = with_endless_stream()
    with live_server(app) as server:
        async with Misbehaving(server.host, server.port) as peer:
            await peer.send(GET)
            assert await peer.receive()
            await peer.reset()
        assert await asyncio.to_thread(is_closed.wait, 10)


async def test_peer_that_reads_nothing_is_cut_off() -> None:
    app, is_closed = with_endless_stream()
    with live_server(app, write_timeout_s=0.01) as server:
        async with Misbehaving(server.host, server.port) as peer:
            await peer.read_nothing()
            await peer.send(GET)
            assert await asyncio.to_thread(is_closed.wait, 10)


async def test_peer_gives_up_after_its_timeout(app: App) -> None:
    with live_server(app) as server:
        async with Misbehaving(server.host, server.port, timeout_s=0.01) as peer:
            with pytest.raises(TimeoutError):
                await peer.receive()


async def test_peer_that_cannot_connect_says_so(app: App) -> None:
    with live_server(app) as server:
        pass
    with pytest.raises(ConnectionRefusedError):
        async with Misbehaving(server.host, server.port):
            raise AssertionError("unreachable")


# --- the extra


@pytest.mark.parametrize("package", ["httpx", "httpcore"])
def test_without_httpx_the_command_that_mends_it_is_named(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from microweb import App; "
    code += "App().test_client()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert "MissingExtra: microweb.testing needs an extra" in run.stderr
    assert "pip install 'microweb[testing]'" in run.stderr
