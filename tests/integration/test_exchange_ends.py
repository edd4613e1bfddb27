"""An exchange ends with its answer: it never affects the next request of its connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from support.serving import (
    DEADLINE_S,
    QUICK_S,
    get,
    on_loopback,
    peer_of,
    post,
    settle,
    statuses,
    until_none,
)

from microweb import App, Request, Response, from_thread
from microweb.errors import BodyConsumed
from microweb.middleware.timeout import Timeout

pytestmark = pytest.mark.usefixtures("nothing_is_logged")

FORM = "Content-Type: application/x-www-form-urlencoded"
MULTIPART = "Content-Type: multipart/form-data; boundary=b"
SECRET = b"password=secret"


async def all_of(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def all_parts(request: Request) -> list[str]:
    return [await part.text() async for part in request.parts()]


WAYS: dict[str, Callable[[Request], Awaitable[Any]]] = {
    "body": Request.body,
    "text": Request.text,
    "json": Request.json,
    "form": Request.form,
    "stream": lambda request: all_of(request.stream()),
    "parts": all_parts,
}


class Late:
    """An app that uses requests during or after their answer, and records the results."""

    def __init__(self) -> None:
        self.app = App()
        self.may_go_on = asyncio.Event()
        self.entered = asyncio.Event()
        self.outcome: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.app.post("/login")(self.login)
        self.app.get("/index")(self.index)

    async def login(self, request: Request) -> str:
        self.entered.set()
        return await request.text()

    async def index(self) -> str:
        return "index"

    async def use(self, use: Callable[[], Awaitable[object]], *, waits: bool = True) -> None:
        """Use a request after a while, and record the value or the exception."""
        if waits:
            await self.may_go_on.wait()
        try:
            self.outcome.set_result(await use())
        except Exception as error:
            self.outcome.set_result(type(error))

    async def came_to(self) -> object:
        async with asyncio.timeout(DEADLINE_S):
            return await self.outcome


def fields_of(way: str, size: int) -> tuple[str, ...]:
    return (f"Content-Length: {size}", MULTIPART if way == "parts" else FORM)


@pytest.mark.parametrize("way", WAYS)
async def test_body_that_is_read_late_is_not_the_next_requests(way: str) -> None:
    late = Late()

    @late.app.post("/after")
    async def after(request: Request) -> str:
        request.after_response(late.use, lambda: WAYS[way](request))
        return "accepted"

    async with on_loopback(late.app) as server, peer_of(server) as peer:
        await peer.send(post("/after", b"note=mine", *fields_of(way, 9)))
        await peer.read_until(b"accepted")
        await peer.send(post("/login", SECRET[:5], f"Content-Length: {len(SECRET)}"))
        await late.entered.wait()
        late.may_go_on.set()  # while the next request waits for the rest of its body
        assert await late.came_to() is BodyConsumed
        await peer.send(SECRET[5:])
        assert (await peer.read_until(b"secret")).endswith(b"\r\n\r\n" + SECRET)


@pytest.mark.parametrize("way", WAYS)
async def test_reading_ends_when_the_answer_goes_out(way: str) -> None:
    late = Late()
    tasks = []

    @late.app.post("/early")
    async def early(request: Request) -> str:
        tasks.append(late.app.spawn(late.use(lambda: WAYS[way](request), waits=False)))
        await settle()  # now it waits for the peer
        return "accepted"

    async with on_loopback(late.app) as server, peer_of(server) as peer:
        await peer.send(post("/early", b"--b\r\n", *fields_of(way, 9)))
        await peer.read_until(b"accepted")
        assert await late.came_to() is BodyConsumed
        await peer.send(b"mine" + post("/login", SECRET) + get("/index"))
        answers = await peer.read_until(b"index")
        assert statuses(answers) == [200, 200] and SECRET in answers


async def test_two_tasks_that_read_at_the_answer_both_end() -> None:
    late = Late()
    came_to: list[type[BaseException]] = []

    async def read(request: Request) -> None:
        try:
            await request.body()
        except BodyConsumed as error:
            came_to.append(type(error))

    @late.app.post("/early")
    async def early(request: Request) -> str:
        for _ in range(2):
            late.app.spawn(read(request))
        await settle()
        return "accepted"

    async with on_loopback(late.app) as server, peer_of(server) as peer:
        await peer.send(post("/early", b"mi", "Content-Length: 4"))
        await peer.read_until(b"accepted")
        await peer.send(b"ne" + post("/login", SECRET))
        assert (await peer.read_until(b"secret")).endswith(SECRET)
        async with asyncio.timeout(DEADLINE_S):
            while len(came_to) < 2:
                await asyncio.sleep(QUICK_S)
    assert came_to == [BodyConsumed, BodyConsumed]


async def test_stream_that_goes_on_after_the_answer_is_consumed() -> None:
    late = Late()

    @late.app.post("/half")
    async def half(request: Request) -> bytes:
        stream = request.stream()
        first = await anext(stream)
        late.app.spawn(late.use(lambda: all_of(stream)))
        return first

    async with on_loopback(late.app) as server, peer_of(server) as peer:
        await peer.send(post("/half", b"half", "Content-Length: 8"))
        await peer.read_until(b"half")
        await peer.send(b"more" + post("/login", b"pass", f"Content-Length: {len(SECRET)}"))
        await late.entered.wait()
        late.may_go_on.set()
        assert await late.came_to() is BodyConsumed
        await peer.send(SECRET[4:])
        assert (await peer.read_until(b"secret")).endswith(SECRET)


async def test_thread_that_outlives_its_time_limit_reads_nothing_of_the_next_request() -> None:
    late, has_begun = Late(), threading.Event()

    @late.app.post("/slow", use=[Timeout(0.5)])
    def slow(request: Request) -> str:
        has_begun.set()
        from_thread(late.use(request.text))
        return "too late"

    async with on_loopback(late.app) as server, peer_of(server) as peer:
        while not has_begun.is_set():  # a busy machine may need longer to start a thread
            await peer.send(post("/slow", b"mine"))
            assert statuses(await peer.read_until(b"Unavailable\n")) == [503]
        await peer.send(post("/login", SECRET[:5], f"Content-Length: {len(SECRET)}"))
        await late.entered.wait()
        late.may_go_on.set()
        assert await late.came_to() is BodyConsumed
        await peer.send(SECRET[5:])
        assert (await peer.read_until(b"secret")).endswith(SECRET)


async def test_body_that_was_read_stays_readable() -> None:
    late = Late()

    @late.app.post("/after")
    async def after(request: Request) -> str:
        await request.body()
        request.after_response(late.use, request.form)
        return "accepted"

    async with on_loopback(late.app) as server, peer_of(server) as peer:
        await peer.send(post("/after", b"note=mine", *fields_of("form", 9)))
        await peer.read_until(b"accepted")
        late.may_go_on.set()
        assert (await late.came_to())["note"] == "mine"  # type: ignore[index]


async def test_request_without_a_body_has_an_empty_one_for_ever() -> None:
    late = Late()

    @late.app.get("/after")
    async def after(request: Request) -> str:
        request.after_response(late.use, request.text)
        return "accepted"

    async with on_loopback(late.app) as server, peer_of(server) as peer:
        await peer.send(get("/after"))
        await peer.read_until(b"accepted")
        await peer.send(post("/login", SECRET[:5], f"Content-Length: {len(SECRET)}"))
        await late.entered.wait()
        late.may_go_on.set()
        assert await late.came_to() == ""
        await peer.send(SECRET[5:])
        assert (await peer.read_until(b"secret")).endswith(SECRET)


async def test_trailers_are_not_the_next_requests() -> None:
    late = Late()
    answered: list[Request] = []

    @late.app.post("/first")
    async def first(request: Request) -> str:
        answered.append(request)
        return "accepted"

    @late.app.post("/second")
    async def second(request: Request) -> str:
        await request.body()
        return repr((answered[0].trailers, request.trailers is not None))

    chunked = b"1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n"
    async with on_loopback(late.app) as server, peer_of(server) as peer:
        for target in ("/first", "/second"):
            await peer.send(post(target, chunked, "Transfer-Encoding: chunked"))
        assert (await peer.read_until(b")")).endswith(b"(None, True)")


async def test_nothing_is_asked_of_the_peer_behind_the_answer() -> None:
    late = Late()

    @late.app.post("/after")
    async def after(request: Request) -> str:
        request.after_response(late.use, request.text, waits=False)
        return "accepted"

    async with on_loopback(late.app) as server, peer_of(server) as peer:
        await peer.send(post("/after", b"", "Content-Length: 9", "Expect: 100-continue"))
        assert statuses(await peer.read_all()) == [200]
        assert await late.came_to() is BodyConsumed


# --- clients that leave


@pytest.mark.parametrize("begins", ["before", "behind"])
async def test_shield_of_an_answered_request_shields_no_other(begins: str) -> None:
    late = Late()
    entered, ended = asyncio.Event(), asyncio.Event()

    async def hold(request: Request) -> None:
        if begins == "behind":
            await late.may_go_on.wait()
        async with request.shield():
            entered.set()
            await ended.wait()

    @late.app.get("/shield")
    async def shield(request: Request) -> str:
        late.app.spawn(hold(request))
        await asyncio.sleep(0)
        return "shielded"

    @late.app.get("/wait")
    async def wait() -> None:
        late.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            late.outcome.set_result("cancelled")

    async with on_loopback(late.app) as server, peer_of(server) as peer:
        await peer.send(get("/shield"))
        await peer.read_until(b"shielded")
        await peer.send(get("/wait"))
        await late.entered.wait()
        late.may_go_on.set()
        await entered.wait()
        await peer.reset()
        assert await late.came_to() == "cancelled"
        ended.set()
        await until_none(server.connections)


async def test_shield_that_ends_late_opens_none_of_the_next_request() -> None:
    late = Late()
    ended = asyncio.Event()

    async def hold(request: Request) -> None:
        async with request.shield():
            await late.may_go_on.wait()
        ended.set()

    @late.app.get("/shield")
    async def shield(request: Request) -> str:
        late.app.spawn(hold(request))
        await asyncio.sleep(0)
        return "shielded"

    @late.app.get("/other")
    async def other(request: Request) -> None:
        async with request.shield():
            late.entered.set()
            await ended.wait()
            await asyncio.sleep(5 * QUICK_S)  # no sweep in this time may cancel it
            late.outcome.set_result("whole")

    async with on_loopback(late.app) as server, peer_of(server) as peer:
        await peer.send(get("/shield"))
        await peer.read_until(b"shielded")
        await peer.send(get("/other"))
        await late.entered.wait()
        await peer.reset()
        late.may_go_on.set()
        assert await late.came_to() == "whole"
        await until_none(server.connections)


@pytest.mark.parametrize("begins", ["before", "behind"])
async def test_waiting_for_the_client_to_leave_ends_with_the_answer(begins: str) -> None:
    late = Late()

    @late.app.get("/watch")
    async def watch(request: Request) -> str:
        use = late.use(request.disconnected, waits=begins == "behind")
        late.app.spawn(use)
        await asyncio.sleep(0)
        assert not late.outcome.done()
        return "watched"

    async with on_loopback(late.app) as server, peer_of(server) as peer:
        await peer.send(get("/watch"))
        await peer.read_until(b"watched")
        late.may_go_on.set()
        assert await late.came_to() is None
        await peer.send(get("/index"))
        assert (await peer.read_until(b"index")).endswith(b"index")


async def test_client_that_left_is_looked_at_anew_for_each_request() -> None:
    late = Late()

    @late.app.get("/watch")
    async def watch(request: Request) -> str:
        try:
            async with asyncio.timeout(5 * QUICK_S):  # no sweep in this time may wake it
                await request.disconnected()
        except TimeoutError:
            return "it stays"
        return "it left"

    async with on_loopback(late.app) as server, peer_of(server) as peer:
        for _ in range(2):
            await peer.send(get("/watch"))
            assert (await peer.read_until(b"stays")).endswith(b"it stays")


# --- answers that write themselves


async def test_body_of_a_streamed_answer_ends_with_it() -> None:
    late = Late()

    @late.app.post("/stream")
    async def stream(request: Request) -> AsyncIterator[bytes]:
        pieces = request.stream()
        yield await anext(pieces)
        late.app.spawn(late.use(lambda: all_of(pieces)))

    async with on_loopback(late.app) as server, peer_of(server) as peer:
        await peer.send(post("/stream", b"half", "Content-Length: 8"))
        await peer.read_until(b"0\r\n\r\n")
        await peer.send(b"more" + post("/login", b"pass", f"Content-Length: {len(SECRET)}"))
        await late.entered.wait()
        late.may_go_on.set()
        assert await late.came_to() is BodyConsumed
        await peer.send(SECRET[4:])
        assert (await peer.read_until(b"secret")).endswith(SECRET)


@pytest.mark.parametrize("size", [10, 2000, 200_000])
async def test_chunked_body_may_be_the_answer(size: int) -> None:
    app, data = App(), bytes(range(250)) * (size // 250) + bytes(size % 250)

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        return Response.stream(request.stream())

    async with on_loopback(app) as server, peer_of(server) as peer:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, data)
        await peer.send(post("/echo", body, "Transfer-Encoding: chunked"))
        answer = await peer.read_until(b"\r\n0\r\n\r\n")
    head, _, chunks = answer.partition(b"\r\n\r\n")
    assert statuses(head) == [200]
    received = b""
    while chunks != b"0\r\n\r\n":
        digits, _, chunks = chunks.partition(b"\r\n")
        received, chunks = received + chunks[: int(digits, 16)], chunks[int(digits, 16) + 2 :]
    assert received == data


async def test_body_is_asked_for_before_the_head_of_a_streamed_answer() -> None:
    app = App()

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        return Response.stream(request.stream(), content_type="text/plain")

    async with on_loopback(app) as server, peer_of(server) as peer:
        await peer.send(post("/echo", b"", "Content-Length: 4", "Expect: 100-continue"))
        assert statuses(await peer.read_until(b"\r\n\r\n")) == [100]
        await peer.send(b"mine")
        assert b"\r\n4\r\nmine\r\n0\r\n\r\n" in await peer.read_until(b"0\r\n\r\n")


async def test_body_is_not_asked_for_inside_an_answer() -> None:
    app, is_out = App(), asyncio.Event()

    @app.post("/echo")
    async def echo(request: Request) -> AsyncIterator[bytes]:
        yield b"first"
        await is_out.wait()
        async for piece in request.stream():
            yield piece

    async with on_loopback(app) as server, peer_of(server) as peer:
        await peer.send(post("/echo", b"", "Content-Length: 4", "Expect: 100-continue"))
        begun = await peer.read_until(b"first")
        is_out.set()
        await peer.send(b"mine")
        assert statuses(begun + await peer.read_all()) == [200]


async def test_connection_goes_on_behind_a_streamed_answer() -> None:
    late = Late()

    @late.app.post("/echo")
    async def echo(request: Request) -> AsyncIterator[bytes]:
        async for piece in request.stream():
            yield piece

    async with on_loopback(late.app) as server, peer_of(server) as peer:
        for body in (b"mine", SECRET):
            await peer.send(post("/echo", body))
            assert body in await peer.read_until(b"0\r\n\r\n")
        await peer.send(post("/echo", b"1\r\nx\r\n0\r\n\r\n", "Transfer-Encoding: chunked"))
        assert b"1\r\nx\r\n" in await peer.read_until(b"\r\n0\r\n\r\n")
        await peer.send(get("/index"))
        assert (await peer.read_until(b"index")).endswith(b"index")
