"""Reserve file descriptors for endpoints, threads and logs.

The kernel gives a new descriptor the lowest free number. So a connection with a number near the
limit shows that few are left. The files of an upload use the reserved numbers, because otherwise
70 uploads would look like 140 connections.
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
_MAX_LIMIT = 1 << 16  # the kernel's table needs 8 bytes for each number up to the highest


class Spare(NamedTuple):
    """The number of reserved descriptors, and the lowest of them."""

    amount: int
    first: float


def spare_descriptors() -> Spare:
    """Return the reserved descriptors for the current limit of open files."""
    if resource is None:
        return Spare(MIN_SPARE, float("inf"))
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return Spare(MIN_SPARE, float("inf"))
    amount = min(limit // 2, max(MIN_SPARE, limit // 16))
    return Spare(amount, limit - amount)


def raise_limit(connections: int) -> float:
    """Raise the soft limit of open files to the hard one; return the limit.

    macOS has no hard limit, but refuses an unlimited soft one. Then there is room for `connections`
    and the reserved descriptors.
    """
    if resource is None:
        return float("inf")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, max(soft, connections + MIN_SPARE)):
        if soft != hard:
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                soft = wanted
                break
    return float("inf") if soft == resource.RLIM_INFINITY else soft


def take_descriptor(file: BinaryIO) -> int:
    """Return a copy of the descriptor of `file`, which the caller owns, and close `file`.

    It is a reserved number if one is free, else any. Raises: OSError if no descriptor is left.
    """
    with file:
        first = spare_descriptors().first
        if first <= _MAX_LIMIT:
            with suppress(OSError):
                return fcntl.fcntl(file.fileno(), fcntl.F_DUPFD_CLOEXEC, int(first))
        return os.dup(file.fileno())
