"""Children that an endpoint forks: they let go of all that only the server may hold.

A forked process has copies of the sockets, so that a client would not see its answer's end and the
port would not be free as long as the child lives. It has the signal handlers and no other thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

_in_child: list[Callable[[], None]] = []


@contextmanager
def called_in_children(function: Callable[[], None]) -> Iterator[None]:
    """Have `function` called first in each child that is forked meanwhile."""
    _in_child.append(function)
    try:
        yield
    finally:
        _in_child.remove(function)


def let_go(descriptors: Iterable[int]) -> None:
    """Put /dev/null in the place of descriptors: their objects may still close their numbers."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in descriptors:
        if number >= 0:  # else it is closed
            os.dup2(null, number, inheritable=False)
    os.close(null)


def _call_all() -> None:
    for function in _in_child:
        function()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_call_all)
