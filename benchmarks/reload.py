"""Count the requests that fail while a server reloads under load.

    python benchmarks/reload.py --peers DIRECTORY/bin

For each server and each way to connect: two workers, wrk with 48 connections and 300 clients that
pause 0 to 2 s, and `--reloads` whole reloads by SIGHUP. Each begins once two new workers have
answered; microweb's own log must also say that the reload is complete. Then 20 SIGHUPs in 2 s.
At last two backends behind nginx are stopped and started in turn, `--reloads` times. Prints a row
for each, and at the end the table of README.md. Without `--peers` it is microweb alone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from load import Counts, Load
from servers import SERVERS, Service, service
from support.nginx import nginx
from support.processes import free_port

RELOADING = [name for name in SERVERS if not name.startswith("alone")]
WAYS = ("keep-alive", "close", "nginx")
BACKENDS = "backends"
HUPS, HUPS_S = 20, 2.0
RELOAD_S = 20.0  # at most, for one reload
SETTLE_S = 3.0


class Cell(NamedTuple):
    """The counts of one server and one way to connect."""

    server: str
    way: str
    workers: str  # how many new ones have answered
    in_reloads: Counts
    in_hups: Counts | None = None

    @property
    def failed(self) -> str:
        """The failures alone, as in README.md."""
        counts = [each for each in (self.in_reloads, self.in_hups) if each is not None]
        return ", ".join(str(each.failed.total()) for each in counts)

    def to_row(self) -> str:
        """Return a row with all counts."""
        hups = "" if self.in_hups is None else shown(self.in_hups)
        cells = (self.server, self.way, self.workers, shown(self.in_reloads), hups)
        return f"| {' | '.join(cells)} |"


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


async def measure(name: str, programs: str, way: str, reloads: int) -> Cell:
    """Reload a server under one way to connect."""
    if way == BACKENDS:
        return await two_backends(name, programs, reloads)
    with service(name, programs) as running:
        if way != "nginx":
            return await measured(running, way, running.port, reloads, keeps=way == "keep-alive")
        with nginx(running.port) as (port, log):
            cell = await measured(running, way, port, reloads, keeps=True, method="POST")
            print_log(log)
            return cell


async def measured(
    running: Service, way: str, port: int, reloads: int, *, keeps: bool, method: str = "GET"
) -> Cell:
    async with Load(port, keeps=keeps, method=method) as load:
        await asyncio.sleep(1.0)
        workers = await whole_reloads(running, load, reloads)
    async with Load(port, keeps=keeps, method=method) as second:
        await asyncio.sleep(1.0)
        await many_hups(running, second)
    new = f"{workers} of {2 * reloads}"
    return Cell(running.name, way, new, load.counts, second.counts)


async def two_backends(name: str, programs: str, restarts: int) -> Cell:
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
        return Cell(name, BACKENDS, "", load.counts)
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", default="", help="directory with uvicorn, gunicorn, ...")
    parser.add_argument("--servers", nargs="*", choices=RELOADING)
    parser.add_argument("--ways", nargs="*", choices=[*WAYS, BACKENDS], default=[*WAYS, BACKENDS])
    parser.add_argument("--reloads", type=int, default=20)
    chosen = parser.parse_args()
    print(conditions(chosen.peers), flush=True)
    print("| server | way | new workers | failed in reloads | failed in 20 SIGHUPs |")
    print("|---|---|---|---|---|", flush=True)
    cells = []
    own = [name for name in RELOADING if name.startswith("microweb")]
    for name in chosen.servers or (RELOADING if chosen.peers else own):
        for way in chosen.ways:
            begun = time.monotonic()
            try:
                cell = asyncio.run(measure(name, chosen.peers, way, chosen.reloads))
            except (OSError, RuntimeError) as error:
                print(f"| {name} | {way} | failed: {str(error)[-2000:]} |", flush=True)
                continue
            cells.append(cell)
            print(f"{cell.to_row()} <!-- {time.monotonic() - begun:.0f} s -->", flush=True)
    print(f"\n{conditions(chosen.peers)}\n\n{table_of(cells, chosen.reloads)}")


def conditions(programs: str) -> str:
    """Return the versions of the other servers, and how busy the machine is."""
    names = "uvicorn", "gunicorn", "granian", "hypercorn"
    code = "import sys; from importlib.metadata import version"
    code += "; print(', '.join(f'{name} {version(name)}' for name in sys.argv[1:]))"
    versions = "no other servers"
    if programs:
        command = [f"{programs}/python", "-c", code, *names]
        versions = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    load = os.getloadavg()[0]
    return f"{versions.strip()}; load average {load:.1f} on {os.cpu_count()} processors"


def table_of(cells: list[Cell], reloads: int) -> str:
    """Return the failures in the form of the table in README.md."""
    rows = [f"| server | {' | '.join(WAYS)} | two backends |", "|---|---|---|---|---|"]
    for server in dict.fromkeys(cell.server for cell in cells):
        failed = {cell.way: cell.failed for cell in cells if cell.server == server}
        row = [server, *(failed.get(way, "") for way in (*WAYS, BACKENDS))]
        rows.append(f"| {' | '.join(row)} |")
    return "\n".join([f"Failed in {reloads} reloads, and in 20 SIGHUPs in 2 s:\n", *rows])


if __name__ == "__main__":
    main()
