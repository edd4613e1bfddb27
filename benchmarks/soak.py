"""Load two workers for minutes, with clients that abort; print the growth of their memory.

    python benchmarks/soak.py --minutes 20 --reloads 30

The slope of the memory (PSS of all processes) is taken over the last three quarters of the time.
Then the workers reload `--reloads` times in a quarter of the time: memory and the supervisor's
descriptors should be as before. A failed request is one that the load did not abort.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import socket
import struct
import time
from contextlib import suppress

from load import Load
from processes import descriptor_count, tree_pss_mib
from servers import Service, service

ABORTING = 20
SAMPLE_S = 5.0
PIECES = (
    b"",
    b"GET / HT",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhello",
    b"GET /work HTTP/1.1\r\nHost: a\r\n\r\n" * 10,
    b"no request\r\n\r\n",
)


async def abort_often(port: int) -> None:
    """Send parts of requests, and reset the connections, until the task is cancelled."""
    while True:
        await asyncio.sleep(random.uniform(0.0, 0.2))
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(random.choice(PIECES))
            await asyncio.sleep(random.uniform(0.0, 0.05))
            connected = writer.get_extra_info("socket")
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


async def soak(running: Service, seconds: float, reloads: int) -> None:
    """Load, sample the memory, reload, and print the figures."""
    async with Load(running.port, keeps=True) as load, Load(running.port, keeps=False) as closing:
        aborting = [asyncio.create_task(abort_often(running.port)) for _ in range(ABORTING)]
        samples = await samples_of(running, seconds)
        last = samples[len(samples) // 4 :]
        mib = sum(value for _, value in last) / len(last)
        print(f"memory: {mib:.1f} MiB, slope {slope_of(last) * 60:+.3f} MiB a minute", flush=True)
        if reloads:
            await reload_often(running, reloads, seconds / 4)
        for task in aborting:
            task.cancel()
        await asyncio.wait(aborting)
    for name, counts in (("keep-alive", load.counts), ("close", closing.counts)):
        print(f"{name}: {counts.answered} answered, {counts.failed.total()} failed {counts.failed}")


async def samples_of(running: Service, seconds: float) -> list[tuple[float, float]]:
    """Return pairs of a time and the memory in MiB."""
    samples = []
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        await asyncio.sleep(min(SAMPLE_S, seconds / 20))
        samples.append((time.monotonic(), tree_pss_mib(running.pid)))
    return samples


async def reload_often(running: Service, reloads: int, seconds: float) -> None:
    """Reload, and print memory and descriptors before and after."""
    before = tree_pss_mib(running.pid), descriptor_count(running.pid)
    begun = time.monotonic()
    for number in range(1, reloads + 1):
        running.signal(signal.SIGHUP)
        while running.log.count("reload complete") < number:
            await asyncio.sleep(0.05)
        await asyncio.sleep(max(0.0, begun + number * seconds / reloads - time.monotonic()))
    await asyncio.sleep(15.0)  # the last old workers end
    after = tree_pss_mib(running.pid), descriptor_count(running.pid)
    print(
        f"{reloads} reloads in {time.monotonic() - begun:.0f} s: "
        f"memory {before[0]:.1f} -> {after[0]:.1f} MiB, "
        f"descriptors of the supervisor {before[1]} -> {after[1]}",
        flush=True,
    )


def slope_of(samples: list[tuple[float, float]]) -> float:
    """Return the slope of the line of least squares through pairs of x and y."""
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    squares = sum((x - mean_x) ** 2 for x, _ in samples)
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / squares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--reloads", type=int, default=30)
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    chosen = parser.parse_args()
    with service(f"microweb-{chosen.loop}", "") as running:
        asyncio.run(soak(running, chosen.minutes * 60, chosen.reloads))


if __name__ == "__main__":
    main()
