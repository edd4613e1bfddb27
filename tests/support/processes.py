"""Programs in other processes: their output line by line, and their exit status."""

from __future__ import annotations

import http.client
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
DEADLINE_S = 20.0

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
ENVIRONMENT.pop("PYTEST_ADDOPTS", None)  # the options of this run, such as a minimum coverage
# Set if coverage is measured. A child that measures too starts slowly: only workers do.
MEASURING = {
    name: ENVIRONMENT.pop(name) for name in ("COVERAGE_PROCESS_CONFIG",) if name in ENVIRONMENT
}


class Output:
    """A stream of lines, read in a thread, so that a wait for one has a deadline."""

    def __init__(self, stream: IO[str]) -> None:
        self.seen: list[str] = []  # all lines that `line_with` has read
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, args=(stream,))
        self._thread.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def wait_for(self, text: str) -> str:
        """Return the next line that contains `text`."""
        ends_at = time.monotonic() + DEADLINE_S
        try:
            while (line := self._lines.get(timeout=max(0, ends_at - time.monotonic()))) is not None:
                self.seen.append(line)
                if text in line:
                    return line
        except queue.Empty:
            pass
        raise AssertionError(f"expected {text!r} in the output, got {self.seen}")

    def rest(self) -> str:
        """Return all lines. Call it after the program has ended."""
        self._thread.join(DEADLINE_S)
        while not self._lines.empty():
            line = self._lines.get_nowait()
            if line is not None:
                self.seen.append(line)
        return "\n".join(self.seen)


class Program:
    """`python *arguments`; the end of the block kills it if it still runs.

    With `is_session` it leads a process group, as a program in a terminal does.
    """

    def __init__(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        is_session: bool = False,
        is_measured: bool = False,
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            env=ENVIRONMENT | MEASURING if is_measured else ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=is_session,
        )
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.stdin = self.process.stdin
        self.out = Output(self.process.stdout)
        self.err = Output(self.process.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)
        self.stdin.close()
        self.out.rest()
        self.err.rest()

    def urls(self) -> list[str]:
        """Wait for the line with the server's address, and return the address."""
        return re.findall(r"https?://[\w.:\[\]]+:\d+", self.out.wait_for("listening on"))

    def ends(self, status: int) -> None:
        """Wait for the end of the program, and check its exit status."""
        ended_with = self.process.wait(DEADLINE_S)
        assert ended_with == status, (ended_with, self.out.rest(), self.err.rest())

    def stop(self, number: int = signal.SIGTERM, *, status: int = 0) -> None:
        """Send a signal, wait for the end of the program, and check its exit status."""
        self.process.send_signal(number)
        self.ends(status)


def connect(url: str) -> http.client.HTTPConnection:
    """Return a connection to the server at `url`. It is not yet open."""
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=DEADLINE_S)


def get(url: str, path: str = "/") -> tuple[int, str]:
    """Return the status and the body of the response."""
    connection = connect(url)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def free_port() -> int:
    """Return a port that no other program has at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def run_to_end(arguments: Sequence[str | Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `python *arguments` until it ends."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_S,
    )
