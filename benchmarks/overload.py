"""Send more requests than a server can serve, with and without a limit, and print a table.

    python benchmarks/overload.py --rounds 3

Requests arrive at random times and do not wait for each other. A client that has no answer after a
second closes its connection. "Useful" are answers with 200 that still had a client. The peak is
that of 16 clients that each wait for their answer.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from servers import OVERLOADED, Service, service

PATIENCE_S = 1.0
PATHS = ("/wait", "/work")
COLUMNS = (
    *("handler", "limit", "load", "useful/s", "% of the peak", "p50, ms", "p99, ms", "503"),
    *("503: p99, ms", "503: last, ms", "no answer"),
)
REQUEST = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"


class Clients:
    """Clients of one server, which keep their connections, and their answers."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._request = REQUEST % path.encode()
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.counts: Counter[int] = Counter()  # by status; 0: no answer in time
        self.took_s: dict[int, list[float]] = {200: [], 503: []}
        self.sending_s = 0.0  # how long it took to send all requests

    async def ask(self) -> None:
        """Send one request and note its answer."""
        begun = time.perf_counter()
        status, connection = 0, None
        try:
            async with asyncio.timeout(PATIENCE_S):
                connection = await self._connection()
                status = await self._exchange(*connection)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            if connection is not None:
                connection[1].transport.abort()
        else:
            self._idle.append(connection)
            self.took_s.setdefault(status, []).append(time.perf_counter() - begun)
        self.counts[status] += 1

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._idle:
            return self._idle.pop()
        return await asyncio.open_connection("127.0.0.1", self._port)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        fields = head.lower().split(b"\r\n")
        (size,) = [each.partition(b":")[2] for each in fields if each.startswith(b"content-length")]
        await reader.readexactly(int(size))
        return int(head[9:12])

    def close(self) -> None:
        for _, writer in self._idle:
            writer.transport.abort()


async def peak_of(port: int, path: str, seconds: float) -> float:
    """Return the requests per second of 16 clients that wait for their answers."""
    clients, ends_at = Clients(port, path), time.monotonic() + seconds

    async def repeat() -> None:
        while time.monotonic() < ends_at:
            await clients.ask()

    await asyncio.gather(*[repeat() for _ in range(16)])
    clients.close()
    return clients.counts[200] / seconds


async def flood(port: int, path: str, rate: float, seconds: float) -> Clients:
    """Send `rate` requests per second for some seconds, and wait for their answers."""
    clients, tasks = Clients(port, path), set[asyncio.Task[None]]()
    due = begun = time.monotonic()
    while due < begun + seconds:
        due += random.expovariate(rate)
        await asyncio.sleep(max(due - time.monotonic(), 0.0))
        task = asyncio.create_task(clients.ask())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    clients.sending_s = time.monotonic() - begun
    if tasks:
        await asyncio.wait(tasks)
    clients.close()
    return clients


def quantile(values: list[float], part: float) -> float:
    """Return a quantile in milliseconds, 0 without values."""
    return sorted(values)[int(part * (len(values) - 1))] * 1000 if values else 0.0


def measured(running: Service, path: str, times: int, seconds: float) -> tuple[float, ...]:
    """Measure the peak, then `times` as much; return the figures of a row."""
    peak = asyncio.run(peak_of(running.port, path, seconds))
    clients = asyncio.run(flood(running.port, path, peak * times, seconds))
    served, refused = clients.took_s[200], clients.took_s[503]
    return (
        clients.counts.total() / clients.sending_s / peak,
        len(served) / clients.sending_s,
        100 * len(served) / clients.sending_s / peak,
        *(quantile(served, 0.5), quantile(served, 0.99)),
        *(len(refused), quantile(refused, 0.99), quantile(refused, 1.0)),
        clients.counts[0],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--times", type=int, nargs="*", default=[1, 4])
    given = parser.parse_args()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    rows: dict[tuple[str, str, int], list[tuple[float, ...]]] = defaultdict(list)
    with ExitStack() as stack:
        servers = [stack.enter_context(service(name, "", workers=1)) for name in OVERLOADED]
        cases = list(product(PATHS, servers, given.times))
        for _ in range(given.rounds):
            for path, running, times in cases:
                figures = measured(running, path, times, given.seconds)
                rows[path, running.name, times].append(figures)
    print(f"| {' | '.join(COLUMNS)} |")
    for (path, name, _), rounds in rows.items():
        load, *figures = map(median, zip(*rounds, strict=True))
        cells = " | ".join(f"{figure:.0f}" for figure in figures)
        print(f"| {path} | {name} | {load:.1f} | {cells} |")


if __name__ == "__main__":
    main()
