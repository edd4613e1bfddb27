"""Print lines and log records without ever blocking or failing the server.

A standard stream may be closed, on a full disk, a broken pipe, or a pipe that no process reads. A
printed line is lost then. Log records can be many, so a thread writes them.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from .forks import called_in_children
from .sockets import has_room

_MAX_WAITING = 1 << 20  # bytes of log that wait to be written
_GATHER_S = 0.02  # to wake the thread for each record would cost a busy server 10 % of its speed
_FLUSH_S = 1.0
_STANDARD = (0, 1, 2)


def say(text: str, stream: TextIO | None) -> None:
    """Print a line of the server: see `show`."""
    show(f"microweb: {text}", stream)


def show(text: str, stream: TextIO | None) -> None:
    """Print a text. If `stream` would raise or block, the text is lost."""
    # A stream of the application may raise any exception. If this runs in a signal handler that
    # interrupts a print to the same stream, it raises RuntimeError.
    with suppress(Exception):
        if stream is None:
            return
        is_original = stream is sys.__stdout__ or stream is sys.__stderr__
        if not is_original:  # the application's, or captured
            print(text, file=stream, flush=True)
        elif not hasattr(select, "poll") or has_room(stream):  # Windows has no poll
            stream.flush()
            # Bypass the stream: bytes that stay in its buffer would raise again at exit.
            os.write(stream.fileno(), f"{text}\n".encode(errors="backslashreplace"))


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether `stream` is an open terminal.

    A stream of the application may have only a `write` method.
    """
    if stream is None or getattr(stream, "closed", False):
        return False
    return hasattr(stream, "isatty") and stream.isatty()


def open_standard_descriptors() -> None:
    """Open /dev/null in place of each of stdin, stdout and stderr that is closed.

    Otherwise a new file or socket could get such a number. Output for the stream would then go to
    that file, and libuv aborts the process when it closes one of these numbers.
    """
    for number in _STANDARD:
        try:
            os.fstat(number)
        except OSError:  # closed, so this number is the lowest free one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


class LogWriter:
    """A thread that writes lines to a copy of `descriptor`, and drops lines that come too fast."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)  # because the stream may be closed
        self._waiting: deque[bytes] = deque()
        self._size = 0  # bytes in `_waiting`
        self._dropped = 0
        self._lock = threading.RLock()  # a signal handler may log as well
        self._is_awaited = threading.Event()
        self._is_closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_child = False

    def put(self, text: str) -> None:
        """Queue a line for the thread."""
        data = text.encode(errors="backslashreplace") + b"\n"
        if self._is_child:
            self._write(data)  # a forked child has no thread
            return
        with self._lock:
            if self._size + len(data) > _MAX_WAITING:
                self._dropped += 1
                return
            self._waiting.append(data)
            self._size += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="microweb-log", daemon=True)
                self._thread.start()
        self._is_awaited.set()

    def close(self) -> None:
        """Write the waiting lines, for at most a second."""
        self._is_closing.set()
        self._is_awaited.set()
        if self._thread is not None:
            self._thread.join(_FLUSH_S)
            if self._thread.is_alive():  # the write blocks: the thread ends with the process
                return
        os.close(self._descriptor)

    def forked(self) -> None:
        """Continue in a forked child, without the thread."""
        self._is_child, self._lock = True, threading.RLock()

    def _run(self) -> None:
        while True:
            self._is_awaited.wait()
            self._is_closing.wait(_GATHER_S)
            self._is_awaited.clear()
            while data := self._take():
                self._write(data)
            if self._is_closing.is_set():
                return

    def _take(self) -> bytes:
        with self._lock:
            if self._dropped:
                said = f"microweb: {self._dropped} lines of the log were dropped: stderr is slow\n"
                self._waiting.append(said.encode())
                self._dropped = 0
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._size = 0
        return data

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        with suppress(OSError):  # a full disk, a broken pipe: the lines are lost
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:  # other code has made it non-blocking
                    select.select((), (self._descriptor,), ())


class LogHandler(logging.Handler):
    """Formats records in the thread that logs them, and writes them in the thread of `writer`."""

    def __init__(self, writer: LogWriter, level: int) -> None:
        super().__init__(level)
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:  # like the handlers of `logging`: a wrong argument must not end anything
            self.handleError(record)
            return
        self._writer.put(text)


@contextmanager
def closed_stderr_hidden() -> Iterator[None]:
    """Set `sys.stderr` to None if it is closed, because logging would raise ValueError."""
    stream = sys.stderr
    if stream is None or not getattr(stream, "closed", False):
        yield
        return
    sys.stderr = None
    try:
        yield
    finally:
        sys.stderr = stream


@contextmanager
def logs_written_by_a_thread() -> Iterator[logging.Handler]:
    """Replace `logging.lastResort`; yield a handler that takes records of any level."""
    last, stream = logging.lastResort, sys.stderr
    if stream is not None and stream is not sys.__stderr__:  # the application's, or captured
        yield logging.StreamHandler(stream)
        return
    try:
        if stream is None:
            logging.lastResort = logging.NullHandler()
            yield logging.NullHandler()
            return
        writer = LogWriter(stream.fileno())
        logging.lastResort = LogHandler(writer, logging.WARNING)
        try:
            with called_in_children(writer.forked):
                yield LogHandler(writer, logging.NOTSET)
        finally:
            writer.close()
    finally:
        logging.lastResort = last
