"""Streams before their first byte: errors become responses, and resources are closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

import pytest
from support.serving import (
    DEADLINE_S,
    get,
    in_memory,
    on_loopback,
    peer_of,
    read_all,
    read_until,
    settle,
    until_none,
)

from microweb import App, HTTPError, Request, Response, abort
from microweb.bodies import stream as streams_module
from microweb.endpoints.handler import Handler
from microweb.errors import LocalProtocolError, NotFound
from microweb.middleware.compression import Compression
from microweb.middleware.conditional import ConditionalGet
from microweb.middleware.cors import CORS
from microweb.middleware.sessions import Sessions
from microweb.middleware.timeout import Timeout

KEY = "0123456789abcdefghijklmnopqrstuvwxyz"


async def aborts() -> AsyncIterator[str]:
    abort(404, "no such")
    yield "never"


async def fails() -> AsyncIterator[str]:
    await asyncio.sleep(0)
    raise RuntimeError("boom")
    yield "never"


async def numbers() -> AsyncIterator[Any]:
    yield 1


def fails_in_a_thread() -> Iterator[str]:
    raise RuntimeError("boom")
    yield "never"


def numbers_in_a_thread() -> Iterator[Any]:
    yield 1


async def surrogate() -> AsyncIterator[str]:
    yield "\ud800"


@asynccontextmanager
async def refuses() -> AsyncIterator[AsyncIterator[str]]:
    abort(503, "no place")
    yield aborts()


FAULTS: dict[str, tuple[Callable[[], object], int, str]] = {
    "abort": (aborts, 404, "no such"),
    "error": (fails, 500, "boom"),
    "wrong type": (numbers, 500, "expected str or bytes as a piece of a stream, got int"),
    "in a thread": (fails_in_a_thread, 500, "boom"),
    "wrong type in a thread": (numbers_in_a_thread, 500, "a piece of a stream, got int"),
    "text that is none": (surrogate, 500, "expected text that UTF-8 can encode"),
    "stream": (lambda: Response.stream(aborts()), 404, "no such"),
    "typed stream": (lambda: Response.stream(fails(), content_type="text/csv"), 500, "boom"),
    "with a length": (lambda: Response.stream(fails(), 200, {"Content-Length": "9"}), 500, "boom"),
    "events": (lambda: Response.events(aborts()), 404, "no such"),
    "events that fail": (lambda: Response.events(fails()), 500, "boom"),
    "context manager": (lambda: Response.stream(refuses()), 503, "no place"),
    "subscription": (lambda: Response.events(refuses()), 503, "no place"),
    "no body": (lambda: Response(None), 500, "expected bytes as a body, or str, got NoneType"),  # type: ignore[arg-type]
    "dict": (lambda: Response({"a": 1}), 500, r"use Response.json\(...\)"),  # type: ignore[arg-type]
    "generator": (lambda: Response(aborts()), 500, r"use Response.stream\(...\)"),  # type: ignore[arg-type]
    "number in a tuple": (lambda: (Response(7), 201), 500, "got int"),  # type: ignore[arg-type]
    "no pieces": (lambda: Response.stream(None), 500, "an iterable of pieces, got NoneType"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_fault_before_the_first_byte_is_an_answer_like_any_other(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    make, status, message = FAULTS[fault]
    app = App()
    app.use(CORS("*"))
    app.get("/")(make)
    seen: list[BaseException | None] = []

    @app.middleware
    async def look(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        seen.append(request.error)
        return response

    @app.errorhandler(Exception)
    @app.errorhandler(HTTPError)
    async def explain(error: Exception) -> dict[str, str]:
        return {"error": str(error)}

    async with app.test_client(raise_errors=False) as client:
        answer = await client.get("/")
    assert answer.status_code == status
    assert answer.json()["error"]
    assert answer.headers["access-control-allow-origin"] == "*"
    with pytest.raises(type(seen[0]), match=message):  # type: ignore[arg-type]
        raise seen[0]  # type: ignore[misc]


async def test_debug_page_shows_a_fault_before_the_first_piece() -> None:
    app = App(debug=True)
    app.get("/")(fails)
    async with app.test_client(raise_errors=False) as client:
        answer = await client.get("/", headers={"Accept": "text/html"})
    assert answer.status_code == 500
    assert "RuntimeError" in answer.text
    assert "boom" in answer.text


async def test_test_client_raises_a_fault_before_the_first_piece() -> None:
    app = App()
    app.get("/")(fails)
    async with app.test_client() as client:
        with pytest.raises(RuntimeError, match="boom"):
            await client.get("/")


# --- late


@pytest.mark.parametrize("error", [NotFound("gone"), RuntimeError("boom"), None])
@pytest.mark.parametrize("is_typed", [False, True])
async def test_head_waits_half_a_second_and_then_a_fault_cuts_and_is_logged_once(
    error: Exception | None, is_typed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app, may_go_on = App(), asyncio.Event()

    async def pieces() -> AsyncIterator[str]:
        await may_go_on.wait()
        if error is not None:
            raise error
        yield "a"

    @app.get("/")
    async def index() -> Response:
        return Response.stream(pieces(), content_type="text/csv" if is_typed else None)

    app.use(CORS("*"))
    async with on_loopback(app) as server, peer_of(server) as peer:
        await peer.send(get("/", "Connection: close"))
        head = await peer.read_until(b"\r\n\r\n")  # the head arrives before the piece
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert (b"Content-Type: text/csv" if is_typed else b"Content-Type: text/plain") in head
        assert b"Access-Control-Allow-Origin: *" in head
        may_go_on.set()
        rest = await peer.read_all()
    assert rest == (b"" if error else b"1\r\na\r\n0\r\n\r\n")
    assert [record.getMessage() for record in caplog.records] == ["GET / failed"] * bool(error)


async def test_fault_of_http_behind_the_first_piece_cuts_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App()

    @app.get("/")
    async def index() -> AsyncIterator[str]:
        yield "a"
        await asyncio.sleep(0)
        abort(404)

    app.freeze()
    async with in_memory(app) as house:
        end = house.connect()
        await end.write(get("/"))
        assert (await read_all(end)).endswith(b"\r\n\r\n1\r\na\r\n")
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "GET / failed")


async def test_middleware_may_change_the_pieces_of_a_late_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams_module, "_HEAD_WAIT_S", 0.001)
    app = App()
    app.use(Compression(codings=["gzip"]))
    told: list[str] = []

    @app.get("/")
    async def index() -> AsyncIterator[str]:
        try:
            await asyncio.sleep(0.01)
            yield "a" * 2000
            yield "b" * 2000
        finally:
            told.append("closed")

    async with app.test_client() as client:
        answer = await client.get("/")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.text == "a" * 2000 + "b" * 2000
    assert told == ["closed"]


@pytest.mark.parametrize("is_early", [True, False])
async def test_new_response_of_old_pieces_is_cut_not_shortened(
    is_early: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer would look whole, because the end of a closed generator is no error."""
    app = App()

    @app.middleware
    async def renew(request: Request, call_next: Handler) -> Response:
        old = await call_next(request)

        async def pieces(early: Any = old.pieces if is_early else None) -> AsyncIterator[Any]:
            async for piece in early or old.pieces:
                yield piece

        return Response.stream(pieces())

    @app.get("/")
    async def index() -> AsyncIterator[str]:
        for number in range(100):
            yield f"{number}\n"

    async with app.test_client() as client:
        received = await client.raw(get("/"))
    assert received.startswith(b"HTTP/1.1 200 ")
    assert not received.endswith(b"0\r\n\r\n")
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "set response.pieces in place of a new Response" in str(record.exc_info[1])


