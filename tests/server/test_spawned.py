"""One worker as its supervisor sees it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator

import pytest
from support.processes import ROOT
from support.supervising import until

from microweb.server.board import Board, WorkerState
from microweb.server.spawned import Spawned, WorkerEnd
from microweb.server.worker import RETIRE, STOP

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers inherit sockets")

WORKER = f"""
import asyncio, os, sys
sys.path.insert(0, {str(ROOT)!r})
from microweb.server.worker import VARIABLE, take_assignment

async def main():
    worker = take_assignment()
    assert VARIABLE not in os.environ and take_assignment() is None
    assert not any(os.get_inheritable(bound.fileno()) for bound in worker.sockets)
    assert sys.stdin.read() == ""
    commands = asyncio.Queue()
    worker.open(commands.put_nowait)
    worker.heartbeat(5)
    worker.ready()
    command = await commands.get()
    worker.drain()
    worker.close()
    sys.exit(command[0])

asyncio.run(main())
"""


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        yield made


def is_ready(worker: Spawned) -> bool:
    worker.receive()
    return worker.is_ready


def test_worker_reports_and_obeys(board: Board, bound: socket.socket) -> None:
    worker = Spawned([sys.executable, "-c", WORKER], [bound], board, board.slots[1])
    until(lambda: is_ready(worker))
    assert worker.slot.state == WorkerState.READY
    assert (worker.slot.pid, worker.slot.requests) == (worker.pid, 5)
    assert worker.slot.rss > 1 << 20
    assert worker.started_at <= worker.heartbeat() <= time.monotonic()
    assert worker.poll() is None
    worker.send(RETIRE)
    until(worker.poll)
    assert worker.poll() == WorkerEnd(RETIRE[0])
    assert worker.slot.state == WorkerState.DRAINING
    worker.close()
    assert worker.slot.state == WorkerState.EMPTY
    worker.send(RETIRE)  # it has ended: nothing happens
    worker.receive()


def test_worker_that_is_killed(board: Board, bound: socket.socket) -> None:
    worker = Spawned([sys.executable, "-c", WORKER], [bound], board, board.slots[0])
    worker.kill()
    until(worker.poll)
    assert str(worker.poll()) == "was killed by SIGKILL"
    worker.close()


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exited with status 0"),
        (-signal.SIGSEGV, "was killed by SIGSEGV"),
        (-signal.SIGKILL, "was killed by SIGKILL (out of memory?)"),
        (-40, "was killed by signal 40"),
    ],
)
def test_end_in_words(status: int, text: str) -> None:
    assert str(WorkerEnd(status)) == text


SLEEPS = "print(1, flush=True); import time; time.sleep(600)"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_signal_of_the_group_does_not_end_a_worker_that_starts(
    board: Board, bound: socket.socket, number: signal.Signals
) -> None:
    worker = Spawned([sys.executable, "-c", SLEEPS], [bound], board, board.slots[0])
    os.kill(worker.pid, number)
    worker.send(STOP)  # SIGTERM, because it does not read commands yet
    until(worker.poll)
    assert worker.poll() == WorkerEnd(0)
    worker.close()
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {number}


def test_program_that_can_not_be_started(board: Board, bound: socket.socket) -> None:
    descriptors = os.listdir("/proc/self/fd") if sys.platform == "linux" else []
    with pytest.raises(OSError, match="/no/python"):
        Spawned(["/no/python"], [bound], board, board.slots[0])
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) == len(descriptors)


def test_limit_that_a_worker_has_passed(
    board: Board, bound: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Spawned([sys.executable, "-c", ""], [bound], board, board.slots[0])
    worker.slot.report(requests=120, rss=1 << 30)
    assert worker.passed_limit(0, 0) == worker.passed_limit(140, 1 << 29) == ""
    assert "max_requests=100" in worker.passed_limit(100, 0)
    later = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert "max_rss=536870912" in worker.passed_limit(0, 1 << 29)
    worker.close()


def test_limits_of_workers_differ(board: Board, bound: socket.socket) -> None:
    workers = [Spawned([sys.executable, "-c", ""], [bound], board, slot) for slot in board.slots]
    limits = [worker.with_jitter(1_000_000) for worker in workers]
    assert all(900_000 <= limit <= 1_100_000 for limit in limits)
    assert limits[0] != limits[1]
    for worker in workers:
        assert worker.with_jitter(0) == 0
        worker.close()
