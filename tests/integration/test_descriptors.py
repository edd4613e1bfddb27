"""A server without free file descriptors: it waits, logs that once, and continues."""

from __future__ import annotations

import socket
import time

from integration.measuring import MeasuredServer, needs_proc, on_both_loops
from support.processes import DEADLINE_S
from support.serving import GET

FILES = 128

pytestmark = needs_proc


def connect(address: tuple[str, int]) -> socket.socket:
    """Return a connection that has sent a request."""
    client = socket.create_connection(address, timeout=DEADLINE_S)
    client.sendall(GET)
    return client


def is_answered(client: socket.socket) -> bool:
    return client.recv(65536).startswith(b"HTTP/1.1 200 ")


@on_both_loops
def test_connections_beyond_the_limit_wait_for_room(loop: str) -> None:
    with MeasuredServer(loop, str(FILES)) as server:
        address = server.address
        clients = [connect(address)]
        assert is_answered(clients[0])
        before = server.cpu_s()
        clients += [connect(address) for _ in range(2 * FILES)]
        server.err.wait_for("nearly out of file descriptors")

        # Connected clients are served, and the server spends no time on attempts to accept.
        for _ in range(10):
            clients[0].sendall(GET)
            assert is_answered(clients[0])
        files = server.open_files()
        time.sleep(2.5)  # the server tries at least twice to accept, without success
        assert server.open_files() == files < FILES
        assert server.cpu_s() - before < 0.5

        # Each waiting client is accepted when others leave.
        for client in clients:
            if client is not clients[0]:
                assert is_answered(client)
            client.close()
        with connect(address) as client:
            assert is_answered(client)
        server.stop()
        said = server.err.rest().splitlines()
    assert sum("nearly out of file descriptors" in line for line in said) == 1
    assert len(said) <= 2, said  # the other one is about max_connections


@on_both_loops
def test_burst_is_not_dropped(loop: str) -> None:
    with MeasuredServer(loop, str(FILES)) as server:
        address = server.address
        clients = []
        for _ in range(2 * FILES):  # at the same time: no client waits until it is connected
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(address)
            clients.append(client)
        answered = 0
        for client in clients:
            client.settimeout(DEADLINE_S)
            client.sendall(GET)
            answered += is_answered(client)
            client.close()
        assert answered == 2 * FILES
        server.stop()


def test_descriptors_that_run_out_suddenly_are_logged_once() -> None:
    with MeasuredServer("asyncio", str(FILES)) as server:
        with socket.create_connection(server.address, timeout=DEADLINE_S) as client:
            client.sendall(GET.replace(b" / ", b" /exhaust?seconds=0.5 "))
            assert is_answered(client)
        clients = [connect(server.address) for _ in range(20)]
        for client in clients:
            assert is_answered(client)
            client.close()
        server.stop()
        said = server.err.rest().splitlines()
    assert sum("new connections wait until" in line for line in said) == 1
    assert not any("Traceback" in line for line in said)
