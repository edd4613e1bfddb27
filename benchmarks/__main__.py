"""Measure microweb beside the servers and frameworks that are installed.

    python -m benchmarks
    python -m benchmarks --peers DIRECTORY/bin --workloads real small --rounds 5

The peers are those whose packages the Python in `--peers` has; without it, this Python. Each is one
process on the first processor, on uvloop except for `microweb-asyncio`; wrk has the last one, and
64 connections. Each server must first give the right answer to each workload. Then they are
measured in turn in `--rounds`.

Prints a table of medians: microseconds of processor time of the server for each request, and in
brackets how many times as much as microweb takes. A dash means that the peer has no such
application here. See README.md for the workloads.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

from load import Wrk, measured
from orders import versions
from servers import SITES, Service, Site, service
from workloads import Workload, check, script_of, workloads, write_files

OWN = "microweb"
CONNECTIONS = 64
WARM_S = 1.0

Found = dict[tuple[str, str], list[float]]  # by the server and the workload


def missing_in(programs: str, packages: Iterable[str]) -> list[str]:
    """Return the packages that the Python of a directory of programs does not have."""
    code = "import importlib.util as u, sys\n"
    code += "print(*(name for name in sys.argv[1:] if u.find_spec(name) is None))"
    command = [f"{programs}/python", "-c", code, *packages]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"python -m benchmarks: {programs}/python failed: {run.stderr}")
    return run.stdout.split()


def sites_in(programs: str, names: Iterable[str]) -> dict[str, Site]:
    """Return the sites that can run, and print why others can't."""
    found = {}
    for name in names:
        missing = missing_in(programs, SITES[name].packages) if name != OWN else []
        if missing:
            print(f"left out: {name}, without {', '.join(missing)} in {programs}")
        else:
            found[name] = SITES[name]
    return found


def run(
    sites: dict[str, Site],
    programs: str,
    asked: dict[str, Workload],
    *,
    rounds: int,
    seconds: float,
) -> Found:
    """Return the figures of all rounds."""
    found: Found = {
        (name, workload): []
        for workload in asked
        for name, site in sites.items()
        if workload.partition(",")[0] in site.workloads
    }
    processors = sorted(os.sched_getaffinity(0))
    try:
        with ExitStack() as stack:
            os.sched_setaffinity(0, processors[:1])  # the servers inherit it
            running = {
                name: stack.enter_context(service(f"site-{name}", programs, workers=1))
                for name in sites
            }
            os.sched_setaffinity(0, processors[-1:])
            scripts = {key: prepared(running[key[0]], *key, asked[key[1]]) for key in found}
            for count in range(rounds + 1):  # the first one is to warm up
                for key, figures in found.items():
                    name, workload = key
                    each, server = asked[workload], running[name]
                    load = Wrk(server.port, CONNECTIONS, keeps=True, script=scripts[key])
                    span = seconds if count else min(seconds, WARM_S)
                    refused = each.status == 404
                    figure = measured(server.pid, load, span, is_refused=refused)
                    if count:
                        figures.append(figure.cpu_us)
    finally:
        os.sched_setaffinity(0, processors)
    return found


def prepared(running: Service, name: str, workload: str, asked: Workload) -> str:
    """Check a server's answer, and return the script of the load."""
    asks = asked.asks(running.port)
    check(name, workload, running.port, asked, asks[0])
    return asked.script or script_of(asks)


def print_table(found: Found, names: Iterable[str], asked: Iterable[str]) -> None:
    """Print the medians as a table in Markdown."""
    names = list(names)
    print(f"| | {' | '.join(names)} |\n|---|{'---:|' * len(names)}")
    for workload in asked:
        cells = []
        for name in names:
            own, figures = found[OWN, workload], found.get((name, workload))
            if figures is None:
                cells.append("-")
                continue
            times = median(b / a for a, b in zip(own, figures, strict=True))
            cells.append(f"{median(figures):.1f} ({times:.2f})")
        print(f"| {workload} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = workloads(1, 1)
    kinds = list(dict.fromkeys(name.partition(",")[0] for name in known))
    parser.add_argument(
        "--peers", default=str(Path(sys.executable).parent), help="the peers' programs"
    )
    parser.add_argument("--servers", nargs="+", choices=list(SITES), default=list(SITES))
    parser.add_argument("--workloads", nargs="+", choices=kinds, default=kinds, metavar="WORKLOAD")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--cookies", type=int, default=10_000, help="different sessions")
    parser.add_argument("--files", type=int, default=1_000, help="different files of `small`")
    chosen = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit(
            "python -m benchmarks: expected the load tool wrk on PATH: install it, for example by "
            "`apt-get install wrk`"
        )
    names = list(dict.fromkeys([OWN, *chosen.servers]))
    print(f"Python {sys.version.split()[0]}, {versions(sys.executable, ('microweb', 'uvloop'))}")
    sites = sites_in(chosen.peers, names)
    packages = {each for name in sites if name != OWN for each in sites[name].distributions}
    if packages:
        print(f"peers: {versions(f'{chosen.peers}/python', tuple(sorted(packages)))}")
    every = workloads(chosen.cookies, chosen.files)
    asked = {
        name: each for name, each in every.items() if name.partition(",")[0] in chosen.workloads
    }
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SITE_FOLDER"] = folder  # the servers inherit it
        write_files(Path(folder), chosen.files)
        print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
        options = {"rounds": chosen.rounds, "seconds": chosen.seconds}
        found = run(sites, chosen.peers, asked, **options)
    print_table(found, sites, asked)
    print(f"load average after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
