from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator

import pytest
from support.serving import in_memory, post, read_until

from microweb import App, ConfigurationError, Request
from microweb.middleware.cors import CORS
from microweb.middleware.timeout import Timeout

SHORT_S = 0.02
LONG_S = 60.0


async def test_what_takes_too_long_is_cancelled_and_a_503() -> None:
    app, ended = App(), []

    @app.get("/", use=[Timeout(SHORT_S)])
    async def index() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async with app.test_client() as client:
        response = await client.get("/", headers={"Accept": "application/json"})
    assert (response.status_code, ended) == (503, [True])
    assert response.json() == {
        "status": 503,
        "title": "Service Unavailable",
        "detail": "no answer within 0.02 s",
    }


async def test_what_is_in_time_is_left_alone() -> None:
    app = App()
    app.use(Timeout(LONG_S))

    @app.get("/")
    async def index() -> str:
        await asyncio.sleep(0)
        return "in time"

    async with app.test_client() as client:
        assert (await client.get("/")).text == "in time"


async def test_connection_goes_on_behind_a_503() -> None:
    app = App()

    @app.get("/late", use=[Timeout(SHORT_S)])
    async def late() -> None:
        await asyncio.Event().wait()

    @app.get("/")
    async def index(request: Request) -> str:
        task = asyncio.current_task()
        assert task is not None
        return f"{task.cancelling()} cancellations"

    late_then_index = (
        b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n"
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    async with app.test_client() as client:
        answers = await client.raw(late_then_index)
    assert answers.startswith(b"HTTP/1.1 503 ")
    assert answers.endswith(b"\r\n\r\n0 cancellations")


async def test_middleware_around_it_sees_the_503() -> None:
    app = App()
    app.use(CORS("*"))
    app.use(Timeout(SHORT_S))

    @app.get("/")
    async def index() -> None:
        await asyncio.Event().wait()

    async with app.test_client() as client:
        response = await client.get("/")
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (503, "*")


async def test_timeout_of_the_endpoint_is_its_own_fault() -> None:
    app = App()
    app.use(Timeout(LONG_S))

    @app.get("/")
    async def index() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    async with app.test_client(raise_errors=False) as client:
        assert (await client.get("/")).status_code == 500


async def test_answer_of_an_endpoint_that_will_not_be_cancelled_is_sent() -> None:
    app = App()

    @app.get("/", use=[Timeout(SHORT_S)])
    async def index() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "what there is by now"
        return "never"

    async with app.test_client() as client:
        response = await client.get("/")
    assert (response.status_code, response.text) == (200, "what there is by now")


async def test_plain_def_runs_on_in_its_thread() -> None:
    app = App()
    has_begun, may_end, has_ended = threading.Event(), threading.Event(), threading.Event()

    @app.get("/", use=[Timeout(SHORT_S)])
    def index() -> str:
        has_begun.set()
        may_end.wait(20)
        has_ended.set()
        return "nobody gets this"

    async with app.test_client() as client:
        async with asyncio.timeout(20):
            while not has_begun.is_set():  # the time may pass before a thread starts
                assert (await client.get("/")).status_code == 503
        assert not has_ended.is_set()
        may_end.set()
        assert await asyncio.to_thread(has_ended.wait, 20)


async def test_pieces_of_a_stream_are_not_counted() -> None:
    app = App()

    @app.get("/", use=[Timeout(SHORT_S)])
    async def index() -> AsyncIterator[str]:
        for _ in range(3):
            yield "piece\n"
            await asyncio.sleep(2 * SHORT_S)

    async with app.test_client() as client:
        assert (await client.get("/")).text == "piece\n" * 3


async def test_body_that_comes_too_slowly_is_counted() -> None:
    app = App()

    @app.post("/", use=[Timeout(SHORT_S)])
    async def index(request: Request) -> bytes:
        return await request.body()

    async with in_memory(app) as house:
        end = house.connect()
        await end.write(post("/", b"a", "Content-Length: 100000"))
        answer = await read_until(end, b"\r\n\r\n")
        end.close()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize("seconds", [0, -1, math.inf, math.nan])
def test_seconds_are_above_zero(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="expected a finite number of seconds above 0"):
        Timeout(seconds)
