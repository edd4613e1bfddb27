"""A service with workers: a supervisor in another process, and the processes below it."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .processes import DEADLINE_S, Program, get

_ESTABLISHED = "01"  # the state in /proc/net/tcp

SCRIPT = """
import os, sys, time
from microweb import App, Request

app = App()

@app.get("/")
async def index() -> str:
    return f"{os.getpid()}"

@app.post("/")
async def post(request: Request) -> str:
    return (await request.text()) and f"{os.getpid()}"

@app.get("/block")
async def block(seconds: float) -> str:
    print("blocks", flush=True)
    time.sleep(seconds)
    return "unblocked"

if __name__ == "__main__":
    app.run(port=0, workers=2, grace_s=5)
    print("behind run")
"""

# Endpoints that never return: in a call that lets other threads run, and in one that does not.
HANGING = """
import re, time

@app.get("/sleep")
async def sleep() -> str:
    print("hangs", flush=True)
    time.sleep(600)
    return ""

@app.get("/regex")
async def regex() -> str:
    print("hangs", flush=True)
    re.match("(a*)*b", "a" * 40)
    return ""
"""


@contextmanager
def supervised(*arguments: str | Path, cwd: Path | None = None) -> Iterator[tuple[Program, str]]:
    """Yield a program that serves by workers, and its URL; check that no worker is left."""
    with Program(*arguments, cwd=cwd, is_session=True, is_measured=True) as program:
        line = program.out.wait_for("listening on")
        workers = pids_in(line)
        url = re.findall(r"https?://[\w.:\[\]]+:\d+", line)[0]
        yield program, url
    until(lambda: not any(map(is_alive, workers)))


def pids_in(line: str) -> list[int]:
    return [int(pid) for pid in re.findall(r"\b\d+\b", line.partition("workers ")[2])]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def kill_group(program: Program) -> None:
    """Kill a supervisor and its workers at once: one that hangs would end later."""
    os.killpg(program.process.pid, signal.SIGKILL)


def until(is_true: Callable[[], object]) -> None:
    """Wait until a fact of another process or thread is true."""
    ends_at = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def workers_that_answer(url: str, count: int) -> set[int]:
    """Return the processes that answer, once there are `count`."""
    found: set[int] = set()
    ends_at = time.monotonic() + DEADLINE_S
    while len(found) < count:
        assert time.monotonic() < ends_at
        found.add(int(get(url)[1]))
    return found


def children(program: Program) -> list[int]:
    """Return the processes that `program` has started, on Linux."""
    pid = program.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def connections_of(pid: int, port: int) -> int:
    """Return how many connections to `port` of 127.0.0.1 a process has, on Linux."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == _ESTABLISHED and int(fields[1].partition(":")[2], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    found = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/{pid}/fd/{number}"))
    return len(inodes & found)


def first_workers(program: Program, count: int) -> list[int]:
    """Wait for the first workers, and return their processes. The supervisor takes signals then."""
    until(lambda: len(children(program)) == count)
    return children(program)
