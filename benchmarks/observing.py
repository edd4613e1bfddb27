"""Measure what logs, metrics and traces cost a request.

    python benchmarks/observing.py

One process on uvloop answers `GET /users/7`, on the first processor; wrk has the last one, and 64
connections. The log goes to a file. The spans go nowhere; those of `unsampled` are not recorded.

Prints a table of medians of `--rounds` in turn: microseconds of processor time of the server for
each request, and how many more than without any of them.
"""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from statistics import median

from asgi import CONNECTIONS, WARM_S, measure
from servers import OBSERVED, service


def run(rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return the microseconds of all rounds."""
    found: dict[str, list[float]] = {name: [] for name in OBSERVED}
    processors = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        os.sched_setaffinity(0, processors[:1])  # the servers inherit it
        services = {name: stack.enter_context(service(name, "", workers=1)) for name in OBSERVED}
        os.sched_setaffinity(0, processors[-1:])
        for count in range(rounds + 1):  # the first one is to warm up
            for name, figures in found.items():
                figure = measure(services[name], "/users/7", "", seconds if count else WARM_S)
                if count:
                    figures.append(figure)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    chosen = parser.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.1f}, {CONNECTIONS} connections")
    found = run(chosen.rounds, chosen.seconds)
    print("| | µs | more |\n|---|---:|---:|")
    for name, figures in found.items():
        more = median(own - off for own, off in zip(figures, found["off"], strict=True))
        print(f"| {name} | {median(figures):.1f} | {more:.1f} |")
    print(f"load average after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
