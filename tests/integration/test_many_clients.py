"""A well-behaved client is answered although many others are idle or slow.

MICROWEB_LOAD=full has 5,000 idle connections and 200 dripping ones; `-s` shows the figures.
"""

from __future__ import annotations

import os
import socket
import time
from itertools import count
from pathlib import Path

from integration.measuring import MeasuredServer, needs_proc, on_both_loops
from support.processes import DEADLINE_S, Program
from support.serving import GET

IS_FULL = os.environ.get("MICROWEB_LOAD") == "full"
IDLE, DRIPPING, ASKED = (5000, 200, 3000) if IS_FULL else (500, 50, 200)

pytestmark = needs_proc


class Dripping:
    """Clients that send their heads byte by byte, and reconnect if the server closes."""

    def __init__(self, address: tuple[str, int], number: int) -> None:
        self._address = address
        self._clients = [self._connect() for _ in range(number)]
        self._next = count()

    def _connect(self) -> tuple[socket.socket, int]:
        client = socket.create_connection(self._address, timeout=DEADLINE_S)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client, 0

    def drip(self) -> None:
        """Let the next client send its next byte."""
        index = next(self._next) % len(self._clients)
        client, sent = self._clients[index]
        try:
            client.send(GET[sent % (len(GET) - 2) :][:1])
            self._clients[index] = client, sent + 1
        except OSError:
            client.close()
            self._clients[index] = self._connect()

    def close(self) -> None:
        for client, _ in self._clients:
            client.close()


@on_both_loops
def test_good_client_is_answered(loop: str) -> None:
    with MeasuredServer(loop) as server:
        address = server.address
        idle = [socket.create_connection(address, timeout=DEADLINE_S) for _ in range(IDLE)]
        for client in idle:
            client.sendall(GET)
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
        dripping = Dripping(address, DRIPPING)
        flood = Program(Path(__file__).with_name("flooding.py"), address[0], str(address[1]))
        with flood, socket.create_connection(address, timeout=DEADLINE_S) as good:
            flood.out.wait_for("flooding")
            took = []
            for _ in range(ASKED):
                for _ in range(5):
                    dripping.drip()
                begun = time.perf_counter()
                good.sendall(GET)
                assert good.recv(4096).startswith(b"HTTP/1.1 200 ")
                took.append(time.perf_counter() - begun)
        took.sort()
        p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
        print(
            f"{loop}: {IDLE} idle, {DRIPPING} dripping, one flooding; of {ASKED} answers "
            f"p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, max {took[-1] * 1000:.1f} ms"
        )
        dripping.close()
        for client in idle:
            client.close()
        server.stop()
