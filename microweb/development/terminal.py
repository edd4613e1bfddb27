"""Copy the stderr of workers to the terminal of `microweb dev`, and keep its last lines.

Workers keep stdin, so that a debugger can read commands. Their stderr goes through this process,
which keeps the last lines: they say why a worker has ended. It is a terminal for them if it is one
here, so that programs which color their output still do.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from contextlib import suppress
from typing import Any

from ..server.console import is_terminal
from ..server.sockets import has_room

try:
    import fcntl
    import pty
    import termios
    import tty
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

_PIECE = 4096  # a pipe that has room takes so many bytes without blocking
_KEPT_LINES = 30
_KEPT_BYTES = 16 * 1024
_STDIN, _STDERR = 0, 2


class Terminal:
    """Copies what workers write to `descriptor` to stderr, and keeps the last lines of it."""

    def __init__(self) -> None:
        self._reading, self.descriptor = _open_like_stderr()
        os.set_blocking(self._reading, False)
        self._kept: deque[bytes] = deque()
        self._size = 0
        self._modes = _modes()

    def fileno(self) -> int:
        """Return the descriptor that is readable when workers have written."""
        return self._reading

    def has_room(self) -> bool:
        """Return whether stderr takes more bytes now."""
        return sys.__stderr__ is None or has_room(sys.__stderr__)

    def copy(self) -> None:
        """Copy all that workers have written, as long as stderr takes it without waiting."""
        while self.has_room():
            try:
                data = os.read(self._reading, _PIECE)
            except OSError:  # nothing more for now
                return
            if not data:
                return
            with suppress(OSError):  # a closed stderr: the lines are lost
                os.write(_STDERR, data)
            self._keep(data)

    def forget(self) -> None:
        """Forget the lines of earlier workers."""
        self._kept.clear()
        self._size = 0

    def last_lines(self) -> str:
        """Return the last lines of the workers since `forget`."""
        self.copy()
        lines = b"".join(self._kept).decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-_KEPT_LINES:])

    def restore(self) -> None:
        """Set the modes of the terminal that a debugger in a killed worker has changed."""
        if self._modes is not None and os.tcgetpgrp(_STDIN) == os.getpgrp():
            with suppress(termios.error):
                termios.tcsetattr(_STDIN, termios.TCSADRAIN, self._modes)

    def close(self) -> None:
        """Copy the rest, and close."""
        self.copy()
        os.close(self._reading)
        os.close(self.descriptor)

    def _keep(self, data: bytes) -> None:
        self._kept.append(data)
        self._size += len(data)
        while self._size > _KEPT_BYTES and len(self._kept) > 1:
            self._size -= len(self._kept.popleft())


def _open_like_stderr() -> tuple[int, int]:
    """Return a pipe, or a terminal of the same size if stderr is one."""
    if not is_terminal(sys.stderr):
        return os.pipe()
    reading, writing = pty.openpty()
    tty.setraw(writing)
    with suppress(OSError):
        size = fcntl.ioctl(_STDERR, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(writing, termios.TIOCSWINSZ, size)
    return reading, writing


def _modes() -> list[Any] | None:
    try:
        return termios.tcgetattr(_STDIN)
    except (termios.error, AttributeError):  # no terminal
        return None
