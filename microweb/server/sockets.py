"""Create listening sockets, and ask the kernel about sockets.

asyncio does not create the sockets, because with two hosts and port 0 it takes two ports, and with
`::` it serves only IPv6. Here `localhost` is 127.0.0.1 and ::1 on one port, and `::` is one socket
for both families.
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
from .handshakes import keep_handshakes
from .holders import AddressInUse, holders_of_port
from .unix_sockets import cannot_listen_at

try:
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_ATTEMPTS = 16  # to find a port that is free on both loopback addresses


def bind(host: str, port: int) -> list[socket.socket]:
    """Return one socket per address of `host`, all bound to one port. They do not listen yet.

    `*` is every address of both families. Raises: ConfigurationError with the reason in one line.
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
    except (OSError, ValueError) as error:  # ValueError if the text cannot be a host name
        raise ConfigurationError(
            f"host {host!r:.80} is not an address of this machine: {error}"
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
    # Name IPPROTO_TCP, because otherwise asyncio leaves Nagle's algorithm on. That delays the
    # second piece of a stream by 40 ms, until the peer acknowledges the first.
    bound = socket.socket(place.family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # on Windows this would let two servers share a port
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
    """Return an error that says in one line why the server cannot listen on an address."""
    if error.errno == errno.EADDRINUSE:
        holders = holders_of_port(port)
        if not holders and sys.platform == "darwin" and port == 5000:
            holders = " (on macOS usually by AirPlay Receiver: System Settings, General, AirDrop)"
        return AddressInUse(f"port {port} on {host} is in use{holders}", "choose another port")
    return ConfigurationError(_explain(host, port, error))


def cannot_listen_on(bound: socket.socket, error: OSError) -> ConfigurationError:
    """Return an error that says why a bound socket cannot listen."""
    address = bound.getsockname()
    if isinstance(address, tuple):
        return cannot_listen(address[0], address[1], error)
    return cannot_listen_at(address, error)


def _explain(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EACCES:
        return f"this user may not listen on port {port} of {host}: choose a port from 1024 up"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"host {host!r:.80} is not an address of this machine"
    return f"can't listen on {host} port {port}: {error.strerror or error}"


def adopt(number: int) -> socket.socket:
    """Return the listening socket that this process inherited as descriptor `number`.

    It may be bound only. Raises: ConfigurationError if it is no stream socket, or a connected one.
    """
    expected = f"bind: expected a listening stream socket as descriptor {number}, got"
    try:
        bound = socket.socket(fileno=number)
    except OSError as error:
        raise ConfigurationError(f"{expected} {error.strerror}") from error
    try:
        os.set_inheritable(number, False)
        bound.setblocking(False)
        if bound.type != socket.SOCK_STREAM:
            raise ConfigurationError(f"{expected} {bound.type!r}")
        if _is_connected(bound):
            raise ConfigurationError(f"{expected} a connection: in a socket unit set Accept=no")
        keep_handshakes(bound)
    except ConfigurationError:
        bound.detach()  # it is not ours to close
        raise
    return bound


def is_local_socket(number: int) -> bool:
    """Return whether only this machine reaches a listening socket. Raises: ConfigurationError."""
    bound = adopt(number)
    try:
        address = bound.getsockname()
        return not isinstance(address, tuple) or ip_address(address[0]).is_loopback
    finally:
        bound.detach()


def _is_connected(bound: socket.socket) -> bool:
    try:
        bound.getpeername()
    except OSError:
        return False
    return True


def url_of(bound: socket.socket, scheme: str = "http") -> str:
    """Return the URL of a listening socket: `http://[::1]:5000`, or `unix:/run/app.sock`."""
    if not isinstance(address := bound.getsockname(), tuple):
        return f"unix:{address}"
    host, port, *rest = address
    if rest and rest[1]:  # RFC 6874
        host = f"{host.partition('%')[0]}%25{socket.if_indextoname(rest[1])}"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def unsent_bytes(connected: Descriptor) -> int:
    """Return how many bytes in the kernel the peer has not taken yet; 0 if unknown."""
    number = connected.fileno()
    if fcntl is None or number < 0:  # -1 is a closed socket
        return 0
    unsent = fcntl.ioctl(number, termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(unsent, sys.byteorder)


def has_ended(connected: Descriptor) -> bool:
    """Whether the peer sends no more, even if earlier bytes are unread; False if unknown."""
    return _is_ready(connected, getattr(select, "POLLRDHUP", 0))


def has_input(connected: Descriptor) -> bool:
    """Whether the kernel holds bytes, the end of input or, if listening, a new connection."""
    return _is_ready(connected, getattr(select, "POLLIN", 0))


def has_room(connected: Descriptor) -> bool:
    """Whether the kernel accepts more bytes, because the peer has read most earlier ones."""
    return _is_ready(connected, getattr(select, "POLLOUT", 0))


def _is_ready(watched: Descriptor, event: int) -> bool:
    number = watched.fileno()
    if not event or number < 0:  # Windows has no poll; -1 is a closed socket
        return False
    poll = select.poll()
    poll.register(number, event)
    return bool(poll.poll(0))
