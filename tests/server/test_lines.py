"""Whole lines on a descriptor that several processes share."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes import DEADLINE_S, ENVIRONMENT

from microweb.server import lines
from microweb.server.board import Board
from microweb.server.lines import PIPE_BUF, LineLock, write_lines

fcntl = pytest.importorskip("fcntl")

# Its arguments: the shared memory, a text, the size and the number of lines that it writes.
WRITER = """
import os, sys
from microweb.server.lines import line_lock, write_lines
memory, text, size, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
line_lock.share(memory)
print("ready", file=sys.stderr, flush=True)
sys.stdin.readline()
for _ in range(count):
    write_lines(1, [text.encode() * size + b"\\n"])
"""


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> Iterator[LineLock]:
    """A lock that other tests do not use."""
    lock = LineLock()
    monkeypatch.setattr(lines, "line_lock", lock)
    yield lock
    lock.leave()


def start(board: Board, stdout: int, text: str, size: int, count: int) -> subprocess.Popen[bytes]:
    arguments = [str(board.descriptor), text, str(size), str(count)]
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, *arguments],
        env=ENVIRONMENT,
        pass_fds=[board.descriptor],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == b"ready\n"
    return process


def go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()


def end(process: subprocess.Popen[bytes]) -> None:
    process.wait(DEADLINE_S)
    for stream in (process.stdin, process.stderr):
        assert stream is not None
        stream.close()


def read_all(reading: int) -> bytes:
    data = bytearray()
    while piece := os.read(reading, 1000):  # slowly: the pipe is full nearly always
        data += piece
    os.close(reading)
    return bytes(data)


def test_long_and_short_lines_of_processes_are_not_mixed(board: Board) -> None:
    reading, writing = os.pipe()
    sizes = {"a": (20_000, 60), "b": (20_000, 60), "c": (100, 600)}
    processes = [start(board, writing, text, *size) for text, size in sizes.items()]
    os.close(writing)
    for process in processes:
        go(process)
    found = read_all(reading).splitlines()
    for process in processes:
        end(process)
    expected = [text.encode() * size for text, (size, count) in sizes.items() for _ in range(count)]
    assert sorted(found) == sorted(expected)


def test_process_that_is_killed_inside_a_line_spoils_only_that_line(
    board: Board, lock: LineLock
) -> None:
    reading, writing = os.pipe()
    process = start(board, writing, "x", 200_000, 1)
    go(process)
    data = os.read(reading, 1)  # it has begun, and the pipe can't hold the rest
    process.send_signal(signal.SIGKILL)
    end(process)
    lock.share(board.descriptor)
    assert lock.is_unfinished
    thread = threading.Thread(target=write_lines, args=(writing, [b"whole\n", b"again\n"]))
    thread.start()
    while not data.endswith(b"again\n"):
        data += os.read(reading, 65536)
    thread.join()
    os.close(reading)
    os.close(writing)
    broken, *rest = data.splitlines()
    assert set(broken) == {ord("x")} and rest == [b"whole", b"again"]
    assert not lock.is_unfinished


# It has the lock of the lines, and waits for a lock that the test has: then the test must not wait
# for the lock of the lines.
HOLDER = """
import fcntl, sys
from microweb.server.lines import _MARK
fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX, 1, _MARK)
with open(sys.argv[2], "r+") as other:
    print("ready", file=sys.stderr, flush=True)
    fcntl.lockf(other, fcntl.LOCK_EX)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/locks")
def test_line_is_written_although_the_kernel_refuses_the_lock(
    board: Board, lock: LineLock, tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    lock.share(board.descriptor)
    with (tmp_path / "lock").open("w") as own:
        fcntl.lockf(own, fcntl.LOCK_EX)
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(board.descriptor), own.name],
            env=ENVIRONMENT,
            pass_fds=[board.descriptor],
            stderr=subprocess.PIPE,
        )
        assert holder.stderr is not None
        assert holder.stderr.readline() == b"ready\n"
        ends_at = time.monotonic() + DEADLINE_S
        waits = re.compile(rf"-> POSIX .* {holder.pid} ")
        while not waits.search(Path("/proc/locks").read_text()):
            assert time.monotonic() < ends_at
            time.sleep(0.001)
        assert write_lines(writing, [b"line\n"]) == 0
    assert os.read(reading, 100) == b"line\n"
    assert holder.wait(DEADLINE_S) == 0
    holder.stderr.close()
    os.close(reading)
    os.close(writing)


def test_threads_take_turns_without_shared_memory(lock: LineLock) -> None:
    reading, writing = os.pipe()
    threads = [
        threading.Thread(target=write_lines, args=(writing, [text * 20_000 + b"\n"] * 20))
        for text in (b"a", b"b")
    ]
    for thread in threads:
        thread.start()
    data = b""
    while data.count(b"\n") < 40:
        data += os.read(reading, 65536)
    for thread in threads:
        thread.join()
    os.close(reading)
    os.close(writing)
    assert sorted(data.splitlines()) == [b"a" * 20_000] * 20 + [b"b" * 20_000] * 20


@pytest.mark.parametrize("is_shared", [True, False])
def test_line_that_the_disk_had_no_room_for_is_ended_by_the_next(
    tmp_path: Path, lock: LineLock, board: Board, monkeypatch: pytest.MonkeyPatch, is_shared: bool
) -> None:
    if is_shared:
        lock.share(board.descriptor)
    room = 7
    write = os.write

    def write_on_a_full_disk(descriptor: int, data: memoryview) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        written = write(descriptor, data[:room])
        room -= written
        return written

    before = lines.dropped.count
    with (tmp_path / "log").open("wb") as log:
        monkeypatch.setattr(os, "write", write_on_a_full_disk)
        assert write_lines(log.fileno(), [b"one\n", b"two-two\n", b"three\n"]) == 2
        assert write_lines(log.fileno(), [b"four\n"]) == 1
        room = 1000
        assert write_lines(log.fileno(), [b"five\n"]) == 0
        assert write_lines(log.fileno(), [b"six\n"]) == 0
    assert (tmp_path / "log").read_text().splitlines() == ["one", "two", "five", "six"]
    assert lines.dropped.count - before == 3


def test_full_disk_and_broken_pipe_lose_lines(lock: LineLock) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY)
    for descriptor in (writing, full):
        assert write_lines(descriptor, [b"x" * PIPE_BUF + b"\n", b"short\n"]) == 2
        assert not lock.is_unfinished
        os.close(descriptor)


def test_short_lines_are_joined_to_writes_that_a_pipe_keeps_whole() -> None:
    short, long = b"s" * 999 + b"\n", b"l" * PIPE_BUF + b"\n"
    chunks = list(lines._chunks([short] * 5 + [long, short]))
    assert b"".join(data for data, _ in chunks) == short * 5 + long + short
    assert [count for _, count in chunks] == [PIPE_BUF // 1000, 5 - PIPE_BUF // 1000, 1, 1]
    assert [len(data) <= PIPE_BUF for data, _ in chunks] == [True, True, False, True]
