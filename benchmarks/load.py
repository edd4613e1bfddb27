"""The load of these benchmarks: wrk, and clients that pause between their requests."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.load import Clients

CONNECTIONS = 48
PAUSING = 300
PAUSE_S = 2.0
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
        self._process.send_signal(signal.SIGINT)
        text, _ = self._process.communicate(timeout=60)
        self._script.close()
        return counts_in(text)


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
