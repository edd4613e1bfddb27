"""Hundreds of event streams and WebSockets: clients that vanish or never read, and the stop.

Only root can create the network of one test; the test is skipped for other users.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from integration.measuring import MeasuredServer, needs_proc, on_both_loops
from support.processes import DEADLINE_S, connect
from support.serving import get

resource = pytest.importorskip("resource")

EACH = 500
EVENTS = get("/events")
SOCKET = get(
    "/socket",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
GOING_AWAY = b"\x88\x02\x03\xe9"
MASKED_CLOSE = b"\x88\x82\x00\x00\x00\x00\x03\xe9"

pytestmark = needs_proc


class RealTimeServer(MeasuredServer):
    """The real-time application on `loop`.

    The clients of these tests answer no ping, so that without `ping_s` no ping becomes due.
    """

    def __init__(self, loop: str, host: str = "127.0.0.1", *, ping_s: int = 3600) -> None:
        super().__init__(loop, host, str(ping_s), app="real_time_app.py")

    def counts(self) -> dict[str, int]:
        """Return the numbers of subscribers, tasks and open files, without this connection's."""
        connection = connect(self.url)
        try:
            connection.request("GET", "/counts")
            counts: dict[str, int] = json.loads(connection.getresponse().read())
            return {**counts, "files": self.open_files()}
        finally:
            connection.close()

    def publish(self, text: str) -> None:
        connection = connect(self.url)
        try:
            connection.request("POST", "/publish", text)
            assert connection.getresponse().status == 204
        finally:
            connection.close()

    def until(self, is_so: Callable[[dict[str, int]], bool]) -> None:
        ends_at = time.monotonic() + DEADLINE_S
        while not is_so(counts := self.counts()):
            assert time.monotonic() < ends_at, counts
            time.sleep(0.05)


