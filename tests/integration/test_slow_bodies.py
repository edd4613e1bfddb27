"""Clients that send their bodies slowly do not occupy a thread that another request needs."""

from __future__ import annotations

import base64
import socket
import time
from contextlib import ExitStack
from typing import Self

import pytest
from integration.measuring import MeasuredServer, needs_proc, on_both_loops
from support.processes import DEADLINE_S
from support.serving import get, post

pytestmark = needs_proc

APP = "slow_bodies_app.py"
SLOW = 100  # more than twice as many as there are threads
LENGTH = 2000
MAX_THREADS = 100  # of the process

CREDENTIALS = base64.b64encode(b"ada:correct").decode()


def ask(address: tuple[str, int], request: bytes) -> bytes:
    """Return the answer to a request that is sent whole."""
    with socket.create_connection(address, timeout=DEADLINE_S) as client:
        client.sendall(request)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    return answer


class Crowd:
    """A server and its clients, which stay connected until the block ends."""

    def __init__(self, loop: str) -> None:
        self._stack = ExitStack()
        self.server = self._stack.enter_context(MeasuredServer(loop, app=APP))
        self.address = self.server.address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def connect(self, request: bytes) -> socket.socket:
        """Return a new client that has sent `request`."""
        client = socket.create_connection(self.address, timeout=DEADLINE_S)
        self._stack.enter_context(client)
        client.sendall(request)
        return client

    def add_slow(self, path: str, *fields: str, count: int = SLOW) -> list[socket.socket]:
        """Return new clients that have sent half of a body."""
        half = b"name=" + b"x" * (LENGTH // 2 - 5)
        request = post(path, b"", f"Content-Length: {LENGTH}", *fields) + half
        return [self.connect(request) for _ in range(count)]


CLOSE = "Connection: close"
OTHERS = [
    get("/plain", CLOSE),
    get("/static/slow_bodies_app.py", CLOSE),
    get("/file", CLOSE),
    get("/private", CLOSE, f"Authorization: Basic {CREDENTIALS}"),
    post("/slow", b"short", CLOSE, "Content-Length: 5"),
    post("/ignore", b"short", CLOSE, "Content-Length: 5"),
]


@on_both_loops
@pytest.mark.parametrize("path", ["/slow", "/form"])
def test_slow_clients_stop_no_plain_function(loop: str, path: str) -> None:
    with Crowd(loop) as crowd:
        clients = crowd.add_slow(path, "Content-Type: application/x-www-form-urlencoded")
        for request in OTHERS:
            assert ask(crowd.address, request).startswith(b"HTTP/1.1 200 "), request
        assert crowd.server.threads() < MAX_THREADS
        for client in clients:
            client.sendall(b"y" * (LENGTH // 2))
        for client in clients:
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


@on_both_loops
def test_body_in_pieces_is_answered_beside_slow_clients(loop: str) -> None:
    with Crowd(loop) as crowd:
        crowd.add_slow("/stream")
        client = crowd.connect(post("/slow", b"first", CLOSE, "Content-Length: 10"))
        assert ask(crowd.address, get("/plain", CLOSE)).endswith(b"plain")
        client.sendall(b"other")
        assert client.recv(65536).endswith(b"firstother")


@on_both_loops
def test_body_that_was_read_ahead_is_streamed_whole(loop: str) -> None:
    size = 20 * 1024 * 1024  # more than is read ahead
    with Crowd(loop) as crowd:
        slow = crowd.add_slow("/slow")
        client = crowd.connect(post("/stream", b"", CLOSE, f"Content-Length: {size}"))
        half = bytes(size // 2)
        client.sendall(half)
        for each in slow:  # so that a thread can wait for the rest
            each.close()
        client.sendall(half)
        assert client.recv(65536).endswith(b"\r\n\r\n%d" % size)


@on_both_loops
def test_chunked_body_is_read_ahead(loop: str) -> None:
    with Crowd(loop) as crowd:
        crowd.add_slow("/slow")
        client = crowd.connect(post("/slow", b"3\r\nabc\r\n", CLOSE, "Transfer-Encoding: chunked"))
        assert ask(crowd.address, get("/plain", CLOSE)).endswith(b"plain")
        client.sendall(b"2\r\nde\r\n0\r\n\r\n")
        assert client.recv(65536).endswith(b"abcde")


@on_both_loops
def test_body_over_the_limit_is_refused_beside_slow_clients(loop: str) -> None:
    with Crowd(loop) as crowd:
        crowd.add_slow("/slow")
        client = crowd.connect(post("/slow", b"x", CLOSE, f"Content-Length: {17 << 20}"))
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")


@on_both_loops
def test_clients_that_leave_give_their_threads_back(loop: str) -> None:
    with Crowd(loop) as crowd:
        for _ in range(3):
            slow = crowd.add_slow("/slow")
            assert ask(crowd.address, get("/plain", CLOSE)).endswith(b"plain")
            for each in slow:
                each.close()
        for request in OTHERS:
            assert ask(crowd.address, request).startswith(b"HTTP/1.1 200 "), request
        crowd.server.stop()


@on_both_loops
def test_function_without_the_request_waits_for_no_body(loop: str) -> None:
    with Crowd(loop) as crowd:
        crowd.add_slow("/slow")
        (client,) = crowd.add_slow("/ignore", count=1)
        assert client.recv(65536).endswith(b"ignored")


@pytest.mark.measured
@on_both_loops
def test_a_thousand_slow_clients(loop: str) -> None:
    """Print how long a plain `def` takes beside them: `pytest -m measured -s`."""
    with Crowd(loop) as crowd:
        crowd.add_slow("/slow", count=1000)
        slowest = 0.0
        for _ in range(20):
            begun = time.monotonic()
            assert ask(crowd.address, get("/plain", CLOSE)).endswith(b"plain")
            slowest = max(slowest, time.monotonic() - begun)
        threads = crowd.server.threads()
        print(f"{loop}: at most {slowest * 1000:.0f} ms, {threads} threads")
        assert slowest < 1.0 and threads < MAX_THREADS
