"""File descriptors that are kept free of connections: for endpoints, threads and logs.

A new descriptor has the lowest number that is free. So a connection whose number is near the limit
says that few are left. Files that an upload opens take numbers past that: else 70 uploads would
look like 140 connections.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import BinaryIO, NamedTuple

try:
    import fcntl
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

MIN_SPARE = 100
_MAX_LIMIT = 1 << 16  # the kernel's table is as large as the highest number: 8 bytes for each


class Spare(NamedTuple):
    """How many descriptors are spare, and the first of their numbers."""

    amount: int
    first: float


def spare_descriptors() -> Spare:
    """Return which descriptors are spare by the limit as it is now."""
    if resource is None:
        return Spare(MIN_SPARE, float("inf"))
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return Spare(MIN_SPARE, float("inf"))
    amount = min(limit // 2, max(MIN_SPARE, limit // 16))
    return Spare(amount, limit - amount)


def take_descriptor(file: BinaryIO) -> int:
    """Return a descriptor of `file` that its caller owns, and close `file`.

    It is a spare one, or any if there is none. Raises: OSError if no descriptor is left.
    """
    with file:
        first = spare_descriptors().first
        if first <= _MAX_LIMIT:
            with suppress(OSError):
                return fcntl.fcntl(file.fileno(), fcntl.F_DUPFD_CLOEXEC, int(first))
        return os.dup(file.fileno())
