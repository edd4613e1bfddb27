"""Signals while a server runs: SIGINT and SIGTERM stop it, SIGHUP may, SIGUSR1 does nothing.

The event loop's own handlers are not used, because they would wait for an endpoint that blocks the
event loop. Python allows signal handlers only in the main thread; elsewhere none are set.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

from ..logs import Log
from .forks import called_in_children
from .unix_sockets import remove_socket_files

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# By default these signals end a process. Windows has neither.
_IGNORED = [getattr(signal, name) for name in ("SIGHUP", "SIGUSR1") if hasattr(signal, name)]

_SUPERVISED = [
    getattr(signal, f"SIG{name}")
    for name in ("TERM", "INT", "HUP", "QUIT", "TTIN", "TTOU", "CHLD", "USR1")
    if hasattr(signal, f"SIG{name}")
]

_log = Log("microweb.server")


@contextmanager
def signals_handled(
    stop: Callable[[int], None],
    stop_signals: Iterable[signal.Signals] = STOP_SIGNALS,
    reload: Callable[[], None] | None = None,
) -> Iterator[bool]:
    """Call `stop(number)` at the first of `stop_signals`; exit immediately at the second.

    `stop` runs inside the signal handler. SIGHUP stops if the controlling terminal is gone.
    Otherwise the event loop calls `reload()`; without a `reload` the signal is only logged. A
    SIGHUP or SIGUSR1 that is already ignored or handled by the application is not changed. Yields
    whether handlers are set. Restores the old ones at the end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield False
        return
    handlers = _Handlers(stop, reload)
    before = [(number, signal.signal(number, handlers.on_stop)) for number in stop_signals]
    for number in filter(_is_default, _IGNORED):
        is_hangup = number == getattr(signal, "SIGHUP", None)
        handler = handlers.on_hangup if is_hangup else _do_nothing
        before.append((number, signal.signal(number, handler)))
    try:
        with called_in_children(partial(_reset, [number for number, _ in before])):
            yield True
    finally:
        for number, old in before:
            signal.signal(number, old)


@contextmanager
def signals_read() -> Iterator[socket.socket]:
    """Yield a socket from which the numbers of signals are read, a byte each: for the supervisor.

    The handlers are put back at the end.
    """
    reading, writing = socket.socketpair()
    with reading, writing:
        reading.setblocking(False)
        writing.setblocking(False)
        before = [(number, signal.signal(number, _do_nothing)) for number in _SUPERVISED]
        wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, old in before:
                signal.signal(number, old)


class _Handlers:
    def __init__(self, stop: Callable[[int], None], reload: Callable[[], None] | None) -> None:
        self._stop = stop
        self._reload = reload or _say_nothing_to_reload
        self._loop = asyncio.get_running_loop()
        self._is_stopping = False
        self._had_terminal = has_terminal()

    def on_stop(self, number: int, frame: FrameType | None) -> None:
        if self._is_stopping:
            remove_socket_files()
            os._exit(128 + number)
        self._is_stopping = True
        self._stop(number)

    def on_hangup(self, number: int, frame: FrameType | None) -> None:
        if self._had_terminal and not has_terminal():
            # The kernel and a shell may each send one. The second must not cut the stop short.
            if not self._is_stopping:
                self.on_stop(number, frame)
            return
        self._loop.call_soon_threadsafe(self._reload)


def _say_nothing_to_reload() -> None:
    _log.warning(
        "SIGHUP is ignored because there is nothing to reload: send SIGTERM to stop the server"
    )


def _reset(numbers: list[signal.Signals]) -> None:
    """Restore the default handlers in a child process that an endpoint has forked."""
    signal.set_wakeup_fd(-1)  # uvloop shares it: the server would get the child's signals
    for number in numbers:
        is_interrupt = number == signal.SIGINT
        signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Ignore a signal. Unlike SIG_IGN, programs that the process starts do not inherit this."""


def has_terminal() -> bool:
    """Whether the process has a controlling terminal. It is gone before SIGHUP arrives."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)  # without a free descriptor none opens
    return True


def _is_default(number: Any) -> bool:
    return signal.getsignal(number) is signal.SIG_DFL and not _is_caught(number)


def _is_caught(number: int) -> bool:
    """Whether C code has set a handler, as `faulthandler.register` does, unknown to Python."""
    try:
        with open("/proc/self/status", "rb") as status:
            caught = next(line for line in status if line.startswith(b"SigCgt:"))
    except (OSError, StopIteration):
        return False  # not Linux
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)
