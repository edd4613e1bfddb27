"""Measure a request with validated JSON in and out, beside other frameworks.

    python benchmarks/orders.py --peers DIRECTORY/bin

Each framework has the same endpoint with the same constraints, with the libraries that its users
take. First each is checked: the same answer, and a refusal of each wrong body. Then wrk asks them
in turn for `--seconds`, with accepted and with refused bodies, in `--rounds`. All requests differ
in the body and in a field. The servers run on the first processor, wrk on the last one.

Prints the versions, and a table of medians: microseconds of processor time of the server for each
request, and requests per second of time. "Times" is the processor time in that of microweb, the
median of the rounds. Without `--peers` it is microweb alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from contextlib import ExitStack
from statistics import median
from typing import NamedTuple

from load import Figure, Wrk, measured
from order_bodies import check, draft, script, wrong_draft
from servers import Service, service

CONNECTIONS = 64
WARM_S = 1.0
BODIES = {"accepted": draft, "refused": wrong_draft}
PACKAGES = (
    *("falcon", "litestar", "blacksheep", "sanic", "sanic-ext", "robyn", "fastapi"),
    *("pydantic", "msgspec", "uvicorn", "httptools", "uvloop"),
)


class Contestant(NamedTuple):
    """A row of the table: a server, and its path with one library."""

    server: str
    path: str = "/orders"


OWN = "microweb"
CONTESTANTS = {
    OWN: Contestant("orders-microweb"),
    "Falcon, msgspec": Contestant("orders-falcon"),
    "Litestar, msgspec": Contestant("orders-litestar"),
    "BlackSheep, msgspec": Contestant("orders-blacksheep", "/msgspec/orders"),
    "BlackSheep, pydantic": Contestant("orders-blacksheep"),
    "Sanic, msgspec": Contestant("orders-sanic"),
    "Robyn, pydantic": Contestant("orders-robyn"),
    "FastAPI, pydantic": Contestant("orders-fastapi"),
}


def measure(running: Service, path: str, kind: str, seconds: float) -> Figure:
    """Return the figure of one load. Raises: RuntimeError if a request has another status."""
    load = Wrk(running.port, CONNECTIONS, keeps=True, script=script(BODIES[kind], path))
    return measured(running.pid, load, seconds, is_refused=kind == "refused")


Found = dict[tuple[str, str], list[Figure]]  # by the contestant and the kind of body


def run(names: list[str], programs: str, rounds: int, seconds: float) -> Found:
    """Return the figures of all rounds."""
    found: Found = {(name, kind): [] for name in names for kind in BODIES}
    processors = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        os.sched_setaffinity(0, processors[:1])  # the servers inherit it
        servers = {
            server: stack.enter_context(service(server, programs, workers=1))
            for server in dict.fromkeys(CONTESTANTS[name].server for name in names)
        }
        os.sched_setaffinity(0, processors[-1:])
        for name in names:
            server, path = CONTESTANTS[name]
            check(name, servers[server].port, path)
            for kind in BODIES:
                measure(servers[server], path, kind, WARM_S)
        for _ in range(rounds):
            for (name, kind), figures in found.items():
                server, path = CONTESTANTS[name]
                figures.append(measure(servers[server], path, kind, seconds))
    return found


def print_table(found: Found) -> None:
    """Print the medians as a table in Markdown."""
    columns = [f"{kind}, µs | times | requests/s" for kind in BODIES]
    print(f"| | {' | '.join(columns)} |\n|---|{'---:|' * 3 * len(BODIES)}")
    for name in dict.fromkeys(name for name, _ in found):
        cells: list[str] = []
        for kind in BODIES:
            figures, own = found[name, kind], found[OWN, kind]
            times = median(a.cpu_us / b.cpu_us for a, b in zip(figures, own, strict=True))
            cells += [f"{median(figure.cpu_us for figure in figures):.1f}", f"{times:.2f}"]
            cells.append(f"{median(figure.rate for figure in figures):,.0f}")
        print(f"| {name} | {' | '.join(cells)} |")


def versions(python: str, packages: tuple[str, ...]) -> str:
    """Return the names and versions of packages in the environment of a Python."""
    code = "import sys; from importlib.metadata import version as v\n"
    code += "print(', '.join(f'{name} {v(name)}' for name in sys.argv[1:]))"
    command = [python, "-c", code, *packages]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", help="the directory of the programs of the peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    chosen = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {versions(sys.executable, ('microweb', 'uvloop'))}")
    if chosen.peers:
        print(f"peers: {versions(f'{chosen.peers}/python', PACKAGES)}")
    print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    names = list(CONTESTANTS) if chosen.peers else [OWN]
    print_table(run(names, chosen.peers or "", chosen.rounds, chosen.seconds))
    print(f"load average after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
