"""Measure a message to many subscribers: when the last one has it, and how long the loop is held.

    python benchmarks/fan_out.py --clients 10000

The clients are event streams, then WebSockets, of one process of microweb on uvloop. Prints a table
of medians of `--messages`: milliseconds until the last client has the message, processor time of
the server, and the longest time of it in which the event loop did nothing else. It needs two
descriptors for each client (`ulimit -n`).
"""

from __future__ import annotations

import argparse
import http.client
import os
import select
import socket
import time
from contextlib import ExitStack
from statistics import median
from typing import NamedTuple

from processes import tree_processor_s
from servers import Service, service

PATHS = {"event streams": "/events", "WebSockets": "/socket"}
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
BATCH = 100  # clients that connect at the same time
DEADLINE_S = 60.0
END = b"<end>"  # of each message


class Figures(NamedTuple):
    """Milliseconds of one message."""

    last: float  # until the last client has it
    used: float  # processor time of the server
    hold: float


class Clients:
    """Many connections to one path, which count the messages that they receive."""

    def __init__(self, stack: ExitStack, port: int, path: str, count: int) -> None:
        self._poll = stack.enter_context(select.epoll())
        self._sockets: dict[int, socket.socket] = {}
        fields = UPGRADE if path == "/socket" else ""
        self._head = f"GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode()
        for begun in range(0, count, BATCH):
            opened = [self._open(stack, port) for _ in range(min(BATCH, count - begun))]
            self.wait_for(b"\r\n\r\n", len(opened))

    def _open(self, stack: ExitStack, port: int) -> None:
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        connection.sendall(self._head)
        connection.setblocking(False)
        self._sockets[connection.fileno()] = connection
        self._poll.register(connection, select.EPOLLIN)

    def wait_for(self, end: bytes, count: int) -> None:
        """Receive until `end` has arrived `count` times. Raises: RuntimeError if it does not."""
        ends_at = time.monotonic() + DEADLINE_S
        while count > 0:
            if time.monotonic() > ends_at:
                raise RuntimeError(f"{count} clients got nothing for {DEADLINE_S:g} s")
            for number, _ in self._poll.poll(1.0):
                data = self._sockets[number].recv(65536)
                if not data:
                    raise RuntimeError("the server closed a connection")
                count -= data.count(end)


def send(port: int, path: str, body: str | None = None) -> http.client.HTTPConnection:
    """Send a request, and return the connection on which the answer comes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    connection.request("GET" if body is None else "POST", path, body)
    return connection


def answer_of(connection: http.client.HTTPConnection) -> str:
    """Return the body of an answer."""
    return connection.getresponse().read().decode()


def measure(running: Service, path: str, clients: int, messages: int) -> Figures:
    """Return the medians of all messages."""
    found: list[Figures] = []
    with ExitStack() as stack:
        audience = Clients(stack, running.port, path, clients)
        while answer_of(send(running.port, "/")) != str(clients):
            time.sleep(0.05)
        for number in range(messages + 1):  # the first one is to warm up
            begun, used_before = time.monotonic(), tree_processor_s(running.pid)
            publishing = send(running.port, "/publish", f"{number} {END.decode()}")
            audience.wait_for(END, clients)
            last = time.monotonic() - begun
            answer_of(publishing)
            used = tree_processor_s(running.pid) - used_before
            hold = float(answer_of(send(running.port, "/longest")))
            found.append(Figures(last * 1e3, used * 1e3, hold))
            time.sleep(0.2)
    return Figures(*map(median, zip(*found[1:], strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=7)
    chosen = parser.parse_args()
    processors = sorted(os.sched_getaffinity(0))
    print(f"load average: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    columns = "last client, ms | processor time, ms | longest hold, ms"
    print(f"| {chosen.clients:,} clients | {columns} |\n|---|---:|---:|---:|")
    for kind, path in PATHS.items():
        os.sched_setaffinity(0, processors[:1])  # the server inherits it
        with service("fan-out", "", workers=1) as running:
            os.sched_setaffinity(0, processors[-1:])
            last, used, hold = measure(running, path, chosen.clients, chosen.messages)
        print(f"| {kind} | {last:.0f} | {used:.0f} | {hold:.1f} |", flush=True)


if __name__ == "__main__":
    main()
