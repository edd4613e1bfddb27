"""Measure the same ASGI applications under microweb and under other servers.

    python benchmarks/asgi.py --peers DIRECTORY/bin

The environment of the peers has uvicorn, httptools, hypercorn, granian, uvloop, websockets,
wsproto, starlette and fastapi; microweb runs in it, too. Each server has one process on uvloop, on
the first processor; the load has the last one. All requests of `varied` differ in the path, a
cookie and a referer; `echo` posts 1 KiB of JSON. In `sockets`, each of 1,000 clients of a WebSocket
waits for the echo of its message before it sends the next.

Prints the versions, and a table of medians of `--rounds` in turn: microseconds of processor time of
the server for each request or message, and in brackets how many times as much uvicorn takes.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import sys
from contextlib import ExitStack
from statistics import median

from load import Wrk, measured
from orders import versions
from processes import tree_processor_s
from servers import ASGI, ASGI_APPS, Service, service
from workloads import VARIED

CONNECTIONS = 64
SOCKETS = 1000
MESSAGES = 20  # of each socket
WARM_S = 1.0
TEXT = b"a text of thirty-two characters."
PACKAGES = ("uvicorn", "httptools", "hypercorn", "granian", "uvloop", "starlette", "fastapi")

ECHO = """
wrk.method = "POST"
wrk.body = '{"name":"a","tags":["a","b","c"],"text":"' .. string.rep("y", 980) .. '"}'
wrk.headers["Content-Type"] = "application/json"
"""
# Workload -> application, path, script of wrk.
HTTP = {
    "plaintext": ("raw", "/plaintext", ""),
    "json": ("raw", "/json", ""),
    "varied": ("raw", "/", VARIED),
    "echo": ("raw", "/echo", ECHO),
    "Starlette": ("starlette", "/", ""),
    "FastAPI": ("fastapi", "/", ""),
}
WORKLOADS = (*HTTP, "sockets")

Found = dict[tuple[str, str], list[float]]  # by the server and the workload


def measure(running: Service, path: str, script: str, seconds: float) -> float:
    """Return the microseconds for a request. Raises: RuntimeError if one fails."""
    load = Wrk(running.port, CONNECTIONS, keeps=True, script=script, path=path)
    return measured(running.pid, load, seconds).cpu_us


def masked(text: bytes) -> bytes:
    """Return the frame of a short text from a client."""
    mask = os.urandom(4)
    content = bytes(byte ^ mask[place % 4] for place, byte in enumerate(text))
    return bytes((0x81, 0x80 | len(text))) + mask + content


async def talk(port: int, opened: asyncio.Semaphore, begin: asyncio.Event) -> None:
    """Open a WebSocket, and exchange its messages once all others are open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n" % key.encode()
    )
    if b" 101 " not in await reader.readuntil(b"\r\n\r\n"):
        raise RuntimeError("no WebSocket")
    opened.release()
    await begin.wait()
    frame = masked(TEXT)
    for _ in range(MESSAGES):
        writer.write(frame)
        if (await reader.readexactly(2 + len(TEXT)))[2:] != TEXT:
            raise RuntimeError("another text came back")
    writer.transport.abort()


async def measure_sockets(running: Service) -> float:
    """Return the microseconds for a message and its echo."""
    opened, begin = asyncio.Semaphore(0), asyncio.Event()
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for index in range(SOCKETS):
            group.create_task(talk(running.port, opened, begin))
            if index % 50 == 49:  # a server's queue of connections may be short
                await asyncio.sleep(0.05)
        for _ in range(SOCKETS):
            await opened.acquire()
        before = tree_processor_s(running.pid)
        begin.set()
    return (tree_processor_s(running.pid) - before) / (SOCKETS * MESSAGES) * 1e6


def run(programs: str, rounds: int, seconds: float, workloads: list[str]) -> Found:
    """Return the figures of all rounds."""
    found: Found = {(server, workload): [] for workload in workloads for server in ASGI}
    processors = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        os.sched_setaffinity(0, processors[:1])  # the servers inherit it
        services = {
            (server, app): stack.enter_context(service(f"{server}-{app}", programs, workers=1))
            for server in ASGI
            for app in ASGI_APPS
        }
        os.sched_setaffinity(0, processors[-1:])
        for count in range(rounds + 1):  # the first one is to warm up
            for (server, workload), figures in found.items():
                if workload == "sockets":
                    figure = asyncio.run(measure_sockets(services[server, "raw"]))
                else:
                    app, path, script = HTTP[workload]
                    span = seconds if count else WARM_S
                    figure = measure(services[server, app], path, script, span)
                if count:
                    figures.append(figure)
    return found


def print_table(found: Found, workloads: list[str]) -> None:
    """Print the medians as a table in Markdown."""
    print(f"| | {' | '.join(workloads)} |\n|---|{'---:|' * len(workloads)}")
    for server in ASGI:
        cells = []
        for workload in workloads:
            own, usual = found[server, workload], found["uvicorn", workload]
            times = median(b / a for a, b in zip(own, usual, strict=True))
            cells.append(f"{median(own):.1f} ({times:.2f})")
        print(f"| {server} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", required=True, help="the directory of the peers' programs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    chosen = parser.parse_args()
    print(f"microweb {versions(sys.executable, ('microweb',))}")
    print(versions(f"{chosen.peers}/python", PACKAGES))
    print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    found = run(chosen.peers, chosen.rounds, chosen.seconds, chosen.workloads)
    print_table(found, chosen.workloads)
    print(f"load average after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
