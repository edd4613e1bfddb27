"""ASGI applications: the body of a request, whole and streamed answers, wrong messages."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from pathlib import Path

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
from support.serving import DEADLINE_S, on_loopback, peer_of, settle, statuses, until_none

from microweb import App
from microweb.interop.asgi_server import ASGI
from microweb.interop.asgi_types import ASGIApplication
from microweb.server.disconnects import HALF_CLOSED_S


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    received, pieces = b"", 0
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        received += message["body"]
        pieces += 1
        if not message["more_body"]:
            break
    await send(start())
    await send(body(received))


def post(content: bytes, *fields: str) -> bytes:
    length = f"Content-Length: {len(content)}"
    lines = ["POST / HTTP/1.1", "Host: a", "Connection: close", *(fields or (length,)), "", ""]
    return "\r\n".join(lines).encode() + content


async def test_a_whole_answer_has_a_length() -> None:
    answer = await answer_of(sending(start(201, [(b"X-A", b"1")]), body(b"hello")), get())
    assert answer.startswith(b"HTTP/1.1 201 Created\r\n")
    assert b"X-A: 1\r\n" in answer and b"Content-Length: 5\r\n" in answer
    assert body_of(answer) == b"hello"


async def test_a_streamed_answer_is_sent_in_chunks() -> None:
    app = sending(start(), body(b"a", more=True), body(b"b", more=True), body(b"c"))
    answer = await answer_of(app, get())
    assert b"Transfer-Encoding: chunked\r\n" in answer
    assert body_of(answer) == b"3\r\nabc\r\n0\r\n\r\n"


async def test_a_declared_length_is_kept() -> None:
    app = sending(start(headers=[(b"content-length", b"2")]), body(b"a", more=True), body(b"b"))
    answer = await answer_of(app, get())
    assert b"chunked" not in answer and body_of(answer) == b"ab"


@pytest.mark.parametrize("content", [b"", b"hello", b"x" * 300_000])
async def test_a_body_is_received(content: bytes) -> None:
    assert body_of(await answer_of(echo, post(content))) == content


async def test_a_chunked_body_is_received() -> None:
    chunks = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert body_of(await answer_of(echo, post(chunks, "Transfer-Encoding: chunked"))) == b"abcde"


async def test_a_slow_body_is_received_in_pieces() -> None:
    async with on_loopback(ASGI(echo)) as server, peer_of(server) as peer:
        whole = post(b"hello")
        for index in range(len(whole)):
            await peer.send(whole[index : index + 1])
        assert body_of(await peer.read_all()) == b"hello"


async def test_a_head_request_gets_no_body() -> None:
    head = get().replace(b"GET", b"HEAD")
    for app in (sending(start(), body(b"a")), sending(start(), body(b"a", more=True), body())):
        answer = await answer_of(app, head)
        assert statuses(answer) == [200] and body_of(answer) == b""


async def test_a_file_is_sent_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 700_000)
    app = sending(start(), {"type": "http.response.pathsend", "path": str(tmp_path / "a")})
    assert body_of(await answer_of(app, get())).count(b"x") == 700_000


async def test_a_file_may_be_deleted_once_it_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 3_000_000)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await send(start(206))
        await send({"type": "http.response.pathsend", "path": str(path)})
        path.unlink()

    answer = await answer_of(app, get())
    assert statuses(answer) == [206] and b"Content-Length: 3000000\r\n" in answer
    assert body_of(answer).count(b"x") == 3_000_000


async def test_a_head_request_gets_the_length_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello")
    app = sending(start(), {"type": "http.response.pathsend", "path": str(tmp_path / "a")})
    answer = await answer_of(app, get().replace(b"GET", b"HEAD"))
    assert b"Content-Length: 5\r\n" in answer and body_of(answer) == b""


async def test_a_file_with_trailers_is_sent_in_chunks(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello")
    file = {"type": "http.response.pathsend", "path": str(tmp_path / "a")}
    trailers = {"type": "http.response.trailers", "headers": [(b"x-digest", b"1")]}
    app = sending(start(headers=[(b"trailer", b"x-digest")], trailers=True), file, trailers)
    assert body_of(await answer_of(app, get())) == b"5\r\nhello\r\n0\r\nx-digest: 1\r\n\r\n"


@pytest.mark.parametrize("name", ["missing", ""])
async def test_what_is_no_file_is_a_500(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = sending(start(), {"type": "http.response.pathsend", "path": str(tmp_path / name)})
    assert statuses(await answer_of(app, get())) == [500]
    assert "not a regular file" in caplog.text


async def test_trailers_are_sent_behind_the_body() -> None:
    trailers = {"type": "http.response.trailers", "headers": [(b"x-digest", b"1")]}
    head = start(headers=[(b"trailer", b"x-digest")], trailers=True)
    answer = await answer_of(sending(head, body(b"a"), trailers), get())
    assert body_of(answer) == b"1\r\na\r\n0\r\nx-digest: 1\r\n\r\n"


async def test_early_hints_are_sent_before_the_answer() -> None:
    hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload; as=style"]}
    answer = await answer_of(sending(hint, start(), body(b"a")), get())
    assert statuses(answer) == [103, 200]


@pytest.mark.parametrize(
    ("app", "problem"),
    [
        (sending(), "ended before its answer"),
        (sending(start()), "expected it to send 'http.response.body'"),
        (sending(body(b"a")), "expected 'http.response.start', got 'http.response.body'"),
        (sending(start(), start()), "expected 'http.response.body', got 'http.response.start'"),
        (sending(start(headers=[(b"a\n", b"b")]), body()), "a field name"),
        (sending(start(1000), body()), "status"),
        (sending({"type": "http.nonsense"}), "got 'http.nonsense'"),
        (sending(start(), {**body(), "body": 5}), "expected bytes in a message, got int"),
        (sending(start(), {**body(), "body": "a"}), "expected bytes in a message, got str"),
    ],
)
async def test_a_wrong_order_is_a_500(
    app: ASGIApplication, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await answer_of(app, get())
    assert statuses(answer) == [500]
    assert problem in str(caplog.records[0].exc_info[1])  # type: ignore[index]


async def test_messages_after_the_answer_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    answer = await answer_of(sending(start(), body(b"a"), body(b"b"), start()), get())
    assert body_of(answer) == b"a"
    assert not caplog.records


async def test_an_answer_without_content_takes_all_pieces() -> None:
    messages = (start(304), body(b"a", more=True), body(b"b", more=True), body(b"c"))
    assert body_of(await answer_of(sending(*messages), get())) == b""


async def test_an_endless_answer_to_head_ends(caplog: pytest.LogCaptureFixture) -> None:
    has_ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await send(start())
        try:
            while True:
                await send(body(b"x", more=True))
                await asyncio.sleep(0)
        finally:
            has_ended.set()

    caplog.set_level(logging.WARNING)
    async with on_loopback(ASGI(app)) as server:
        head = b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        assert statuses(await ask(server, head)) == [200]
        async with asyncio.timeout(DEADLINE_S):
            await has_ended.wait()
    assert caplog.text == ""


async def test_an_error_after_the_answer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send(start())
            await send(body(b"a"))
            raise LookupError("late")

    assert body_of(await answer_of(app, get())) == b"a"
    assert "failed after its answer" in caplog.text


async def test_an_error_in_a_stream_cuts_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    answer = await answer_of(sending(start(), body(b"a", more=True)), get())
    assert statuses(answer) == [200] and not answer.endswith(b"0\r\n\r\n")
    assert "ended before its answer" in caplog.text


async def test_a_body_over_the_limit_is_a_413() -> None:
    async with on_loopback(ASGI(echo), max_body=10) as server:
        assert statuses(await ask(server, post(b"x" * 11))) == [413]


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_body_over_the_limit_is_a_413_if_the_application_catches_its_error(
    is_chunked: bool, is_streamed: bool
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        try:
            while (await receive())["more_body"]:
                pass
        except Exception:
            await send(start(400))
            await send(body(b"unreadable", more=is_streamed))
            if is_streamed:
                await send(body())

    request = post(b"x" * 11)
    if is_chunked:
        request = post(b"b\r\n" + b"x" * 11 + b"\r\n0\r\n\r\n", "Transfer-Encoding: chunked")
    async with on_loopback(ASGI(app), max_body=10) as server:
        assert statuses(await ask(server, request)) == [413]


async def test_an_application_works_on_after_its_answer() -> None:
    may_end, has_ended = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await send(start())
        await send(body(b"a"))
        await may_end.wait()
        has_ended.set()

    one = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    async with on_loopback(ASGI(app)) as server, peer_of(server) as peer:
        await peer.send(one)
        assert statuses(await peer.read_until(b"\r\n\r\na")) == [200]
        await peer.send(one)  # the next request of the connection does not wait
        assert statuses(await peer.read_until(b"\r\n\r\na")) == [200]
        may_end.set()
        async with asyncio.timeout(DEADLINE_S):
            await has_ended.wait()


async def test_a_client_that_leaves_is_told_and_nothing_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[object] = []
    has_begun, has_ended = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"  # it has no lifespan
        await receive()
        has_begun.set()
        try:
            seen.append((await receive())["type"])
            await send(start())
            while True:
                await send(body(b"x" * 100_000, more=True))
        except OSError as error:
            seen.append(type(error))
            raise
        finally:
            has_ended.set()

    caplog.set_level(logging.WARNING)
    async with on_loopback(ASGI(app)) as server:
        async with peer_of(server) as peer:
            await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            async with asyncio.timeout(DEADLINE_S):
                await has_begun.wait()
            await peer.reset()
        async with asyncio.timeout(DEADLINE_S):
            await has_ended.wait()
    assert seen[0] == "http.disconnect"
    assert issubclass(seen[1], OSError)  # type: ignore[arg-type]
    assert not caplog.records


@pytest.mark.parametrize("is_begun", [False, True])
async def test_an_application_may_end_when_its_client_has_left(
    is_begun: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Without an answer, and without a line in the log."""
    is_waiting, has_ended = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await receive()
        if is_begun:
            await send(start())
            await send(body(b"a", more=True))
        is_waiting.set()
        assert (await receive())["type"] == "http.disconnect"
        has_ended.set()

    caplog.set_level(logging.WARNING)
    async with on_loopback(ASGI(app)) as server:
        async with peer_of(server) as peer, asyncio.timeout(DEADLINE_S):
            await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await is_waiting.wait()
            await peer.reset()
        async with asyncio.timeout(DEADLINE_S):
            await has_ended.wait()
        await until_none(server.connections)
    assert caplog.text == ""


