"""WSGI applications as applications of a server: threads, errors, stops."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from support.serving import DEADLINE_S, QUICK_S, on_loopback, peer_of, statuses
from support.wsgi import (
    TEXT,
    Environ,
    answer_of,
    answering,
    ask,
    body_of,
    get,
    post,
    serving,
    until,
)

from microweb import WSGI, App, ConfigurationError, Request, Response
from microweb.concurrency.threads import running_pools
from microweb.interop.wsgi_answer import StartResponse
from microweb.request import Handler
from microweb.server.state import refuse_plainly


async def test_an_application_is_served_without_an_app() -> None:
    answer = await answer_of(WSGI(answering()), get("/x"))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body_of(answer) == b"hello\n"


async def test_a_connection_serves_one_request_after_another() -> None:
    async with serving(answering()) as server, peer_of(server) as peer:
        one = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        await peer.send(one * 3 + get())
        assert statuses(await peer.read_all()) == [200] * 4


async def test_two_requests_run_at_once() -> None:
    both = threading.Barrier(2)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        both.wait(DEADLINE_S)
        start_response("200 OK", TEXT)
        return [threading.current_thread().name.encode()]

    async with serving(app) as server:
        answers = await asyncio.gather(ask(server, get()), ask(server, get()))
    first, second = map(body_of, answers)
    assert first != second


async def test_requests_wait_for_a_thread() -> None:
    running, most = set[int](), [0]

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        running.add(threading.get_ident())
        most[0] = max(most[0], len(running))
        start_response("200 OK", TEXT)
        yield b"x" * 10
        running.remove(threading.get_ident())

    async with serving(app, threads=2) as server:
        answers = await asyncio.gather(*(ask(server, get()) for _ in range(20)))
    assert {body_of(each) for each in answers} == {b"x" * 10}
    assert most[0] <= 2


async def test_an_error_is_a_500_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def broken(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        raise KeyError("secret")

    answer = await answer_of(broken, get("/x"))
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answer
    (record,) = (each for each in caplog.records if each.levelno >= logging.ERROR)
    assert record.getMessage() == "GET /x failed"
    assert "broken" in caplog.text


@pytest.mark.parametrize(
    "error", [StopIteration, GeneratorExit, SystemExit, asyncio.CancelledError]
)
async def test_an_error_of_any_kind_ends_only_its_request(error: type[BaseException]) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/bad":
            raise error
        start_response("200 OK", TEXT)
        return [b"good"]

    async with serving(app) as server:
        assert (await ask(server, get("/bad"))).startswith(b"HTTP/1.1 500 ")
        assert body_of(await ask(server, get("/"))) == b"good"


async def test_the_thread_has_the_context_of_the_request() -> None:
    user: ContextVar[str] = ContextVar("user")

    def whoami(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return [user.get().encode()]

    app = App()

    @app.middleware
    async def log_in(request: Request, call_next: Handler) -> Response:
        user.set("ann")
        return await call_next(request)

    app.mount("/old", WSGI(whoami))
    assert body_of(await answer_of(app, get("/old/"))) == b"ann"


async def test_a_body_that_is_not_read_does_not_harm_the_next_request() -> None:
    async with serving(answering()) as server, peer_of(server) as peer:
        upload = (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n" + b"GET / " * 333 + b"xx"
        )
        await peer.send(upload + get())
        assert statuses(await peer.read_all()) == [200, 200]


async def test_an_upload_of_a_large_body_that_is_not_read_is_answered() -> None:
    app = answering(status="403 Forbidden")
    async with serving(app) as server:
        answer = await ask(server, post(b"x" * 5_000_000))
    assert answer.startswith(b"HTTP/1.1 403 ")


# --- clients that leave ---------------------------------------------------------------


async def test_a_get_whose_client_has_left_is_not_begun() -> None:
    """It waits for the only thread."""
    begun, go_on, paths = threading.Event(), threading.Event(), list[str]()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        paths.append(environ["PATH_INFO"])
        begun.set()
        assert go_on.wait(DEADLINE_S)
        start_response("200 OK", TEXT)
        return [b"ok"]

    async with serving(app, threads=1) as server, peer_of(server) as first:
        await first.send(get("/first"))
        await until(begun)
        async with peer_of(server) as second:
            await second.send(get("/second"))
            async with asyncio.timeout(DEADLINE_S):
                while running_pools().application._unfinished < 2:
                    await asyncio.sleep(QUICK_S)
            await second.reset()
            async with asyncio.timeout(DEADLINE_S):
                while len(server.connections) > 1:
                    await asyncio.sleep(QUICK_S)
        go_on.set()
        assert body_of(await first.read_all()) == b"ok"
        assert body_of(await ask(server, get("/third"))) == b"ok"
    assert paths == ["/first", "/third"]


async def test_a_post_whose_client_has_left_is_finished() -> None:
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        begun.set()
        assert go_on.wait(DEADLINE_S)
        start_response("200 OK", TEXT)
        done.set()
        return [b"ok"]

    async with serving(app) as server:
        async with peer_of(server) as peer:
            await peer.send(post(b"abc"))
            await until(begun)
            await peer.reset()
        go_on.set()
        await until(done)


# --- a stop ---------------------------------------------------------------------------


async def test_a_stop_waits_for_the_answer_and_its_close() -> None:
    begun, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        def __iter__(self) -> Iterator[bytes]:
            begun.set()
            assert go_on.wait(DEADLINE_S)
            yield b"last"

        def close(self) -> None:
            closed.set()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return Slow()

    async with on_loopback(WSGI(app), grace_s=DEADLINE_S) as server, peer_of(server) as peer:
        await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(begun)
        stopping = asyncio.create_task(server.stop(silence_s=0.0))
        async with asyncio.timeout(DEADLINE_S):
            while not server.state.is_stopping:
                await asyncio.sleep(0)
        go_on.set()
        answer = await peer.read_all()
        await stopping
    assert body_of(answer) == b"last"
    assert b"\r\nConnection: close\r\n" in answer
    assert closed.is_set()


async def test_a_stop_ends_an_endless_answer() -> None:
    closed = threading.Event()

    def endless(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        try:
            while True:
                yield b"x" * 65536
        finally:
            closed.set()

    async with on_loopback(WSGI(endless), grace_s=0.1) as server, peer_of(server) as peer:
        await peer.send(get())
        await peer.read_until(b"\r\n\r\n")
        await server.stop(silence_s=0.0)
        assert closed.is_set()


async def test_a_stop_ends_a_read_of_a_body() -> None:
    begun, failed = threading.Event(), threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        begun.set()
        try:
            environ["wsgi.input"].read(10**8)
        except OSError:
            failed.set()
            raise
        return []

    async with on_loopback(WSGI(app), grace_s=0.1) as server, peer_of(server) as peer:
        body = b"x" * 2_000_000
        await peer.send(post(body, f"Content-Length: {len(body) + 1}"))
        await until(begun)
        await server.stop(silence_s=0.0)
        assert failed.is_set()


# --- the class ------------------------------------------------------------------------


@pytest.mark.parametrize("app", [None, 1, "app:app", lambda: None, lambda environ: None])
def test_an_application_takes_two_arguments(app: Any) -> None:
    with pytest.raises(ConfigurationError, match="a WSGI application"):
        WSGI(app)


async def test_bytes_that_are_no_request_are_refused() -> None:
    answer = await answer_of(WSGI(answering()), b"GET / HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert body_of(answer) == (await refuse_plainly_400())


async def refuse_plainly_400() -> bytes:
    from microweb.errors import MalformedRequest

    return (await refuse_plainly(MalformedRequest("no Host", b""))).body


def test_it_is_never_in_debug_mode() -> None:
    assert not WSGI(answering()).is_debugging
