"""The bytes buffered for slow clients are limited, and other clients are answered meanwhile."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, suppress
from typing import Self

import pytest
from integration.measuring import MeasuredServer, needs_proc, on_both_loops
from support.processes import DEADLINE_S
from support.serving import get, post

pytestmark = needs_proc

MIB = 1 << 20
LACK = 400  # the bytes of a body or message that are never sent
HONEST = "127.0.0.2"  # an address without buffered bytes
PROXY = "127.0.0.3"
CLOSE = "Connection: close"
UPGRADE = get(
    "/messages",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)


def message_head(size: int) -> bytes:
    """Return the head of a binary message that is masked with zeros."""
    return b"\x82\xff" + size.to_bytes(8) + bytes(4)


class Crowd:
    """A server and its clients, which stay connected until the block ends."""

    def __init__(self, loop: str, max_buffered: int) -> None:
        self._stack = ExitStack()
        self.server = MeasuredServer(loop, str(max_buffered), app="slow_memory_app.py")
        self._stack.enter_context(self.server)
        self.ask(get("/", CLOSE))
        self.server.reset_peak()
        self._idle = self.server.resident_bytes()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def connect(self, *data: bytes, source: str = "127.0.0.1") -> socket.socket:
        """Return a new client that has sent `data`."""
        client = socket.create_connection(self.server.address, DEADLINE_S, (source, 0))
        self._stack.enter_context(client)
        for each in data:
            client.sendall(each)
        return client

    def connect_slow(self, *data: bytes) -> socket.socket:
        """Return a new client that has sent `data`, unless it was refused meanwhile."""
        client = self.connect()
        with suppress(ConnectionError):
            for each in data:
                client.sendall(each)
        return client

    def ask(self, *data: bytes, source: str = "127.0.0.1") -> bytes:
        """Return the answer to a request that is sent whole."""
        client = self.connect(*data, source=source)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
        client.close()
        return answer

    def peak_mib(self) -> float:
        """Return the maximum of resident memory, minus that of the idle server."""
        return (self.server.peak_bytes() - self._idle) / MIB

    def resident_mib(self) -> float:
        """Return the resident memory, minus that of the idle server."""
        return (self.server.resident_bytes() - self._idle) / MIB

    def serves_others(self) -> None:
        """Check that a small and a large request of another client are answered."""
        assert self.ask(get("/", CLOSE), source=HONEST).endswith(b"index")
        for size in (100, MIB):
            upload = post("/body", b"", f"Content-Length: {size}", CLOSE)
            assert self.ask(upload, bytes(size), source=HONEST).endswith(b"\r\n\r\n%d" % size)


def answers_so_far(clients: list[socket.socket], count: int) -> list[bytes]:
    """Wait until `count` clients have an answer, and return the answers."""
    answers: dict[int, bytes] = {}
    ends_at = time.monotonic() + DEADLINE_S
    while len(answers) < count and time.monotonic() < ends_at:
        for number, client in enumerate(clients):
            client.settimeout(0.01)
            try:
                if number not in answers:
                    answers[number] = client.recv(65536)
            except (TimeoutError, ConnectionResetError):
                continue
    return list(answers.values())


@on_both_loops
@pytest.mark.parametrize("path", ["/body", "/thread"])
def test_bodies_that_lack_their_end(loop: str, path: str) -> None:
    with Crowd(loop, 8 * MIB) as crowd:
        head = post(path, b"", f"Content-Length: {MIB}")
        clients = [crowd.connect_slow(head, bytes(MIB - LACK)) for _ in range(20)]
        answers = answers_so_far(clients, 12)
        assert len(answers) >= 12
        assert all(b"HTTP/1.1 503 " in answer for answer in answers)
        assert b"\r\nRetry-After: 5\r\n" in answers[0]
        crowd.serves_others()
        assert crowd.peak_mib() < 24


@on_both_loops
def test_form_that_lacks_its_end(loop: str) -> None:
    with Crowd(loop, 4 * MIB) as crowd:
        kind = "Content-Type: multipart/form-data; boundary=b"
        head = post("/form", b"", f"Content-Length: {4 * MIB}", kind)
        part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
        clients = [crowd.connect_slow(head, part, bytes(MIB - 2000)) for _ in range(10)]
        answers = answers_so_far(clients, 6)
        assert len(answers) >= 6
        assert all(b"HTTP/1.1 503 " in answer for answer in answers)
        crowd.serves_others()


@on_both_loops
def test_client_behind_a_trusted_proxy_is_an_address_of_its_own(loop: str) -> None:
    with Crowd(loop, 8 * MIB) as crowd:
        honest = post(
            "/body", b"", f"Content-Length: {2 * MIB}", CLOSE, "X-Forwarded-For: 192.0.2.1"
        )
        client = crowd.connect(honest, bytes(2 * MIB - LACK), source=PROXY)
        slow = post("/body", b"", f"Content-Length: {MIB}", "X-Forwarded-For: 192.0.2.2")
        clients = [crowd.connect(slow, bytes(MIB - LACK), source=PROXY) for _ in range(20)]
        assert len(answers_so_far(clients, 12)) >= 12
        client.sendall(bytes(LACK))
        assert client.recv(65536).endswith(b"\r\n\r\n%d" % (2 * MIB))


@on_both_loops
def test_messages_that_lack_their_end(loop: str) -> None:
    with Crowd(loop, 8 * MIB) as crowd:
        clients = [crowd.connect(UPGRADE) for _ in range(30)]
        for client in clients:
            assert client.recv(65536).startswith(b"HTTP/1.1 101 ")
            client.sendall(message_head(MIB))
            client.sendall(bytes(MIB - LACK))
        answers = answers_so_far(clients, 22)
        assert len(answers) >= 22
        assert all(answer[2:4] == (1013).to_bytes(2) for answer in answers)
        crowd.serves_others()
        assert crowd.peak_mib() < 24


@on_both_loops
def test_small_messages_go_on_beside_those_that_lack_their_end(loop: str) -> None:
    with Crowd(loop, 4 * MIB) as crowd:
        other = crowd.connect(UPGRADE, source=HONEST)
        assert other.recv(65536).startswith(b"HTTP/1.1 101 ")
        clients = [crowd.connect(UPGRADE) for _ in range(10)]
        for client in clients:
            assert client.recv(65536).startswith(b"HTTP/1.1 101 ")
            client.sendall(message_head(MIB))
            client.sendall(bytes(MIB - LACK))
            other.sendall(message_head(10) + bytes(10))
            assert other.recv(65536) == b"\x81\x0210"


def poll_files(server: MeasuredServer, at_most: int) -> int:
    """Wait until the server has `at_most` files open, and return their number."""
    ends_at = time.monotonic() + DEADLINE_S
    while (count := server.open_files()) > at_most and time.monotonic() < ends_at:
        time.sleep(0.01)
    return count


@on_both_loops
def test_answers_that_nobody_reads(loop: str) -> None:
    with Crowd(loop, 45 * MIB) as crowd:
        files = crowd.server.open_files()
        for _ in range(8):
            client = crowd.connect(get("/large"))
            client.recv(1)
        assert poll_files(crowd.server, files + 2) <= files + 2
        crowd.serves_others()


@on_both_loops
def test_answers_that_take_no_memory_of_their_own_are_not_counted(loop: str) -> None:
    with Crowd(loop, 8 * MIB) as crowd:
        clients = [crowd.connect(get("/constant", CLOSE)) for _ in range(8)]
        crowd.serves_others()
        for client in clients:
            size = 0
            while piece := client.recv(MIB):
                size += len(piece)
            assert size > 20_000_000


# --- the figures: `pytest -m measured -s`

BUDGET = 24 * MIB
ALLOWED_MIB = 64


@pytest.mark.measured
@on_both_loops
def test_20_bodies_of_16_mib(loop: str) -> None:
    with Crowd(loop, BUDGET) as crowd:
        head = post("/body", b"", f"Content-Length: {16 * MIB}")
        for _ in range(20):
            crowd.connect_slow(head, bytes(16 * MIB - LACK))
        crowd.serves_others()
        print(f"{loop}: {crowd.peak_mib():.0f} MiB above idle")
        assert crowd.peak_mib() < ALLOWED_MIB


@pytest.mark.measured
@on_both_loops
def test_20_bodies_of_16_mib_after_their_credit(loop: str) -> None:
    with Crowd(loop, 256 * MIB) as crowd:
        head = post("/body", b"", f"Content-Length: {16 * MIB}")
        clients = [crowd.connect_slow(head, bytes(16 * MIB - LACK)) for _ in range(20)]
        begun = time.monotonic()
        while crowd.resident_mib() > ALLOWED_MIB and time.monotonic() < begun + 150:
            time.sleep(15)
            for client in clients:
                try:
                    client.send(b"x")
                except OSError:
                    continue
        crowd.serves_others()
        peak, rest = crowd.peak_mib(), crowd.resident_mib()
        seconds = time.monotonic() - begun
        print(f"{loop}: {peak:.0f} MiB above idle, {rest:.0f} after {seconds:.0f} s")
        assert rest < ALLOWED_MIB and seconds < 120


@pytest.mark.measured
@on_both_loops
def test_400000_packets_of_2_bytes(loop: str) -> None:
    with Crowd(loop, BUDGET) as crowd:
        client = crowd.connect(post("/body", b"", f"Content-Length: {16 * MIB}"))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(400_000):
            client.sendall(b"xy")
        crowd.serves_others()
        print(f"{loop}: {crowd.peak_mib():.1f} MiB above idle")
        assert crowd.peak_mib() < 8


@pytest.mark.measured
@on_both_loops
def test_200_messages_of_1_mib(loop: str) -> None:
    with Crowd(loop, BUDGET) as crowd:
        for _ in range(200):
            client = crowd.connect(UPGRADE)
            assert client.recv(65536).startswith(b"HTTP/1.1 101 ")
            client.sendall(message_head(MIB))
            client.sendall(bytes(MIB - LACK))
        crowd.serves_others()
        print(f"{loop}: {crowd.peak_mib():.0f} MiB above idle")
        assert crowd.peak_mib() < ALLOWED_MIB


def connect_readers(crowd: Crowd) -> list[socket.socket]:
    """Return 15 clients that have asked for 20 MB and read a byte."""
    clients = []
    for _ in range(15):
        client = crowd.connect(get("/large"))
        client.recv(1)
        clients.append(client)
    return clients


@pytest.mark.measured
@on_both_loops
def test_15_clients_that_do_not_read(loop: str) -> None:
    with Crowd(loop, BUDGET) as crowd:
        connect_readers(crowd)
        crowd.serves_others()
        print(f"{loop}: {crowd.peak_mib():.0f} MiB above idle")
        assert crowd.peak_mib() < ALLOWED_MIB


@pytest.mark.measured
@on_both_loops
def test_15_clients_that_read_2_kib_each_10_s(loop: str) -> None:
    with Crowd(loop, 256 * MIB) as crowd:
        files = crowd.server.open_files()
        clients = connect_readers(crowd)
        begun = time.monotonic()
        while crowd.server.open_files() > files and time.monotonic() < begun + 900:
            for client in clients:
                client.settimeout(0.01)
                with suppress(OSError):
                    client.recv(2048)
            time.sleep(10)
        crowd.serves_others()
        seconds = time.monotonic() - begun
        print(f"{loop}: {crowd.peak_mib():.0f} MiB above idle, cut off after {seconds:.0f} s")
        assert seconds < 900
