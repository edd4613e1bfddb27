"""The worker's side: the assignment, and the commands of the supervisor."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
from support.processes import DEADLINE_S, ENVIRONMENT

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


def test_worker_stops_once_its_supervisor_is_gone() -> None:
    board = Board.create(1)
    ours, inherited = socket.socketpair()
    with inherited:
        assignment = Assignment(os.getpid(), [], board.descriptor, 0, inherited.fileno())
        process = subprocess.Popen(
            [sys.executable, "-c", ENDS_WITH_ITS_SUPERVISOR],
            env={**ENVIRONMENT, VARIABLE: assignment.to_text()},
            pass_fds=assignment.descriptors,
            stdout=subprocess.PIPE,
        )
    with process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        ours.close()
        assert process.wait(DEADLINE_S) == 0
    board.close()


@pytest.mark.skipif(sys.platform != "linux", reason="of /proc")
def test_memory_of_this_process() -> None:
    assert 1 << 20 < resident_bytes() < 1 << 36