@pytest.fixture(autouse=True)
def files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4 * EACH:
        pytest.skip(f"the limit of open files is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4 * EACH), hard))


@contextmanager
def clients_of(
    server: RealTimeServer, request: bytes, number: int
) -> Iterator[list[socket.socket]]:
    """Yield connections whose answers have begun; close the open ones after the block."""
    clients = []
    try:
        for _ in range(number):
            client = socket.create_connection(server.address, timeout=DEADLINE_S)
            clients.append(client)
            client.sendall(request)
        for client in clients:
            read_until(client, b"\r\n\r\n")
        yield clients
    finally:
        for client in clients:
            client.close()


def read_until(client: socket.socket, end: bytes) -> bytes:
    """Return the bytes up to the read that contains `end`; fail if it does not arrive."""
    data = b""
    while end not in data:
        piece = client.recv(65536)
        assert piece, data
        data += piece
    return data


def read_all(client: socket.socket) -> bytes:
    data = b""
    while piece := client.recv(65536):
        data += piece
    return data


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@on_both_loops
@pytest.mark.parametrize(
    ("request_", "leave"),
    [
        (EVENTS, socket.socket.close),
        (EVENTS, reset),
        (SOCKET, socket.socket.close),
        (SOCKET, reset),
    ],
    ids=["events-fin", "events-rst", "socket-fin", "socket-rst"],
)
def test_clients_that_vanish_leave_nothing(
    loop: str, request_: bytes, leave: Callable[[socket.socket], None]
) -> None:
    with RealTimeServer(loop) as server:
        server.counts()
        before = server.counts()
        with clients_of(server, request_, EACH) as clients:
            server.until(lambda counts: counts["subscribers"] == EACH)
            for client in clients:
                leave(client)
            server.until(lambda counts: counts == before)
        server.stop()


@on_both_loops
def test_sockets_that_fall_silent_leave_nothing(loop: str) -> None:
    """They send nothing more; the kernel still acknowledges the server's bytes."""
    with RealTimeServer(loop, ping_s=1) as server:
        server.counts()
        before = server.counts()
        with clients_of(server, SOCKET, EACH) as clients:
            for client in clients:
                read_all(client)  # until the server has closed the connection
            server.until(lambda counts: counts == before)
        server.stop()


@on_both_loops
def test_stop_tells_everyone(loop: str) -> None:
    with RealTimeServer(loop) as server:
        with (
            clients_of(server, EVENTS, EACH) as streams,
            clients_of(server, SOCKET, EACH) as sockets,
        ):
            server.until(lambda counts: counts["subscribers"] == 2 * EACH)
            server.process.terminate()
            assert all(read_all(stream).endswith(b"0\r\n\r\n") for stream in streams)
            for client in sockets:
                assert GOING_AWAY in read_until(client, GOING_AWAY)
                client.sendall(MASKED_CLOSE)
            assert all(read_all(client) == b"" for client in sockets)
            server.ends(0)
        assert "shutdown handler ran" in server.out.rest()


@on_both_loops
def test_stop_waits_for_no_client_that_does_not_answer(loop: str) -> None:
    with RealTimeServer(loop) as server:
        with clients_of(server, EVENTS, 10), clients_of(server, SOCKET, 10):
            server.until(lambda counts: counts["subscribers"] == 20)
            server.stop()
        assert "shutdown handler ran" in server.out.rest()


@on_both_loops
@pytest.mark.parametrize("request_", [EVENTS, SOCKET], ids=["events", "socket"])
def test_client_that_never_reads_costs_the_others_nothing(loop: str, request_: bytes) -> None:
    """Its queue becomes full, and it is dropped; clients that read miss no message."""
    text = "x" * 10_000
    with (
        RealTimeServer(loop) as server,
        clients_of(server, request_, 1) as readers,
        clients_of(server, request_, 1) as others,
    ):
        server.until(lambda counts: counts["subscribers"] == 2)
        others[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        published = 0
        while server.counts()["subscribers"] == 2:
            assert published < 3000, "it is still there"
            for number in range(published, published + 50):
                server.publish(f"{text} {number}.")
                assert f"{text} {number}.".encode() in read_until(readers[0], b" %d." % number)
            published += 50
        server.publish("still here.")
        read_until(readers[0], b"still here.")


# --- a network that fails


@pytest.fixture
def cable() -> Iterator[tuple[str, str]]:
    """Create a network of two hosts; yield this host's address and the other's namespace."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root, and ip from iproute2")
    name = f"mw{os.getpid()}"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespace: {error.stderr.decode().strip()}")
    try:
        ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        try:
            ip("addr", "add", "198.51.100.1/30", "dev", f"{name}a")  # for examples: RFC 5737
            ip("link", "set", f"{name}a", "up")
            ip("-n", name, "addr", "add", "198.51.100.2/30", "dev", f"{name}b")
            ip("-n", name, "link", "set", f"{name}b", "up")
            yield "198.51.100.1", name
        finally:
            ip("link", "del", f"{name}a")
    finally:
        ip("netns", "del", name)


CLIENT = """
import socket, sys
address, request, number = (sys.argv[1], int(sys.argv[2])), sys.argv[3].encode(), int(sys.argv[4])
clients = [socket.create_connection(address, timeout=20) for _ in range(number)]
for client in clients:
    client.sendall(request)
    client.recv(65536)
print("connected", flush=True)
sys.stdin.read()
"""


@on_both_loops
@pytest.mark.parametrize("request_", [EVENTS, SOCKET], ids=["events", "socket"])
def test_clients_behind_a_cut_cable_leave_nothing(
    loop: str, request_: bytes, cable: tuple[str, str]
) -> None:
    """No reset and no end of input arrives; the server's bytes are just not acknowledged."""
    host, namespace = cable
    with RealTimeServer(loop, host, ping_s=1) as server:
        server.counts()
        before = server.counts()
        command = ["ip", "netns", "exec", namespace, sys.executable, "-c", CLIENT]
        _, port = server.address
        with subprocess.Popen(
            [*command, host, str(port), request_.decode(), "50"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as clients:
            assert clients.stdin is not None and clients.stdout is not None
            assert clients.stdout.readline() == b"connected\n"
            subprocess.run(
                ["ip", "-n", namespace, "link", "set", f"{namespace}b", "down"], check=True
            )
            server.until(lambda counts: counts == before)
            clients.kill()
