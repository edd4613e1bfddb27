"""The load of these benchmarks: wrk, and clients that pause between their requests."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from processes import tree_processor_s
from support.load import Clients

CONNECTIONS = 48
PAUSING = 300
PAUSE_S = 2.0
_START_S = 10.0  # for wrk to begin
_SIGNALS = 30  # that ask wrk to end
LONGEST_S = 600  # for a load that nothing ends


class Counts(NamedTuple):
    """The requests of a load that were answered, and the kinds of those that failed."""

    answered: int
    failed: Counter[str]


class Wrk:
    """wrk on `port` with `connections`, until `stop()`. `script` is Lua that makes the requests."""

    def __init__(
        self,
        port: int,
        connections: int,
        *,
        keeps: bool,
        method: str = "GET",
        path: str = "/",
        script: str = "",
    ) -> None:
        self._script = tempfile.NamedTemporaryFile("w", suffix=".lua")  # noqa: SIM115
        closing = "" if keeps else "wrk.headers['Connection'] = 'close'\n"
        body = "wrk.body = 'hello'\n" if method == "POST" else ""
        self._script.write(f"wrk.method = '{method}'\n{closing}{body}{script}")
        self._script.flush()
        options = ["-t1", f"-c{connections}", f"-d{LONGEST_S}s", "--timeout", "30s"]
        self._process = subprocess.Popen(
            [
                "nice",
                "-n",
                "10",
                "wrk",
                *options,
                "-s",
                self._script.name,
                f"http://127.0.0.1:{port}{path}",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def stop(self) -> Counts:
        """End the load; return its counts."""
        text = ""
        for _ in range(_SIGNALS):  # wrk misses a signal just before its sleep
            self._process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                text, _ = self._process.communicate(timeout=2)
                break
        else:
            self._process.kill()
            self._process.wait()
        self._script.close()
        return counts_in(text)


class Figure(NamedTuple):
    """The microseconds of processor time for a request, and the requests in a second."""

    cpu_us: float
    rate: float


def measured(
    pid: int,
    load: Wrk,
    seconds: float,
    *,
    is_refused: bool = False,
) -> Figure:
    """Return the figure of a load on a server, and end it.

    Raises: RuntimeError if a request fails, or has a status of success although it `is_refused`.
    """
    begun, used_before = time.monotonic(), tree_processor_s(pid)
    while tree_processor_s(pid) == used_before and time.monotonic() < begun + _START_S:
        time.sleep(0.01)  # the machine may be so busy that wrk has not begun
    time.sleep(seconds)
    answered, failed = load.stop()
    used, passed = tree_processor_s(pid) - used_before, time.monotonic() - begun
    refused = failed.pop("wrk status", 0)
    if failed or not answered or refused != (answered if is_refused else 0):
        raise RuntimeError(f"{refused} of {answered} refused, {dict(failed)}")
    return Figure(used / answered * 1e6, answered / passed)


def counts_in(text: str) -> Counts:
    """Return the counts in the report of wrk."""
    answered = re.search(r"(\d+) requests in", text)
    if answered is None:
        raise RuntimeError(f"wrk failed: {text}")
    failed: Counter[str] = Counter()
    if errors := re.search(r"Socket errors: (.*)", text):
        for kind, count in re.findall(r"(\w+) (\d+)", errors[1]):
            failed[f"wrk {kind}"] += int(count)
    if statuses := re.search(r"Non-2xx or 3xx responses: (\d+)", text):
        failed["wrk status"] += int(statuses[1])
    return Counts(int(answered[1]), +failed)


class Load:
    """wrk and 300 clients that pause 0 to 2 s, until the end of the block: then `counts` is set."""

    def __init__(self, port: int, *, keeps: bool, method: str = "GET") -> None:
        self._port, self._keeps, self._method = port, keeps, method
        self.counts = Counts(0, Counter())

    @property
    def workers(self) -> set[str]:
        """The processes that have answered the clients that pause."""
        return {body.decode() for body in self._clients.bodies}

    async def __aenter__(self) -> Load:
        url = f"http://127.0.0.1:{self._port}"
        self._clients = Clients(url, keeps=self._keeps, method=self._method, pause_s=PAUSE_S)
        self._pausing = asyncio.create_task(self._clients.run(PAUSING))
        self._wrk = Wrk(self._port, CONNECTIONS, keeps=self._keeps, method=self._method)
        return self

    async def __aexit__(self, *_: object) -> None:
        answered, failed = await asyncio.to_thread(self._wrk.stop)
        self._clients.stop()
        await self._pausing
        failed.update(self._clients.failed)
        self.counts = Counts(answered + self._clients.answered, failed)
