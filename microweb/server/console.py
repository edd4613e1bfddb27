"""Print lines of the server without ever blocking or failing it.

A standard stream may be closed, on a full disk, a broken pipe, or a pipe that no process reads. A
printed line is lost then. With `log="json"` each line is an object on stdout, and the thread of a
`LogWriter` writes it.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from .lines import PIPE_BUF, dropped
from .log_json import exception_fields, json_line
from .log_writer import LogWriter
from .sockets import has_room

_STANDARD = (0, 1, 2)
_STDOUT = 1
_LOGGER = "microweb.console"  # of the objects that come from no logger


class _Console:
    """The form of the lines of this process, and the thread that writes objects."""

    is_json = False
    writer: LogWriter | None = None  # for objects, while the process serves
    last: LogWriter | None = None  # for an object before or after that


_console = _Console()


def say(text: str, stream: TextIO | None, level: int = logging.INFO, **fields: object) -> None:
    """Print a line of the server: see `show`. With `log="json"` it is an object on stdout.

    Only the object has the level and the `fields`.
    """
    if _console.is_json:
        put_object(logging.getLevelName(level), text, fields)
    else:
        show(f"microweb: {text}", stream)


def say_exception(error: BaseException, text: str) -> None:
    """Write an exception that no code has caught, as an object on stdout."""
    put_object("CRITICAL", text, exception_fields(error))


def use_json() -> None:
    """From now on, print objects."""
    _console.is_json = True


def is_json() -> bool:
    """Whether lines of the server are objects."""
    return _console.is_json


def put_object(severity: str, text: str, fields: dict[str, object]) -> None:
    """Write an object on stdout."""
    at, pid = time.time(), os.getpid()
    put_line(json_line(severity, text, fields, logger=_LOGGER, at=at, pid=pid))


def put_line(line: str) -> None:
    """Write an object that is encoded already. If that would block, it is lost and counted.

    A process that serves has a thread for its objects. Another one waits up to a second until a
    long object is written, but for no reader that stands still.
    """
    if _console.writer is not None:
        with suppress(RuntimeError):  # no thread can be started: the line waits for the next one
            _console.writer.put(line)
    elif (_console.last is not None and _console.last.is_writing) or not _stdout_has_room():
        dropped.add(1)
    else:
        try:
            writer = _console.last = LogWriter(_STDOUT, report_dropped)
        except OSError:  # stdout is closed
            dropped.add(1)
            return
        try:
            writer.put(line)
        except RuntimeError:  # Python starts no thread while it exits
            dropped.add(1)
        writer.close()


def _stdout_has_room() -> bool:
    if not hasattr(select, "poll"):  # Windows
        return True
    poll = select.poll()
    poll.register(_STDOUT, select.POLLOUT)
    return bool(poll.poll(0))  # also if it is closed or broken: the write then fails at once


@contextmanager
def objects_written_by_a_thread() -> Iterator[LogWriter]:
    """Yield a writer of objects, which `say` uses as well inside the block."""
    writer = _console.writer = LogWriter(_STDOUT, report_dropped)
    try:
        yield writer
    finally:
        _console.writer = None
        writer.close()


def report_dropped(count: int) -> str:
    """Return the line that says how many lines were dropped."""
    name = "stdout" if _console.is_json else "stderr"
    text = f"{count} lines of the log were dropped: {name} is slow or full"
    if not _console.is_json:
        return f"microweb: {text}"
    fields = {"microweb.dropped": count}
    at, pid = time.time(), os.getpid()
    return json_line("WARNING", text, fields, logger=_LOGGER, at=at, pid=pid)


def show(text: str, stream: TextIO | None) -> None:
    """Print a text. If `stream` would raise or block, the text is lost."""
    # A stream of the application may raise any exception. If this runs in a signal handler that
    # interrupts a print to the same stream, it raises RuntimeError.
    with suppress(Exception):
        if stream is None:
            return
        if not _is_original(stream):  # the application's, or captured
            print(text, file=stream, flush=True)
        elif not hasattr(select, "poll") or has_room(stream):  # Windows has no poll
            stream.flush()
            # Bypass the stream: bytes that stay in its buffer would raise again at exit.
            os.write(stream.fileno(), f"{text}\n".encode(errors="backslashreplace"))


def show_piecewise(text: str, stream: TextIO | None) -> None:
    """Print a long text like `show`. It is cut where it would block, as a supervisor needs it."""
    while text:
        if stream is None or (_is_original(stream) and not has_room(stream)):
            dropped.add(1)
            return
        end = text.rfind("\n", 0, PIPE_BUF)
        end = len(text) if len(text) <= PIPE_BUF else (end if end > 0 else PIPE_BUF)
        show(text[:end], stream)
        text = text[end:].removeprefix("\n")


def _is_original(stream: TextIO) -> bool:
    return stream is sys.__stdout__ or stream is sys.__stderr__


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