async def test_a_task_that_sends_after_the_error_of_the_application_ends() -> None:
    """Nobody takes its pieces, so it may not wait until somebody does."""
    ended: list[asyncio.Task[None]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        go_on = asyncio.Event()

        async def late() -> None:
            await go_on.wait()
            await send(start())
            while True:
                await send(body(b"x" * 100_000, more=True))

        ended.append(asyncio.create_task(late()))
        asyncio.get_running_loop().call_later(0.01, go_on.set)

    assert statuses(await answer_of(app, get())) == [500]
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(OSError, match="the client has left"):
            await ended[0]


async def test_an_application_that_works_on_is_named_when_the_server_stops(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await send(start())
        await send(body(b"a"))
        await asyncio.Event().wait()

    async with on_loopback(ASGI(app), grace_s=0.1) as server:
        assert statuses(await ask(server, get("/a"))) == [200]
    assert "background task 'GET /a of an ASGI application' did not end in time" in caplog.text


async def test_the_generator_of_a_stream_is_closed_when_its_client_has_left() -> None:
    """Without a collection of garbage: no cycle of references keeps the error of `send`."""
    is_closed = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
                await asyncio.sleep(0.01)
        finally:
            is_closed.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        stream = pieces()
        await send(start())
        async for piece in stream:
            await send(body(piece, more=True))

    async with on_loopback(ASGI(app)) as server, peer_of(server) as peer:
        await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await peer.read_until(b"x")
        gc.disable()
        try:
            await peer.reset()
            async with asyncio.timeout(DEADLINE_S):
                await is_closed.wait()
        finally:
            gc.enable()


async def test_a_client_that_reads_slowly_slows_the_application() -> None:
    sent = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        assert scope["type"] == "http"
        await send(start())
        for _ in range(1000):
            await send(body(b"x" * 64 * 1024, more=True))
            sent += 1
        await send(body())

    async with on_loopback(ASGI(app)) as server, peer_of(server) as peer:
        await peer.send(get())
        await peer.read_until(b"x")
        for _ in range(50):  # the other tasks run meanwhile
            await asyncio.sleep(0.01)
        assert sent < 500  # the buffers of the kernel and of the connection
        assert (await peer.read_all()).endswith(b"0\r\n\r\n")
    assert sent == 1000


# --- applications that wait without `receive`


class Waits:
    """An application that waits for the test, before its answer or in it."""

    def __init__(self, *, is_begun: bool = False, fails: bool = False) -> None:
        self._is_begun, self._fails = is_begun, fails
        self.is_waiting, self.may_end, self.has_ended = (asyncio.Event() for _ in range(3))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        if self._is_begun:
            await send(start())
            await send(body(b"a", more=True))
        self.is_waiting.set()
        try:
            await self.may_end.wait()
            if self._fails:
                raise LookupError("late")
            await send(body(b"b") if self._is_begun else start())
        finally:
            self.has_ended.set()


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("is_begun", [False, True])
@pytest.mark.parametrize("is_mounted", [False, True])
async def test_a_lost_connection_does_not_wait_for_the_application(
    method: str, is_begun: bool, is_mounted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app, outer = Waits(is_begun=is_begun), App()
    outer.mount("/app", app)
    outer.freeze()
    path = "/app/" if is_mounted else "/"
    caplog.set_level(logging.WARNING)
    async with on_loopback(outer if is_mounted else ASGI(app)) as server:
        async with peer_of(server) as peer, asyncio.timeout(DEADLINE_S):
            await peer.send(
                f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode()
            )
            await app.is_waiting.wait()
            await peer.reset()
        async with asyncio.timeout(DEADLINE_S):
            await until_none(server.connections)
            assert not app.has_ended.is_set() and server.background.count == 1
            app.may_end.set()
            await app.has_ended.wait()
    assert caplog.text == ""


async def test_a_client_that_has_ended_its_side_waits_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = Waits()
    async with on_loopback(ASGI(app)) as server, peer_of(server) as peer:
        await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(DEADLINE_S):
            await app.is_waiting.wait()
        await peer.half_close()
        (connection,) = server.connections
        now = server.state.clock()
        monkeypatch.setattr(server.state, "clock", lambda: now)
        connection.watch.check_peer()
        now += HALF_CLOSED_S - 0.1
        connection.watch.check_peer()
        await settle()
        assert server.connections
        now += 0.1
        connection.watch.check_peer()
        await until_none(server.connections)
        app.may_end.set()


async def test_an_error_after_the_client_has_left_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Waits(fails=True)
    async with on_loopback(ASGI(app)) as server:
        async with peer_of(server) as peer, asyncio.timeout(DEADLINE_S):
            await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await app.is_waiting.wait()
            await peer.reset()
            await until_none(server.connections)
        assert caplog.text == ""
        app.may_end.set()
        async with asyncio.timeout(DEADLINE_S):
            await app.has_ended.wait()
    assert "GET / failed after its client had left" in caplog.text
    assert "LookupError: late" in caplog.text
