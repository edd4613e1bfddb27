"""Find the process that listens on an address.

Linux lists sockets in /proc/net, and the descriptors of each process in /proc. Only root sees those
of other users.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress

from ..errors import ConfigurationError

_LISTENS = "0A"  # TCP_LISTEN
_MAX_NAMED = 3


class AddressInUse(ConfigurationError):
    """Another process has an address. `fact` says so without a remedy."""

    def __init__(self, fact: str, remedy: str) -> None:
        super().__init__(f"{fact}: {remedy}")
        self.fact = fact


def holders_of_port(port: int) -> str:
    """Return the processes that listen on a TCP port, as in " by process 12 (nginx)"."""
    return _by_processes({*_tcp_sockets("tcp", port), *_tcp_sockets("tcp6", port)})


def holders_of_path(path: str) -> str:
    """Return the processes that have a Unix socket, as `holders_of_port` does."""
    return _by_processes({row[6] for row in rows_of("unix", 7) if row[7:] == [path]})


def rows_of(table: str, max_splits: int = -1) -> list[list[str]]:
    """Return the rows of a table below /proc/net; none if the system has no such table."""
    try:
        with open(f"/proc/net/{table}", errors="surrogateescape") as file:
            return [line.rstrip("\n").split(maxsplit=max_splits) for line in file][1:]
    except OSError:
        return []


def _tcp_sockets(table: str, port: int) -> Iterator[str]:
    """Yield the inodes of the sockets that listen on `port`."""
    for row in rows_of(table):
        if row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port:
            yield row[9]


def _by_processes(inodes: set[str]) -> str:
    """Return the processes that have one of these sockets, in words.

    Children that inherited it, such as the workers of a supervisor, are left out.
    """
    wanted = {f"socket:[{inode}]" for inode in inodes}
    found = {pid for pid in _pids() if wanted and not wanted.isdisjoint(_open_files(pid))}
    first = sorted(pid for pid in found if _parent(pid) not in found)[:_MAX_NAMED]
    if first == [os.getpid()]:
        return " by this process"
    return f" by process {' and '.join(map(_named, first))}" if first else ""


def _pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:  # no Linux
        return []


def _open_files(pid: int) -> Iterator[str]:
    """Yield the targets of all descriptors of a process; none if they are hidden."""
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):  # closed in the meantime
                yield os.readlink(f"{folder}/{name}")


def _parent(pid: int) -> int:
    return int(_of_stat(pid, lambda text: text.rpartition(")")[2].split()[1]) or 0)


def _named(pid: int) -> str:
    """Return the number and the name of a process. Its arguments could contain secrets."""
    name = _of_stat(pid, lambda text: text.partition("(")[2].rpartition(")")[0])
    return f"{pid} ({ascii(name)[1:-1]})" if name else str(pid)  # it has just ended


def _of_stat(pid: int, part: Callable[[str], str]) -> str:
    """Return a part of /proc/PID/stat, an empty text if the process has ended."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            return part(file.read())
    except OSError:
        return ""
