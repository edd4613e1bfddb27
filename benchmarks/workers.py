"""Measure how workers share their work: connections, processor time, and short connections.

    python benchmarks/workers.py [balance] [cpu] [close]

`balance`: 8 and 64 connections of wrk; no worker should have less than a third.
`cpu`: requests of 2 ms of processor time; two workers should answer 1.7 times as many as one. This
holds only if the machine is quiet: the load average is printed.
`close`: requests with `Connection: close` in a second of processor time. One process accepts by
`asyncio.start_server`, a supervised one by its own reader of the shared socket.
"""

from __future__ import annotations

import argparse
import os
import time
from statistics import median

from load import Wrk
from processes import children_of, tree_processor_s
from servers import Service, service
from support.supervising import connections_of

LOOPS = ("uvloop", "asyncio")
SETTLE_S = 1.0


def balance() -> None:
    """Print how many connections each of two workers has."""
    print("| loop | wrk connections | of the workers | smallest share |\n|---|---|---|---|")
    for loop in LOOPS:
        for connections in (8, 64):
            with service(f"microweb-{loop}", "") as running:
                load = Wrk(running.port, connections, keeps=True)
                time.sleep(SETTLE_S)
                pids = children_of(running.pid)
                counts = sorted(connections_of(pid, running.port) for pid in pids)
                load.stop()
            shares = " and ".join(map(str, counts))
            print(
                f"| {loop} | {connections} | {shares} | {counts[0] / sum(counts):.2f} |", flush=True
            )


def cpu(rounds: int, seconds: float) -> None:
    """Print how many requests of 2 ms two workers answer in place of one."""
    print("| loop | one worker, requests/s | two workers | ratio |\n|---|---|---|---|")
    for loop in LOOPS:
        rates: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(rounds):
            for workers, found in rates.items():
                with service(f"microweb-{loop}", "", workers=workers) as running:
                    found.append(rate_of(running, seconds, path="/work")[0])
        one, two = median(rates[1]), median(rates[2])
        ratio = median(b / a for a, b in zip(rates[1], rates[2], strict=True))
        print(f"| {loop} | {one:.0f} | {two:.0f} | {ratio:.2f} |", flush=True)


def close(rounds: int, seconds: float) -> None:
    """Print the requests with `Connection: close` in a second of the server's processor time."""
    print("| loop | start_server | shared, one worker | shared, two workers |\n|---|---|---|---|")
    for loop in LOOPS:
        forms = ((f"alone-{loop}", 1), (f"microweb-{loop}", 1), (f"microweb-{loop}", 2))
        rates: list[list[float]] = [[] for _ in forms]
        for _ in range(rounds):
            for (name, workers), found in zip(forms, rates, strict=True):
                with service(name, "", workers=workers) as running:
                    found.append(rate_of(running, seconds, keeps=False)[1])
        print(f"| {loop} | {' | '.join(f'{median(found):.0f}' for found in rates)} |", flush=True)


def rate_of(
    running: Service, seconds: float, *, keeps: bool = True, path: str = "/"
) -> tuple[float, float]:
    """Return the requests in a second of time, and in one of the server's processor time."""
    load = Wrk(running.port, 16, keeps=keeps, path=path)
    begun, used_before = time.monotonic(), tree_processor_s(running.pid)
    time.sleep(seconds)
    counts = load.stop()
    used = tree_processor_s(running.pid) - used_before
    if counts.failed:
        raise RuntimeError(f"requests failed: {counts.failed}")
    return counts.answered / (time.monotonic() - begun), counts.answered / used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["balance", "cpu", "close"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    chosen = parser.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    if "balance" in chosen.parts:
        balance()
    if "cpu" in chosen.parts:
        cpu(chosen.rounds, chosen.seconds)
    if "close" in chosen.parts:
        close(chosen.rounds, chosen.seconds)
    print(f"load average after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
