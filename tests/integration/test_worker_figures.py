"""Workers that die, hang or are stopped, for as long as in production: `pytest -m measured -s`.

The short forms are in test_workers_that_fail.py. These take minutes, and assert times and shares
that hold on a quiet machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import LOOP
from support.load import Clients
from support.processes import Program, connect, get
from support.supervising import HANGING, children, connections_of, supervised, workers_that_answer

pytestmark = [
    pytest.mark.measured,
    pytest.mark.skipif(sys.platform != "linux", reason="of /proc"),
]

APP = f"""
import os
from microweb import App

app = App()

@app.get("/")
async def index() -> str:
    return f"{{os.getpid()}}"
{HANGING}
if __name__ == "__main__":
    app.run("127.0.0.1", 0, supervised=True, loop={LOOP!r}, OPTIONS)
"""
STALL_S = 30.0  # the default of worker_stall_s
REPLACED_S = STALL_S + 3.0
LINES = {"/sleep": "time.sleep(600)", "/regex": 're.match("(a*)*b", "a" * 40)'}
FRESH = 40


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return tmp_path / "app.py"


def with_workers(script: Path, count: int) -> Path:
    script.write_text(APP.replace("OPTIONS", f"workers={count}"))
    return script


def port_of(url: str) -> int:
    return urlsplit(url).port or 0


# --- workers that die


async def test_worker_that_is_killed_every_two_seconds(script: Path) -> None:
    """Lost are at most the connections of the dead, and no client is refused."""
    lost, kills = 0, 0
    with supervised(with_workers(script, 2)) as (program, url):
        load = Clients(url, keeps=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.run(48))
            for _ in range(10):
                await asyncio.sleep(2.0)  # the time between two deaths
                dead = children(program)[kills % 2]
                lost += connections_of(dead, port_of(url))
                os.kill(dead, signal.SIGKILL)
                kills += 1
            await asyncio.to_thread(program.err.wait_for, "is ready")
            load.stop()
        program.stop()
    failed = len(load.failed)
    print(f"\n{kills} killed: {failed} of {load.answered} failed, {lost} connections lost")
    assert load.answered > 1000
    assert failed <= lost
    assert not any("connect" in each for each in load.failed)


# --- a service that is stopped


def test_service_that_is_stopped_for_a_minute_replaces_no_worker(script: Path) -> None:
    with supervised(with_workers(script, 2)) as (program, url):
        before = workers_that_answer(url, 2)
        os.killpg(program.process.pid, signal.SIGSTOP)
        time.sleep(60.0)  # twice worker_stall_s
        os.killpg(program.process.pid, signal.SIGCONT)
        assert workers_that_answer(url, 2) == before
        time.sleep(5.0)  # a supervisor that was misled would kill in this time
        assert workers_that_answer(url, 2) == before
        program.stop()
        assert program.err.rest() == ""


# --- workers that hang


def hang(program: Program, url: str, path: str) -> threading.Thread:
    """Make one worker hang, and return the thread of its client."""

    def ask() -> None:
        connection = connect(url)
        connection.timeout = 2 * REPLACED_S
        with contextlib.suppress(OSError):
            connection.request("GET", path)
            connection.getresponse()
        connection.close()

    client = threading.Thread(target=ask)
    client.start()
    program.out.wait_for("hangs")
    return client


def until_replaced(program: Program, path: str, count: int, hung_at: float) -> float:
    """Wait until `count` workers are replaced; return the seconds since the last one hung."""
    for _ in range(count):
        wait_long(program, f"its event loop stands still for {STALL_S:g} s")
    ready = [line for line in program.err.seen if line.endswith("is ready")]
    while len(ready) < count:
        ready.append(program.err.wait_for("is ready"))
    assert sum(f"in {path[1:]}" in line for line in program.err.seen) == count
    return time.monotonic() - hung_at


def wait_long(program: Program, text: str) -> None:
    """Wait for a line longer than `wait_for` does."""
    with contextlib.suppress(AssertionError):
        program.err.wait_for(text)
        return
    program.err.wait_for(text)


def line_of(script: Path, path: str) -> str:
    """Return how a stack names the line of an endpoint that hangs."""
    lines = script.read_text().splitlines()
    number = next(at for at, line in enumerate(lines, 1) if LINES[path] in line)
    return f'"{script}", line {number} in {path[1:]}'


@pytest.mark.parametrize(
    ("workers", "hanging", "path"),
    [(2, 1, "/sleep"), (2, 1, "/regex"), (2, 2, "/sleep"), (1, 1, "/sleep"), (1, 1, "/regex")],
    ids=["one of two", "one of two, regex", "both", "single", "single, regex"],
)
def test_worker_that_hangs_is_replaced_in_time(
    script: Path, workers: int, hanging: int, path: str
) -> None:
    with supervised(with_workers(script, workers)) as (program, url):
        before = workers_that_answer(url, workers)
        clients = []
        for _ in range(hanging):
            hung_at = time.monotonic()
            clients.append(hang(program, url, path))
        if hanging < workers:
            assert [get(url)[0] for _ in range(FRESH)] == [200] * FRESH
        took_s = until_replaced(program, path, hanging, hung_at)
        print(f"\n{hanging} of {workers} in {path}: replaced after {took_s:.1f} s")
        assert took_s <= REPLACED_S
        assert line_of(script, path) in "\n".join(program.err.seen)
        assert len(workers_that_answer(url, workers) - before) == hanging
        for client in clients:
            client.join()
        program.stop()


# --- the balance


@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
@pytest.mark.parametrize("connections", [8, 64])
def test_no_worker_has_less_than_a_third(script: Path, connections: int) -> None:
    with supervised(with_workers(script, 2)) as (program, url):
        command = ["wrk", "-t1", f"-c{connections}", "-d3s", url]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as wrk:
            time.sleep(1.5)  # the middle of the load
            counts = [connections_of(pid, port_of(url)) for pid in children(program)]
            assert wrk.wait() == 0
        program.stop()
    print(f"\n{connections} connections: {counts}")
    assert sum(counts) == connections
    assert min(counts) >= connections / 3
