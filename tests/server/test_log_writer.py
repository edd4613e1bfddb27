"""The thread that writes the lines of a log."""

from __future__ import annotations

import os
import re
import select
import threading
import time

import pytest
from support.processes import DEADLINE_S

from microweb.server.lines import dropped as lines_dropped
from microweb.server.log_writer import LogWriter


def wait_until_full(pipe: int) -> None:
    poll = select.poll()
    poll.register(pipe, select.POLLOUT)
    ends_at = time.monotonic() + DEADLINE_S
    while poll.poll(0):
        assert time.monotonic() < ends_at
        time.sleep(0.001)


@pytest.mark.parametrize("first", [0, 200])
def test_lines_that_are_dropped_are_counted(first: int) -> None:
    reading, writing = os.pipe()
    writer, before = LogWriter(writing, "{} lost".format), lines_dropped.count
    line = "x" * 999  # 1000 bytes with its end
    for _ in range(first):
        writer.put(line)
    if first:  # the thread waits inside a write
        wait_until_full(writing)
    os.close(writing)
    for _ in range(3000 - first):  # the pipe takes 64 KiB, the queue 1 MiB
        writer.put(line)
    data = bytearray()
    closing = threading.Thread(target=writer.close)
    closing.start()
    while piece := os.read(reading, 65536):
        data += piece
    closing.join()
    os.close(reading)
    lines = data.decode().splitlines()
    report = re.compile(r"(\d+) lost")
    reports = [report.fullmatch(other) for other in lines if other != line]
    dropped = sum(int(match[1]) for match in reports if match is not None)
    assert None not in reports and dropped > 0  # one report a batch: the thread may take two
    assert dropped + lines.count(line) == 3000
    assert lines_dropped.count - before == dropped


def test_lines_are_written_where_somebody_made_the_pipe_non_blocking() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    writer = LogWriter(writing, "{} lost".format)
    os.close(writing)
    for _ in range(500):
        writer.put("x" * 999)
    closing = threading.Thread(target=writer.close)
    closing.start()
    data = bytearray()
    while piece := os.read(reading, 4096):
        data += piece
    closing.join()
    os.close(reading)
    assert len(data) == 500_000


def test_line_waits_for_the_next_one_if_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    reading, writing = os.pipe()
    writer = LogWriter(writing, "{} lost".format)
    os.close(writing)
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="new thread"):
        patched.setattr(threading.Thread, "start", refuse)
        writer.put("first")
    writer.put("second")
    writer.close()
    assert os.read(reading, 100) == b"first\nsecond\n"
    assert os.read(reading, 100) == b""  # the descriptor is closed
    os.close(reading)


def test_line_after_the_end_is_dropped() -> None:
    reading, writing = os.pipe()
    writer, before = LogWriter(writing, "{} lost".format), lines_dropped.count
    os.close(writing)
    writer.close()
    writer.put("late")
    assert os.read(reading, 100) == b""
    assert lines_dropped.count - before == 1
    os.close(reading)


def test_lines_are_written_in_order_while_others_are_queued() -> None:
    reading, writing = os.pipe()
    writer = LogWriter(writing, "{} lost".format)
    os.close(writing)
    wanted = [f"{number} {'x' * (number % 7000)}" for number in range(500)]
    found: list[str] = []
    with open(reading) as log:
        for begin in range(0, 500, 50):
            for line in wanted[begin : begin + 50]:
                writer.put(line)
            while len(found) < begin + 50:  # the thread writes them before the next line comes
                found.append(log.readline().rstrip("\n"))
        writer.close()
        assert log.read() == ""
    assert found == wanted
