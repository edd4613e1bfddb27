"""LogWriter: a thread that writes the lines of a log, so that no reader can block a server.

A reader may stand still, the disk may be full, the pipe may be broken. Lines that come too fast are
dropped then, and `lines.dropped` counts them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from .lines import dropped, write_lines

_MAX_WAITING = 1 << 20  # bytes of log that wait until the thread takes them, all at once
_GATHER_S = 0.005  # to wake the thread for each line would cost a busy server 10 % of its speed
_FLUSH_S = 1.0


class LogWriter:
    """Writes lines to a copy of `descriptor`; `report(count)` is a line about dropped ones."""

    def __init__(self, descriptor: int, report: Callable[[int], str]) -> None:
        self._descriptor = os.dup(descriptor)  # because the stream may be closed
        self._report = report
        self._waiting: list[bytes] = []
        self._size = 0  # bytes in `_waiting`
        self._dropped = 0  # lines since the last report
        self._lock = threading.RLock()  # a signal handler may log as well
        self._is_awaited = threading.Event()
        self._is_woken = False  # the thread will take the lines: a call of `set` costs 1 us
        self._is_closed = False
        self._is_closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._users = 1  # of the descriptor: the owner, and the thread
        self._is_child = False

    def put(self, text: str) -> None:
        """Queue a line for the thread."""
        data = f"{text}\n".encode(errors="backslashreplace")
        if self._is_child:
            write_lines(self._descriptor, [data])  # a forked child has no thread
            return
        with self._lock:
            size = self._size + len(data)
            if size > _MAX_WAITING or self._is_closed:
                self._dropped += 1
                dropped.add(1)
                return
            self._waiting.append(data)
            self._size = size
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="microweb-log", daemon=True)
                thread.start()  # if no thread can be started, the next line tries again
                self._thread, self._users = thread, 2
            if self._is_woken:
                return
            self._is_woken = True
        self._is_awaited.set()

    def close(self) -> None:
        """Write the waiting lines, for at most a second."""
        with self._lock:
            self._is_closed = True
        self._is_closing.set()
        self._is_awaited.set()
        if self._thread is not None:
            self._thread.join(_FLUSH_S)
        self._release()

    @property
    def is_writing(self) -> bool:
        """Whether the thread waits for the reader after `close`."""
        return self._users == 1

    def forked(self) -> None:
        """Continue in a forked child, without the thread."""
        self._is_child, self._lock, self._users = True, threading.RLock(), 1

    def _run(self) -> None:
        while True:
            self._is_awaited.wait()
            self._is_closing.wait(_GATHER_S)
            self._is_awaited.clear()
            self._is_woken = False  # after `clear`, and before the lines
            is_last = self._is_closing.is_set()  # before the lines, so that none is left behind
            while lines := self._take():
                lost = write_lines(self._descriptor, lines)  # `put` may count others meanwhile
                with self._lock:
                    self._dropped += lost
            if is_last:
                self._release()
                return

    def _release(self) -> None:
        """Close the descriptor after the last use: the thread may wait for the reader longer."""
        with self._lock:
            self._users -= 1
            if not self._users:
                os.close(self._descriptor)

    def _take(self) -> list[bytes]:
        lines: list[bytes] = []
        with self._lock:
            if self._dropped and self._waiting:
                lines.append(self._report(self._dropped).encode() + b"\n")
                self._dropped = 0
            lines += self._waiting
            self._waiting, self._size = [], 0
        return lines