async def test_time_limit_does_not_count_the_wait_for_the_first_piece() -> None:
    app = App()

    @app.get("/", use=[Timeout(0.05), Timeout(0.04)])
    async def index() -> AsyncIterator[str]:
        await asyncio.sleep(0.2)
        yield "a"

    @app.get("/late", use=[Timeout(0.05)])
    async def late(request: Request) -> Response:
        response = Response.stream(index())
        await asyncio.Event().wait()
        return response

    async with app.test_client() as client:
        assert (await client.get("/")).text == "a"
        assert (await client.get("/late")).status_code == 503


async def test_time_limit_does_not_cut_the_cleanup_of_a_stream_that_fails_at_once() -> None:
    app, left = App(), []

    @asynccontextmanager
    async def resource() -> AsyncIterator[AsyncIterator[str]]:
        try:
            yield pieces()
        finally:
            await asyncio.sleep(1.2)  # longer than the limit
            left.append("whole")

    async def pieces() -> AsyncIterator[str]:
        abort(418)
        yield ""

    @app.get("/", use=[Timeout(1.0)])
    async def index() -> Response:
        return Response.stream(resource())

    async with app.test_client() as client:
        assert (await client.get("/")).status_code == 418
    assert left == ["whole"]


async def test_time_limit_counts_on_behind_the_first_piece() -> None:
    app = App()
    app.use(Timeout(0.05))

    @app.middleware
    async def slow(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        await asyncio.Event().wait()
        return response

    @app.get("/")
    async def index() -> AsyncIterator[str]:
        yield "a"

    async with app.test_client() as client:
        assert (await client.get("/")).status_code == 503


async def test_context_manager_is_waited_for_without_that_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams_module, "_HEAD_WAIT_S", 0.0)
    app = App()

    @asynccontextmanager
    async def resource() -> AsyncIterator[list[str]]:
        await asyncio.sleep(0.05)
        abort(503, "no place")
        yield []

    app.get("/")(lambda: Response.stream(resource()))
    async with app.test_client() as client:
        assert (await client.get("/")).status_code == 503


