"""Release the server's resources in a child process that an endpoint forks.

A child has copies of the sockets. Otherwise a client would not see the end of its answer, and the
port would stay in use, while the child lives. A child also has the signal handlers, but only one
thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

_in_child: list[Callable[[], None]] = []


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


def _call_all() -> None:
    for function in _in_child:
        function()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_call_all)
