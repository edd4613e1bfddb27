"""The board: what one process writes, others read."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from support.processes import DEADLINE_S, ENVIRONMENT

from microweb import ConfigurationError
from microweb.server import board as boards
from microweb.server.board import Board, WorkerState

pytestmark = pytest.mark.skipif(os.name != "posix", reason="descriptors are inherited")


WRITES = """
import sys
from microweb.server.board import Board, WorkerState
slot = Board.attach(int(sys.argv[1])).slots[2]
slot.report(requests=7, rss=1 << 40)
slot.connections = 3
slot.state = WorkerState.READY
"""


def test_another_process_reads_what_one_wrote(board: Board) -> None:
    command = [sys.executable, "-c", WRITES, str(board.descriptor)]
    subprocess.run(
        command, pass_fds=[board.descriptor], env=ENVIRONMENT, check=True, timeout=DEADLINE_S
    )
    slot = board.slots[2]
    assert (slot.requests, slot.rss, slot.connections) == (7, 1 << 40, 3)
    assert slot.state == WorkerState.READY
    assert 0 < slot.heartbeat_ns <= time.monotonic_ns()
    assert slot.pid not in (0, os.getpid())
    assert [each.pid for each in board.slots if each is not slot] == [0, 0, 0]


def test_cleared_slot_is_empty(board: Board) -> None:
    slot = board.slots[1]
    slot.report(requests=7, rss=1)
    slot.state, slot.connections = WorkerState.DRAINING, 2
    slot.clear()
    values = (slot.pid, slot.state, slot.heartbeat_ns, slot.connections, slot.requests, slot.rss)
    assert values == (0, WorkerState.EMPTY, 0, 0, 0, 0)


def test_board_of_another_version_is_refused(board: Board) -> None:
    os.pwrite(board.descriptor, (boards.LAYOUT + 1).to_bytes(8, sys.byteorder), 0)
    with pytest.raises(ConfigurationError, match="another version of microweb, restart"):
        Board.attach(board.descriptor)


def test_fewest_connections_of_the_workers_that_accept(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, *others = board.slots
    assert board.least_connections(own) is None
    for slot, state, count in zip(
        others,
        (WorkerState.READY, WorkerState.STARTING, WorkerState.DRAINING),
        (5, 1, 0),
        strict=True,
    ):
        slot.report(0, 0)
        slot.state, slot.connections = state, count
    assert board.least_connections(own) == 5
    now = time.monotonic_ns()
    monkeypatch.setattr(time, "monotonic_ns", lambda: now + 3 * 10**9)
    assert board.least_connections(own) is None  # its event loop stands still


def test_board_without_memfd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    made = Board.create(2)
    other = Board.attach(os.dup(made.descriptor))
    made.slots[1].connections = 9
    assert other.slots[1].connections == 9
    other.close()
    made.close()
