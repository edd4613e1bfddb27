"""Sockets that systemd passes to this process: the variables LISTEN_*. See sd_listen_fds(3).

The variables are read once and taken out of the environment, so that no process that the
application starts takes them for its own.
"""

from __future__ import annotations

import os
from typing import NamedTuple

_FIRST = 3  # SD_LISTEN_FDS_START


class Systemd(NamedTuple):
    """The descriptors of the listening sockets that systemd has passed."""

    descriptors: range = range(0)


_taken: Systemd | None = None  # for this process


def of_this_process() -> Systemd:
    """Return the values that systemd has set for this process; the first call takes them."""
    global _taken
    if _taken is None:
        _taken = Systemd(_take_descriptors())
    return _taken


def _take_descriptors() -> range:
    if os.environ.get("LISTEN_PID") != str(os.getpid()):  # they are for another process
        return range(0)
    count = os.environ.pop("LISTEN_FDS", "")
    for name in ("LISTEN_PID", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    numbers = range(_FIRST, _FIRST + int(count)) if count.isdecimal() else range(0)
    for number in numbers:
        os.set_inheritable(number, False)
    return numbers
