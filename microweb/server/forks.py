"""Release the server's resources in a child process that an endpoint forks.

A child has copies of the sockets. Otherwise a client would not see the end of its answer, and the
port would stay in use, while the child lives. A child also has the signal handlers, but only one
thread. A signal for it that comes early waits until it has its own handlers: the server's handlers
write to a socket that both share, so the signal would stop the server.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

_in_child: list[Callable[[], None]] = []
_forking = threading.local()  # `mask`: the blocked signals of a thread, while it forks


@contextmanager
def called_in_children(function: Callable[[], None]) -> Iterator[None]:
    """Call `function` first in each child process that is forked inside the block."""
    _in_child.append(function)
    try:
        yield
    finally:
        _in_child.remove(function)


def release_descriptors(descriptors: Iterable[int]) -> None:
    """Replace the descriptors by /dev/null, because their owners may still close the numbers."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in descriptors:
        if number >= 0:  # -1 is already closed
            os.dup2(null, number, inheritable=False)
    os.close(null)


def _hold_signals() -> None:
    if _in_child:
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _release_signals() -> None:
    mask = getattr(_forking, "mask", None)
    if mask is not None:
        _forking.mask = None
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _begin_child() -> None:
    try:
        for function in _in_child:
            function()
    finally:
        _release_signals()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(
        before=_hold_signals, after_in_parent=_release_signals, after_in_child=_begin_child
    )
