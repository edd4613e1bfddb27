"""A process that has the app, as the reloader sees it."""

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

from microweb.development.link import Go
from microweb.development.process import AppProcess
from microweb.development.terminal import Terminal
from microweb.server.board import Board

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers inherit sockets")

WORKER = f"""
import signal, sys, time
sys.path.insert(0, {str(ROOT)!r})
from microweb.development.link import Link, Report
from microweb.server.worker import take_assignment

worker = take_assignment()
link = Link(worker.link)
signal.signal(signal.SIGTERM, lambda *_: link.close())
go = link.wait()
if go is not None:
    link.send(Report([go.fault], [], True))
    worker.ready()
    time.sleep(600)
"""


@pytest.fixture
def process() -> Iterator[AppProcess]:
    board, terminal = Board.create(1), Terminal()
    with socket.socket() as bound:
        command = [sys.executable, "-c", WORKER]
        made = AppProcess(command, [bound], board, board.slots[0], terminal)
        yield made
        made.kill()
        made.close()
    terminal.close()
    board.close()


def test_it_waits_for_its_turn_and_reports(process: AppProcess) -> None:
    assert process.receive() == [] and not process.shows_fault
    process.go(Go("a fault"))
    found = []
    until(lambda: bool(found.extend(process.receive()) or found))
    assert found[0].files == ["a fault"] and process.shows_fault
    until(lambda: process.receive() == [] and process.spawned.is_ready)


def test_event_loop_that_takes_no_command_is_not_waited_for(
    process: AppProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    process.go(Go())
    until(lambda: process.receive() == [] and process.spawned.is_ready)
    begun = time.monotonic()
    process.retire(begun)
    process.retire(begun + 5)  # twice is once
    process.check(begun)
    assert process.deadline == begun + 1.0
    process.check(process.deadline)
    until(lambda: process.spawned.poll() is not None)
    assert capsys.readouterr().err.endswith("did not end in time: it is killed\n")


def test_it_has_left_the_app_before_it_has_ended(process: AppProcess) -> None:
    process.go(Go())
    until(lambda: process.receive() == [] and process.spawned.is_ready)
    process.retire(time.monotonic())
    assert not process.has_left_app
    os.kill(process.spawned.pid, signal.SIGTERM)
    until(lambda: process.receive() == [] and process.has_left_app)
    assert process.spawned.poll() is None
    assert process.spawned.channel in list(process.descriptors())
    assert len(list(process.descriptors())) == 1


def test_worker_that_waits_ends_at_once(process: AppProcess) -> None:
    process.retire(time.monotonic())
    until(lambda: process.spawned.poll() is not None)
