"""The worker's side: the assignment, and the commands of the supervisor."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.processes import DEADLINE_S, ENVIRONMENT, MEASURING

from microweb import ConfigurationError
from microweb.server.board import Board
from microweb.server.worker import VARIABLE, Assignment, resident_bytes, take_assignment

pytestmark = pytest.mark.skipif(os.name != "posix", reason="descriptors are inherited")


def test_process_without_an_assignment_is_no_worker() -> None:
    assert take_assignment() is None


def test_assignment_of_a_parent_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that the application starts before `run` inherits the environment."""
    text = Assignment(os.getpid(), [3], 4, 0, 5).to_text()
    monkeypatch.setenv(VARIABLE, text)
    assert take_assignment() is None
    assert Assignment(*json.loads(text)).descriptors == [3, 4, 5]


ENDS_WITH_ITS_SUPERVISOR = """
import asyncio
from microweb.server.worker import STOP, take_assignment

async def main():
    worker = take_assignment()
    commands = asyncio.Queue()
    worker.open(commands.put_nowait)
    worker.ready()
    print("ready", flush=True)
    assert await commands.get() == STOP
    worker.ready()

asyncio.run(main())
"""


@contextmanager
def started(
    source: str, stderr: int | None = subprocess.DEVNULL
) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """Yield a worker that runs `source`, and the supervisor's end of its socket pair."""
    board = Board.create(1)
    ours, inherited = socket.socketpair()
    with inherited:
        assignment = Assignment(os.getpid(), [], board.descriptor, 0, inherited.fileno())
        process = subprocess.Popen(
            [sys.executable, "-c", source],
            env={**ENVIRONMENT, **MEASURING, VARIABLE: assignment.to_text()},
            pass_fds=assignment.descriptors,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    with process, ours:
        try:
            yield process, ours
        finally:
            process.kill()
    board.close()


def test_worker_stops_once_its_supervisor_is_gone() -> None:
    with started(ENDS_WITH_ITS_SUPERVISOR, stderr=None) as (process, ours):
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        ours.close()
        assert process.wait(DEADLINE_S) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="of /proc")
def test_memory_of_this_process() -> None:
    assert 1 << 20 < resident_bytes() < 1 << 36


ALONE = """
import sys, time
from microweb.server import worker as workers

workers._ALONE_S = 0.5
worker = workers.take_assignment()
print("started", flush=True)
{stuck}
"""


@pytest.mark.parametrize(
    "stuck",
    [
        "time.sleep(600)",
        "import re; re.match('(a*)*b', 'a' * 40)",
        "import threading; threading.Thread(target=time.sleep, args=(600,)).start()",
    ],
)
def test_stuck_worker_ends_once_its_supervisor_is_gone(stuck: str) -> None:
    with started(ALONE.format(stuck=stuck)) as (process, ours):
        assert process.stdout is not None and process.stdout.readline() == b"started\n"
        assert process.poll() is None
        ours.close()
        assert process.wait(DEADLINE_S) == 1


def test_worker_whose_supervisor_ended_before_is_no_supervisor() -> None:
    inside = "import microweb.server.worker as w; w.take_assignment()"
    board = Board.create(1)
    ours, inherited = socket.socketpair()
    assignment = Assignment(1 << 22, [], board.descriptor, 0, inherited.fileno())
    ours.close()
    ended = subprocess.run(
        [sys.executable, "-c", inside],
        env={**ENVIRONMENT, **MEASURING, VARIABLE: assignment.to_text()},
        pass_fds=assignment.descriptors,
        capture_output=True,
        timeout=DEADLINE_S,
    )
    assert b"the supervisor has ended" in ended.stderr
    inherited.close()
    board.close()


@pytest.mark.parametrize("text", ["{", "[1, 2]", "7"])
def test_assignment_of_another_version_is_refused(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ConfigurationError, match="restart the service"):
        take_assignment()


CLAIMS_TWICE = """
from microweb.server.worker import take_assignment
worker = take_assignment()
worker.claim()
worker.claim()
"""


def test_worker_serves_one_app() -> None:
    with started(CLAIMS_TWICE, stderr=subprocess.PIPE) as (process, _):
        _, errors = process.communicate(timeout=DEADLINE_S)
        assert b"a worker serves one app" in errors
