"""The addresses that a server listens on: `host:port`, `unix:PATH`, `fd:N` and `systemd`.

`parse_bind` reads one address of the option `bind`. `ListeningSockets.open` opens several, and
removes the files of its Unix sockets at the end.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from ..errors import ConfigurationError
from . import systemd
from .sockets import adopt, bind, is_local_socket, is_loopback
from .unix_sockets import SocketFile, bind_unix

_EXPECTED = (
    "expected host:port, [::1]:port, unix:/run/app.sock?mode=660, fd:3 or systemd, got {!r:.80}"
)
_TCP = re.compile(r"(\[[^\[\]]++\]|[^\[\]:]++):([0-9]{1,5})")
_UNIX = re.compile(r"unix:([^\0?]++)(?:\?mode=([0-7]{3,4}))?")
_FD = re.compile(r"fd:([0-9]{1,9})")
_MAX_PORT = 65535
_MODE = 0o660  # the owner and the group may connect


class TCPBind(NamedTuple):
    """A host and a port."""

    host: str
    port: int

    def open(self) -> list[socket.socket]:
        """Return the sockets of all addresses of the host. Raises: ConfigurationError."""
        return bind(self.host, self.port)

    def is_local(self) -> bool:
        """Return whether only this machine reaches it. Raises: ConfigurationError."""
        return is_loopback(self.host)


class UnixBind(NamedTuple):
    """The path of a Unix socket, and the permissions of its file."""

    path: str
    mode: int

    def open(self) -> list[socket.socket]:
        """Make the socket and its file. Raises: ConfigurationError."""
        return [bind_unix(self.path, self.mode)]

    def is_local(self) -> bool:
        """Return True: no other machine reaches a Unix socket."""
        return True


class FDBind(NamedTuple):
    """A listening socket that this process has inherited, by the number of its descriptor."""

    number: int

    def open(self) -> list[socket.socket]:
        """Return the socket. Raises: ConfigurationError if the descriptor is no such socket."""
        return [adopt(self.number)]

    def is_local(self) -> bool:
        """Return whether only this machine reaches it. Raises: ConfigurationError."""
        return is_local_socket(self.number)


class SystemdBind(NamedTuple):
    """All sockets that systemd has passed to this process."""

    def open(self) -> list[socket.socket]:
        """Return the sockets. Raises: ConfigurationError if systemd has passed none."""
        return [adopt(number) for number in self._numbers()]

    def is_local(self) -> bool:
        """Return whether only this machine reaches them. Raises: ConfigurationError."""
        return all(map(is_local_socket, self._numbers()))

    def _numbers(self) -> Sequence[int]:
        numbers = systemd.passed_descriptors()
        if not numbers:
            raise ConfigurationError(
                "bind: systemd has passed no socket to this process: start it by a socket unit, "
                "which `microweb systemd` prints"
            )
        return numbers


Bind = TCPBind | UnixBind | FDBind | SystemdBind


def parse_bind(text: object) -> Bind:
    """Return the address that one text of the option `bind` names. Raises: ConfigurationError."""
    if text == "systemd":
        return SystemdBind()
    given = text if isinstance(text, str) else ""
    if found := _UNIX.fullmatch(given):
        return UnixBind(found[1], int(found[2], 8) if found[2] else _MODE)
    if found := _FD.fullmatch(given):
        return FDBind(int(found[1]))
    found = _TCP.fullmatch(given)
    if found is None or found[1] in ("unix", "fd") or int(found[2]) > _MAX_PORT:
        raise ConfigurationError(f"bind: {_EXPECTED.format(text)}")
    return TCPBind(found[1].strip("[]"), int(found[2]))


class ListeningSockets:
    """The sockets of a server, bound, and the files that it made for them."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self._files: list[SocketFile] = []

    @classmethod
    def open(cls, binds: Sequence[Bind]) -> ListeningSockets:
        """Open all addresses. Raises: ConfigurationError; nothing stays open then."""
        opened = cls()
        try:
            for each in binds:
                opened._add(each)
        except ConfigurationError:
            opened.close()
            raise
        return opened

    def owned_by(self, resources: ExitStack) -> ListeningSockets:
        """Remove the files when `resources` is closed."""
        resources.callback(self.remove_files)
        return self

    def remove_files(self) -> None:
        """Remove the files of the Unix sockets, unless other processes have replaced them."""
        for file in self._files:
            file.remove()
        self._files.clear()

    def close(self) -> None:
        """Close the sockets and remove their files."""
        for bound in self.sockets:
            bound.close()
        self.remove_files()

    def _add(self, address: Bind) -> None:
        taken = {bound.fileno() for bound in self.sockets}
        if isinstance(address, FDBind) and address.number in taken:
            raise ConfigurationError(f"bind: fd:{address.number} is named twice")
        opened = address.open()
        self.sockets += opened
        if isinstance(address, UnixBind):
            self._files += [SocketFile.of(bound) for bound in opened]
