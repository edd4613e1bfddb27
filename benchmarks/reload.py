"""Count the requests that fail while a server reloads under load.

    python benchmarks/reload.py --peers DIRECTORY/bin

For each server and each way to connect: two workers, wrk with 48 connections and 300 clients that
pause 0 to 2 s, and `--reloads` whole reloads by SIGHUP. Each begins once two new workers have
answered; microweb's own log must also say that the reload is complete. Then 20 SIGHUPs in 2 s.
At last two backends behind nginx are stopped and started in turn. Prints a table.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

from load import Counts, Load
from servers import SERVERS, Service, free_port, nginx, service

RELOADING = [name for name in SERVERS if not name.startswith("alone")]
WAYS = ("keep-alive", "close", "nginx")
HUPS, HUPS_S = 20, 2.0
RELOAD_S = 20.0  # at most, for one reload
SETTLE_S = 3.0


async def whole_reloads(running: Service, load: Load, reloads: int) -> int:
    """Reload `reloads` times; return how many new workers have answered."""
    before = load.workers
    for number in range(1, reloads + 1):
        known = load.workers
        running.signal(signal.SIGHUP)
        if running.name.startswith("microweb"):
            await until(lambda number=number: running.log.count("reload complete") >= number)
        await until(lambda known=known: len(load.workers - known) >= running.workers)
    return len(load.workers - before)


async def until(is_true: Callable[[], bool]) -> None:
    """Wait until something is true, at most 20 s."""
    ends_at = time.monotonic() + RELOAD_S
    while not is_true() and time.monotonic() < ends_at:
        await asyncio.sleep(0.02)


async def many_hups(running: Service, load: Load) -> None:
    """Send 20 SIGHUPs in 2 s, and wait until no new worker has answered for a while."""
    for _ in range(HUPS):
        running.signal(signal.SIGHUP)
        await asyncio.sleep(HUPS_S / HUPS)
    known: set[str] = set()
    while load.workers - known:
        known = load.workers
        await asyncio.sleep(SETTLE_S)


async def measure(name: str, programs: str, way: str, reloads: int) -> list[str]:
    """Return the cells of one row: server, way, new workers, counts of reloads and of SIGHUPs."""
    with service(name, programs) as running:
        if way == "nginx":
            with nginx(running.port) as (port, log):
                cells = await measured(running, port, reloads, keeps=True, method="POST")
                print_log(log)
        else:
            cells = await measured(running, running.port, reloads, keeps=way == "keep-alive")
        return [name, way, *cells]


async def measured(
    running: Service, port: int, reloads: int, *, keeps: bool, method: str = "GET"
) -> list[str]:
    async with Load(port, keeps=keeps, method=method) as load:
        await asyncio.sleep(1.0)
        workers = await whole_reloads(running, load, reloads)
    async with Load(port, keeps=keeps, method=method) as second:
        await asyncio.sleep(1.0)
        await many_hups(running, second)
    return [f"{workers} of {2 * reloads}", shown(load.counts), shown(second.counts)]


async def two_backends(name: str, programs: str, restarts: int) -> list[str]:
    """Stop and start two backends behind nginx in turn, each `restarts` / 2 times."""
    backends = [Service(name, programs, port=free_port(), workers=1) for _ in range(2)]
    try:
        with nginx(*(each.port for each in backends)) as (port, log):
            async with Load(port, keeps=True, method="POST") as load:
                for number in range(restarts):
                    backend = backends[number % 2]
                    await asyncio.to_thread(backend.stop)
                    await asyncio.to_thread(backend.start)
            print_log(log)
        return [name, "two backends", "", shown(load.counts), ""]
    finally:
        for each in backends:
            each.stop()
            each.kill()


def shown(counts: Counts) -> str:
    """Return counts as text: failed of all, with the kinds of the failures."""
    failed = counts.failed.total()
    kinds = ", ".join(f"{count} {kind[:60]}" for kind, count in counts.failed.most_common(4))
    return f"{failed} of {counts.answered + failed}" + (f" ({kinds})" if kinds else "")


def print_log(log: Path) -> None:
    """Print the kinds of nginx's errors."""
    lines = log.read_text().splitlines()
    kinds = {line.partition("*")[2].partition(" ")[2].partition(",")[0] for line in lines}
    for kind in sorted(kinds):
        print(f"    nginx: {sum(kind in line for line in lines)} times {kind!r}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default="", help="directory with uvicorn, gunicorn, ...")
    parser.add_argument("--servers", nargs="*", choices=[*SERVERS], default=RELOADING)
    parser.add_argument("--ways", nargs="*", choices=[*WAYS, "backends"])
    parser.add_argument("--reloads", type=int, default=20)
    chosen = parser.parse_args()
    print("| server | way | new workers | failed in reloads | failed in 20 SIGHUPs |")
    print("|---|---|---|---|---|", flush=True)
    for name in chosen.servers:
        for way in chosen.ways or [*WAYS, "backends"]:
            print_row(lambda name=name, way=way: row(name, chosen.peers, way, chosen.reloads))


async def row(name: str, programs: str, way: str, reloads: int) -> list[str]:
    if way == "backends":
        return await two_backends(name, programs, reloads)
    return await measure(name, programs, way, reloads)


def print_row(measuring: Callable[[], object]) -> None:
    begun = time.monotonic()
    try:
        cells = asyncio.run(measuring())
    except (OSError, RuntimeError) as error:
        cells = ["failed", str(error)[-2000:]]
    print(f"| {' | '.join(cells)} | <!-- {time.monotonic() - begun:.0f} s -->", flush=True)


if __name__ == "__main__":
    main()