async def test_stream_runs_on_one_task_so_its_time_limit_holds() -> None:
    app = App()

    @app.get("/")
    async def index() -> AsyncIterator[str]:
        async with asyncio.timeout(0.05):
            await asyncio.sleep(0)
            yield "a"
            await asyncio.Event().wait()

    app.freeze()
    async with in_memory(app) as house:
        end = house.connect()
        await end.write(get("/"))
        assert (await read_all(end)).endswith(b"1\r\na\r\n")  # cut


# --- sessions


@pytest.mark.parametrize("looked_before", [False, True])
async def test_session_cannot_be_changed_from_the_first_line_on(looked_before: bool) -> None:
    app = App()
    app.use(Sessions(KEY))

    @app.get("/")
    async def index(request: Request) -> Response:
        if looked_before:
            assert request.session == {}

        async def pieces() -> AsyncIterator[str]:
            request.session["user"] = "ada"
            yield "a"

        return Response.stream(pieces())

    async with app.test_client() as client:
        with pytest.raises(LocalProtocolError, match="after the response was made"):
            await client.get("/")


async def test_middleware_may_change_the_session_behind_a_stream() -> None:
    app = App()
    app.use(Sessions(KEY))

    @app.after_request
    async def count(request: Request, response: Response) -> None:
        request.session["count"] = 1

    @app.get("/")
    async def index() -> AsyncIterator[str]:
        yield "a"

    async with app.test_client() as client:
        assert "session=" in (await client.get("/")).headers["set-cookie"]


# --- the resources of a stream


