"""Listening sockets, made here and passed on, because asyncio's own choices surprise.

Given two hosts and port 0, asyncio takes two ports; given `::` it serves IPv6 alone. Here
`localhost` is 127.0.0.1 and ::1 on one port, and `::` is one socket for both families.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
from ipaddress import ip_address
from typing import NamedTuple

from ..errors import ConfigurationError
from ..http.bytestream import Descriptor

try:
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_ATTEMPTS = 16  # to find a free port that both loopback addresses have


def bind(host: str, port: int) -> list[socket.socket]:
    """Return the sockets that `host` stands for, bound to one port. They do not listen yet.

    `*` is every address of both families. Raises: ConfigurationError that says in one line why
    they can't be had.
    """
    if host == "*":
        return _bind_everywhere(port)
    addresses = _addresses(host, port)
    for attempt in range(_ATTEMPTS):
        try:
            return _bind_all(addresses, port)
        except OSError as error:
            is_taken_by_chance = port == 0 and error.errno == errno.EADDRINUSE
            if not is_taken_by_chance or attempt == _ATTEMPTS - 1:
                raise cannot_listen(host, port, error) from error
    raise AssertionError("unreachable")


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches `host`. Raises: ConfigurationError."""
    if host == "*":
        return False
    return all(ip_address(each.host).is_loopback for each in _addresses(host, 0))


class _Place(NamedTuple):
    """An address to bind to."""

    family: int
    host: str
    scope: int = 0  # the interface of a link-local address


def _bind_everywhere(port: int) -> list[socket.socket]:
    try:
        return bind("::", port)
    except ConfigurationError as error:
        if not isinstance(error.__cause__, OSError) or not _is_family_missing(error.__cause__):
            raise
    return bind("0.0.0.0", port)


def _addresses(host: str, port: int) -> list[_Place]:
    if host == "localhost":
        return [_Place(socket.AF_INET, "127.0.0.1"), _Place(socket.AF_INET6, "::1")]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError) as error:  # a ValueError for what is no text of a host
        raise ConfigurationError(
            f"host {host!r:.80} is no address of this machine: {error}"
        ) from error
    places = (
        _Place(family, str(address[0]), int(address[3]) if len(address) == 4 else 0)
        for family, _, _, _, address in found
    )
    return list(dict.fromkeys(places))


def _bind_all(addresses: list[_Place], port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for place in addresses:
            try:
                sockets.append(_bind(place, port))
            except OSError as error:
                if len(addresses) == 1 or not _is_family_missing(error):
                    raise
                missing = error
            else:
                port = sockets[0].getsockname()[1]
    except OSError:
        for bound in sockets:
            bound.close()
        raise
    if not sockets and missing is not None:
        raise missing
    return sockets


def _bind(place: _Place, port: int) -> socket.socket:
    # With the protocol named: else asyncio leaves Nagle's algorithm on, which holds a stream's
    # second piece for the 40 ms by which the peer delays its acknowledgement of the first.
    bound = socket.socket(place.family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if place.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, place.host != "::")
            bound.bind((place.host, port, 0, place.scope))
        else:
            bound.bind((place.host, port))
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def _is_family_missing(error: OSError) -> bool:
    return error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def cannot_listen(host: str, port: int, error: OSError) -> ConfigurationError:
    """Return the error that says in one line why an address can't be had."""
    return ConfigurationError(_explain(host, port, error))


def _explain(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        owner = ""
        if sys.platform == "darwin" and port == 5000:
            owner = " (on macOS usually by AirPlay Receiver: System Settings, General, AirDrop)"
        return f"port {port} on {host} is in use{owner}: choose another port"
    if error.errno == errno.EACCES:
        return f"port {port} on {host} needs a right that this user lacks: choose one from 1024 up"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"host {host!r:.80} is no address of this machine"
    return f"can't listen on {host} port {port}: {error.strerror or error}"


def url_of(bound: socket.socket) -> str:
    """Return the URL that reaches a listening socket: `http://[::1]:5000`."""
    host, port, *rest = bound.getsockname()
    if rest and rest[1]:  # RFC 6874
        host = f"{host.partition('%')[0]}%25{socket.if_indextoname(rest[1])}"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def unsent_bytes(connected: Descriptor) -> int:
    """Return how many bytes the kernel holds that a peer has not taken; 0 if it does not say."""
    number = connected.fileno()
    if fcntl is None or number < 0:  # -1 is a socket that is closed
        return 0
    unsent = fcntl.ioctl(number, termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(unsent, sys.byteorder)


def has_ended(connected: Descriptor) -> bool:
    """Whether the peer will send no more, whatever is still unread; false where none can say so."""
    return _is_ready(connected, getattr(select, "POLLRDHUP", 0))


def has_input(connected: Descriptor) -> bool:
    """Whether the kernel holds bytes, an end or, of a listening socket, a connection for us."""
    return _is_ready(connected, getattr(select, "POLLIN", 0))


def has_room(connected: Descriptor) -> bool:
    """Whether the kernel would take bytes: the peer has read most of the bytes before."""
    return _is_ready(connected, getattr(select, "POLLOUT", 0))


def _is_ready(watched: Descriptor, event: int) -> bool:
    number = watched.fileno()
    if not event or number < 0:  # Windows has no poll; -1 is a socket that is closed
        return False
    poll = select.poll()
    poll.register(number, event)
    return bool(poll.poll(0))
