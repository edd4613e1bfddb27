"""Unix sockets: make the file, replace a stale one, remove it, and identify the peer.

A process that was killed leaves its socket file behind. Such a stale file is removed only if no
process has it bound: a connection is refused, and `/proc/net/unix` does not list the path as bound.
The second test matters while another server starts, because it listens only after its lifespan.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from ..errors import ConfigurationError
from ..http.interfaces import Address
from .addresses import address_of_peer, address_of_user
from .holders import AddressInUse, holders_of_path, rows_of

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_CREDENTIALS = struct.Struct("iII")  # pid, uid, gid: `struct ucred` of unix(7)
_PROBE_S = 1.0
_ACCEPTS = 0x10000  # __SO_ACCEPTCONN in the flags of /proc/net/unix
_UNCONNECTED = "01"


class SocketFile(NamedTuple):
    """The file of a Unix socket that this process has made."""

    path: str
    identity: tuple[int, int, int]
    process: int

    @classmethod
    def of(cls, bound: socket.socket) -> SocketFile:
        """Return the file of a socket that was just bound."""
        path = bound.getsockname()
        made = cls(path, _identity(os.stat(path)), os.getpid())
        _made.add(made)
        return made

    def remove(self) -> None:
        """Remove the file, unless another process has made a new one or this is a forked child."""
        _made.discard(self)
        with suppress(OSError):
            if self.process == os.getpid() and _identity(os.stat(self.path)) == self.identity:
                os.unlink(self.path)


_made: set[SocketFile] = set()  # and not yet removed


def remove_socket_files() -> None:
    """Remove the files of all Unix sockets of this process, which exits without other cleanup."""
    for file in tuple(_made):
        file.remove()


def bind_unix(path: str, mode: int) -> socket.socket:
    """Return a socket bound to `path`, with a file of the permissions `mode`. It does not listen.

    Raises: ConfigurationError if a server listens there, if the path is another kind of file, or
    for any reason of the system.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigurationError("bind: this system has no Unix sockets: expected host:port")
    path = os.path.abspath(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _directory_locked(os.path.dirname(path)):
            _remove_stale(path)
            bound.bind(path)
        os.chmod(path, mode)
        bound.setblocking(False)
    except ConfigurationError:
        bound.close()
        raise
    except OSError as error:
        bound.close()
        raise cannot_listen_at(path, error) from error
    return bound


def cannot_listen_at(path: str, error: OSError) -> ConfigurationError:
    """Return an error that says in one line why the server cannot listen on a Unix socket."""
    if error.errno is None:  # Python's own error for a path over 107 bytes
        return ConfigurationError(f"can't listen on unix:{path}: {error}: choose a shorter path")
    if error.errno == errno.ENOENT:
        directory = os.path.dirname(path)
        return ConfigurationError(f"can't listen on unix:{path}: there is no directory {directory}")
    return ConfigurationError(f"can't listen on unix:{path}: {error.strerror}")


def address_of(transport: asyncio.BaseTransport) -> Address | None:
    """Return the address of a peer; the user of the peer if it is a Unix socket, which is open."""
    peer = transport.get_extra_info("peername")
    if isinstance(peer, tuple):
        return address_of_peer(*peer[:2])
    connected = transport.get_extra_info("socket")
    if connected is None or not is_unix_socket(connected):
        return None
    return address_of_user(uid_of_peer(connected))


def is_unix_socket(bound: socket.socket) -> bool:
    """Return whether a socket is a Unix socket."""
    return bound.family == getattr(socket, "AF_UNIX", None)


def uid_of_peer(connected: socket.socket) -> int | None:
    """Return the user of the process that opened the connection, None if the system does not say.

    It is the user at the time of `connect`.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    size = _CREDENTIALS.size
    found = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    uid: int = _CREDENTIALS.unpack(found)[1]
    return uid


def _identity(found: os.stat_result) -> tuple[int, int, int]:
    # With the time, because a file system may use the number of a removed file again.
    return found.st_dev, found.st_ino, found.st_mtime_ns


@contextmanager
def _directory_locked(directory: str) -> Iterator[None]:
    """Lock a directory, so that two servers that start do not remove each other's new socket."""
    try:
        number = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # it can't be read, or does not exist: `bind` tells
        yield
        return
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def _remove_stale(path: str) -> None:
    try:
        found = os.lstat(path)
    except OSError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigurationError(f"can't listen on unix:{path}: it is a file of another kind")
    if _has_server(path) or _is_bound(path):
        holders = holders_of_path(path) or " by another process"
        raise AddressInUse(f"unix:{path} is in use{holders}", "stop it, or choose another path")
    os.unlink(path)


def _has_server(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except (BlockingIOError, TimeoutError):  # its queue is full
            return True
    return True


def _is_bound(path: str) -> bool:
    """Return whether a process has the path bound, and does not listen yet. Linux only."""
    return any(
        row[7:] == [path] and row[5] == _UNCONNECTED and not int(row[3], 16) & _ACCEPTS
        for row in rows_of("unix", 7)
    )