class Resource:
    """A context manager of pieces that records its calls."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces or ("a", "b")
        self.told: list[str] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[str]]:
        self.told.append("entered")
        try:
            yield self.generate()
        finally:
            await asyncio.sleep(0)
            self.told.append("left")

    @contextmanager
    def open_plain(self) -> Iterator[list[str]]:
        self.told.append("entered")
        try:
            yield list(self.pieces)
        finally:
            self.told.append("left")

    async def generate(self) -> AsyncIterator[str]:
        try:
            for piece in self.pieces:
                yield piece
        finally:
            await asyncio.sleep(0)
            self.told.append("closed")

    async def aclose(self) -> None:
        self.told.append("closed")


class Rows(Resource):
    """An async iterator over an open connection, as a database driver returns it."""

    def __aiter__(self) -> Rows:
        self._left = list(self.pieces)
        return self

    async def __anext__(self) -> str:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)


def manager(resource: Resource) -> Response:
    return Response.stream(resource.open())


def plain_manager(resource: Resource) -> Response:
    return Response.stream(resource.open_plain())


def subscription(resource: Resource) -> Response:
    return Response.events(resource.open())


def cursor(resource: Resource) -> Response:
    rows = Rows()
    rows.told = resource.told
    return Response.stream(rows)


def closing(resource: Resource) -> Response:
    rows = Rows()
    rows.told = resource.told
    return Response.stream(aclosing(rows))


HOLDERS = [manager, plain_manager, subscription, cursor, closing]


@pytest.mark.parametrize("how", ["GET", "HEAD", "304", "204", "replaced", "raised", "wrapped"])
@pytest.mark.parametrize("holder", HOLDERS)
async def test_resource_is_released_however_the_answer_ends(
    holder: Callable[[Resource], Response], how: str, nothing_is_logged: None
) -> None:
    app, resource = App(), Resource()

    @app.middleware
    async def change(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        if how == "replaced":
            return Response("other")
        if how == "raised":
            abort(418)
        if how in ("304", "204"):
            response.status = int(how)
        if how == "wrapped":

            async def wrapped(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
                async for piece in pieces:
                    yield piece
                    return  # before the other pieces are taken

            response.pieces = wrapped(response.pieces)  # type: ignore[attr-defined]
        return response

    app.use(CORS("*"))
    app.get("/")(lambda: holder(resource))
    async with app.test_client() as client:
        answer = await client.request("HEAD" if how == "HEAD" else "GET", "/")
        statuses = {"304": 304, "204": 204, "raised": 418}
        assert answer.status_code == statuses.get(how, 200)
        if how == "GET":
            assert answer.text in ("ab", "data: a\n\ndata: b\n\n")
        assert resource.told[-1] == ("closed" if holder in (cursor, closing) else "left")
        assert resource.told.count("left") <= 1
        assert resource.told.count("entered") <= 1


@pytest.mark.parametrize("holder", HOLDERS)
async def test_resource_is_released_without_an_app(holder: Callable[[Resource], Response]) -> None:
    resource = Resource()

    async def handler(request: Request) -> Response:
        return holder(resource)

    async with in_memory(handler) as house:
        for request in (get("/"), get("/").replace(b"GET", b"HEAD")):
            resource.told.clear()
            end = house.connect()
            await end.write(request)
            await read_until(end, b"0\r\n\r\n" if request == get("/") else b"\r\n\r\n")
            await settle()
            end.close()
            assert resource.told[-1] == ("closed" if holder in (cursor, closing) else "left")


async def test_context_manager_gets_the_fault_of_its_stream() -> None:
    told: list[str] = []

    @asynccontextmanager
    async def transaction() -> AsyncIterator[AsyncIterator[str]]:
        try:
            yield rows()
        except RuntimeError as error:
            told.append(f"rolled back: {error}")
            raise

    async def rows() -> AsyncIterator[str]:
        yield "a"
        raise RuntimeError("boom")

    app = App()
    app.get("/")(lambda: Response.stream(transaction()))
    app.freeze()
    async with in_memory(app) as house:
        end = house.connect()
        await end.write(get("/"))
        await read_all(end)
    assert told == ["rolled back: boom"]


async def test_late_stream_that_is_replaced_is_ended_where_it_waits(
    monkeypatch: pytest.MonkeyPatch, nothing_is_logged: None
) -> None:
    monkeypatch.setattr(streams_module, "_HEAD_WAIT_S", 0.001)
    app, told = App(), list[str]()
    app.before_request(lambda request: None)

    @app.after_request
    async def replace(request: Request, response: Response) -> str:
        return "other"

    @app.get("/")
    async def index() -> AsyncIterator[str]:
        try:
            await asyncio.Event().wait()
            yield "never"
        finally:
            await asyncio.sleep(0)
            told.append("closed")

    async with app.test_client() as client:
        assert (await client.get("/")).text == "other"
    assert told == ["closed"]


async def test_stream_is_closed_if_its_client_leaves_while_middleware_works() -> None:
    app, told = App(), list[str]()
    is_made = asyncio.Event()

    @app.middleware
    async def work(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        is_made.set()
        await asyncio.Event().wait()
        return response

    @app.get("/")
    async def index() -> AsyncIterator[str]:
        try:
            yield "a"
        finally:
            await asyncio.sleep(0)
            told.append("closed")

    async with on_loopback(app) as server:
        async with peer_of(server) as peer:
            await peer.send(get("/"))
            await is_made.wait()
            assert told == []
            await peer.reset()
        await until_none(server.connections)
    assert told == ["closed"]


async def test_fault_of_closing_what_is_not_sent_is_logged_and_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App()
    app.after_request(lambda request, response: "other")

    @app.get("/")
    async def index() -> AsyncIterator[str]:
        try:
            yield "a"
        finally:
            raise RuntimeError("boom")

    async with app.test_client() as client:
        assert (await client.get("/")).text == "other"
    (record,) = caplog.records
    assert "closing <StreamBody> failed" in record.getMessage()


async def test_stream_that_is_not_modified_is_closed() -> None:
    app, resource = App(), Resource()
    app.use(ConditionalGet())
    app.get("/")(lambda: Response.stream(resource.open(), headers={"ETag": '"1"'}))
    async with app.test_client() as client:
        assert (await client.get("/", headers={"If-None-Match": '"1"'})).status_code == 304
    assert resource.told == ["entered", "closed", "left"]


# --- cleanup that awaits, and a client that disconnects meanwhile


class Slow(Resource):
    """A context manager whose exit waits until `may_end` is set."""

    def __init__(self, fault: Exception | None = None) -> None:
        super().__init__()
        self.is_leaving = asyncio.Event()
        self.may_end = asyncio.Event()
        self.fault = fault

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[str]]:
        try:
            yield self.generate()
        finally:
            self.is_leaving.set()
            await self.may_end.wait()
            self.told.append("left")

    async def generate(self) -> AsyncIterator[str]:
        yield "ab"
        if self.fault is not None:
            raise self.fault

    async def generate_alone(self) -> AsyncIterator[str]:
        async with self.open() as pieces:
            async for piece in pieces:
                yield piece


@pytest.mark.parametrize("how", ["sent", "failed", "HEAD", "replaced", "generator replaced"])
async def test_client_that_leaves_does_not_cut_a_cleanup_that_has_begun(how: str) -> None:
    app, resource = App(), Slow(ValueError("no more") if how == "failed" else None)

    @app.middleware
    async def change(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        return Response("other") if "replaced" in how else response

    @app.get("/")
    async def index() -> Response:
        if how == "generator replaced":
            return Response.stream(resource.generate_alone())
        return Response.stream(resource.open(), headers={"Content-Length": "2"})

    app.freeze()
    async with in_memory(app) as house:
        end = house.connect()
        await end.write(get("/").replace(b"GET", b"HEAD") if how == "HEAD" else get("/"))
        async with asyncio.timeout(DEADLINE_S):
            await resource.is_leaving.wait()
        house.connection.network.transport.abort()  # as after a reset
        await house.pass_time(1)
        await house.pass_time(1)
        assert resource.told == []
        resource.may_end.set()
        await settle()
        assert resource.told == ["left"]
        assert not house.server.connections


async def test_client_that_has_ended_its_side_gets_the_whole_of_a_stream() -> None:
    resource = Slow()
    resource.may_end.set()

    async def handler(request: Request) -> Response:
        return Response.stream(resource.open())

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(get("/"))
        end.write_eof()
        assert (await read_all(end)).endswith(b"2\r\nab\r\n0\r\n\r\n")


async def test_wrapped_pieces_are_closed_though_the_wrapper_fails() -> None:
    app, resource = App(), Resource()

    @app.middleware
    async def wrap(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)

        async def wrapped(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
            try:
                async for piece in pieces:
                    yield piece
                    yield 1  # type: ignore[misc]  # is refused, and the wrapper closed here
            finally:
                raise KeyError("in the cleanup")

        response.pieces = wrapped(response.pieces)  # type: ignore[attr-defined]
        return response

    @app.get("/")
    async def index() -> Response:
        return Response.stream(resource.generate())

    app.freeze()
    async with in_memory(app) as house:
        end = house.connect()
        await end.write(get("/"))
        assert b"\r\n1\r\na\r\n" in await read_all(end)
        await settle()
        assert resource.told == ["closed"]
