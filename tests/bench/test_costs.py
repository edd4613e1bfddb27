"""Measure the steps of an exchange in microseconds: `pytest tests/bench -s` prints the figures.

The figures compare two versions of the code on one machine. The tests do not assert a time, only
that each measured step has the right result.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from support.reading import FakePeer
from support.serving import STREAM_LIMIT

from microweb import App, Request, Response
from microweb.http.limits import Limits
from microweb.http.request_head import RequestLines
from microweb.http.response_head import HeadCache
from microweb.parser import Parser
from microweb.server.process import make_server
from microweb.testing.network import connect

ROUNDS = 5
TIMES = 2000

BROWSER = (
    b"Host: localhost:5000\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Connection: keep-alive\r\n"
)
REPEATED = b"GET /users/42 HTTP/1.1\r\n" + BROWSER + b"\r\n"


def varied(number: int) -> bytes:
    """Return a request with a header section that no other request has."""
    return b"GET /users/42 HTTP/1.1\r\n%bX-Request: %d\r\n\r\n" % (BROWSER, number)


@pytest.fixture
def app() -> App:
    app = App()

    @app.get("/users/{id}")
    async def user(id: int) -> str:
        return f"user {id}"

    for number in range(100):
        app.get(f"/other/{number}/{{id}}", name=f"other{number}")(user)
    app.freeze()
    return app


def microseconds(name: str, step: Callable[[int], object]) -> None:
    """Print the time of `step`: the minimum of several rounds, because noise only adds."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for number in range(TIMES):
            step(number)
        best = min(best, time.perf_counter() - begun)
    print(f"{name:40} {best / TIMES * 1e6:8.2f} us")


def parsed(data: bytes, parser: Parser | None = None) -> Request:
    """Return the request that is parsed from `data`."""
    parser = parser or Parser(FakePeer(), RequestLines(), Limits())
    request = parser.next_request(data)
    assert request is not None and parser.is_empty
    return request


def run_at_once(app: App, request: Request) -> Response:
    """Return the response of an endpoint that never waits."""
    try:
        app.handle(request).send(None)
    except StopIteration as stop:
        response: Response = stop.value
        return response
    raise AssertionError("it waited")


def test_parse() -> None:
    parser = Parser(FakePeer(), RequestLines(), Limits())
    requests = [varied(number) for number in range(TIMES)]
    assert parsed(requests[7], parser).headers["x-request"] == "7"
    microseconds("parse, new header section", lambda number: parsed(requests[number], parser))
    assert parsed(REPEATED, parser).headers["host"] == "localhost:5000"
    microseconds("parse, repeated header section", lambda _: parsed(REPEATED, parser))


def test_route_and_call(app: App) -> None:
    request = parsed(REPEATED)
    assert run_at_once(app, request).body == b"user 42"

    def route_anew(_: int) -> None:
        app._matches.clear()
        run_at_once(app, request)

    microseconds("route, bind and call an endpoint", route_anew)
    microseconds("the same for a line that is known", lambda _: run_at_once(app, request))


def test_encode() -> None:
    request, heads = parsed(REPEATED), HeadCache()
    answer = Response.text("user 42").encode(request, heads, b"")
    assert answer is not None and answer.endswith(b"\r\n\r\nuser 42")
    microseconds(
        "make and encode an untouched answer",
        lambda _: Response.text("user 42").encode(request, heads, b""),
    )
    fields = {"X-User": "42"}
    answer = Response.text("user 42", headers=fields).encode(request, heads, b"")
    assert answer is not None and b"X-User: 42\r\n" in answer
    microseconds(
        "make and encode one with a field",
        lambda _: Response.text("user 42", headers=fields).encode(request, heads, b""),
    )


async def test_whole_exchange_in_memory(app: App) -> None:
    server = make_server(app, {"log": "off"})
    await server.open()
    end = connect(
        server.accept, limit=STREAM_LIMIT, client=("127.0.0.1", 50000), server=("127.0.0.1", 80)
    )
    requests = {
        "one exchange, repeated header section": [REPEATED] * TIMES,
        "one exchange, new header section": [varied(number) for number in range(TIMES)],
    }
    for name, sent in requests.items():
        best = float("inf")
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            for request in sent:
                await end.write(request)
                answer = await end.read()
            best = min(best, time.perf_counter() - begun)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\nuser 42")
        loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
        print(f"{name:40} {best / TIMES * 1e6:8.2f} us  ({loop})")
    end.close()
    await server.stop()
