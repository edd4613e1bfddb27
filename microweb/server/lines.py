"""Write whole lines to a descriptor that several processes share.

A pipe keeps a write of up to `PIPE_BUF` bytes in one piece, and mixes longer ones with those of
other processes: of 600 lines of 20,000 bytes from two processes, 333 were torn. Therefore all
processes of a service take a lock for each write. It is a lock of the kernel on one byte of the
shared memory, so the end of a process releases it, however the process ends.

That byte also marks a line that was begun and not finished, because its process was killed or the
disk is full. The next write then begins with a line end, so that only the unfinished line is lost.
If the process was killed just behind its line, this leaves an empty line.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .board import HEADER_BYTES

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PIPE_BUF = getattr(select, "PIPE_BUF", 512)

_MARK = HEADER_BYTES - 1  # the byte of the shared memory
_LEAVE_S = 1.0
_UNFINISHED, _FINISHED = b"\1", b"\0"


class DroppedLines:
    """Counts the lines of the log that this process could not write."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def add(self, count: int) -> None:
        """Count `count` lines more."""
        self.count += count


dropped = DroppedLines()


class LineLock:
    """The lock of all processes of a service, or of the threads of this process alone."""

    def __init__(self) -> None:
        self._threads = threading.Lock()
        self._memory: int | None = None  # a descriptor of the shared memory
        self._is_unfinished = False  # without shared memory

    def share(self, memory: int) -> None:
        """Share the lock with all processes that have the same memory."""
        if fcntl is not None and self._memory is None:
            self._memory = os.dup(memory)  # the owner may close its own before the last line

    def leave(self) -> None:
        """Use the lock in this process alone, because the others have ended."""
        if self._threads.acquire(timeout=_LEAVE_S):  # else a thread waits for the reader
            memory, self._memory = self._memory, None
            self._threads.release()
            if memory is not None:
                os.close(memory)

    def forked(self) -> None:
        """Continue in a forked child, where the thread with the lock does not exist."""
        self._threads = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock. Wait for other threads and processes."""
        with self._threads:
            memory = self._memory
            if memory is None:
                yield
                return
            # The kernel refuses a lock if it has no room, or sees a deadlock of processes that hold
            # locks of the application. A line that may be torn is better than none.
            with suppress(OSError):
                fcntl.lockf(memory, fcntl.LOCK_EX, 1, _MARK)
            try:
                yield
            finally:
                fcntl.lockf(memory, fcntl.LOCK_UN, 1, _MARK)

    @property
    def is_unfinished(self) -> bool:
        """Whether the last line is not finished. Use it while you hold the lock."""
        if self._memory is None:
            return self._is_unfinished
        return os.pread(self._memory, 1, _MARK) == _UNFINISHED

    @is_unfinished.setter
    def is_unfinished(self, is_unfinished: bool) -> None:
        if self._memory is None:
            self._is_unfinished = is_unfinished
        else:
            os.pwrite(self._memory, _UNFINISHED if is_unfinished else _FINISHED, _MARK)


line_lock = LineLock()


def write_lines(descriptor: int, lines: list[bytes]) -> int:
    """Write lines, each with its line end; return how many could not be written.

    Waits as long as the reader does not read. Raises nothing.
    """
    lost = 0
    for chunk, count in _chunks(lines):
        with line_lock.held():
            lost += _write_chunk(descriptor, chunk, count)
    if lost:
        dropped.add(lost)
    return lost


def _chunks(lines: list[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield chunks that a pipe keeps in one piece, and long lines alone; and how many lines."""
    chunk: list[bytes] = []
    size = 0
    for line in lines:
        if chunk and size + len(line) > PIPE_BUF:
            yield b"".join(chunk), len(chunk)
            chunk, size = [], 0
        chunk.append(line)
        size += len(line)
    if chunk:
        yield b"".join(chunk), len(chunk)


def _write_chunk(descriptor: int, data: bytes, count: int) -> int:
    """Write a chunk while the lock is held; return how many of its lines are lost."""
    was_unfinished = line_lock.is_unfinished
    rest = memoryview(b"\n" + data if was_unfinished else data)
    is_long = len(rest) > PIPE_BUF
    if is_long:
        _wait_for_room(descriptor)  # else a process that is killed now would leave an empty line
        line_lock.is_unfinished = True
    try:
        while rest:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except BlockingIOError:  # other code has made it non-blocking
                _wait_for_room(descriptor)
    except OSError:  # a full disk, a broken pipe
        written = len(data) - len(rest)
        is_cut = written > 0 and data[written - 1 : written] != b"\n"
        line_lock.is_unfinished = is_cut or (was_unfinished and written < 0)
        return count - data[: max(written, 0)].count(b"\n")
    if is_long or was_unfinished:
        line_lock.is_unfinished = False
    return 0


def _wait_for_room(descriptor: int) -> None:
    if hasattr(select, "poll"):  # not Windows
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        poll.poll()
