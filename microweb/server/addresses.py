"""Addresses of the two ends of a connection.

Those of peers are grouped into clients, and name the user behind a Unix socket.
"""

from __future__ import annotations

import asyncio
import os
from socket import AF_INET6, inet_ntoa, inet_pton

from ..http.interfaces import Address, LocalEnd

_UNIX_USER = "uid="
_MAPPED_TEXT = "::ffff:"
_new_tuple = tuple.__new__
_IPV4_MAPPED = bytes(10) + b"\xff\xff"  # RFC 4291 section 2.5.5.2


class UntrustedAddress(Address):
    """The address of a load balancer that relays an unknown client: it is not trusted here."""

    __slots__ = ()


def network_of(host: str) -> str | bytes:
    """Return the key of a client: an IPv4 address, or the /64 of an IPv6 address.

    A provider usually gives a whole /64 to one customer.
    """
    if ":" not in host:
        return host
    try:
        address = inet_pton(AF_INET6, host.partition("%")[0])  # a link-local one has a zone
    except OSError:  # another ASGI server reports other text
        return host
    if address.startswith(_IPV4_MAPPED):  # a peer on a dual-stack socket
        return inet_ntoa(address[12:])
    return address[:8]


def address_of_peer(host: str, port: int) -> Address:
    """Return the address of a peer by its parts in `getpeername`.

    A dual-stack socket gives an IPv4 peer the host `::ffff:192.0.2.1`, which is 192.0.2.1 here.
    """
    if ":" not in host:
        return _new_tuple(Address, (host, port))  # half of the time of `Address(host, port)`
    mapped = host.removeprefix(_MAPPED_TEXT)
    return Address(mapped if "." in mapped else host, port)


def address_of_user(uid: int | None) -> Address:
    """Return the address of a peer over a Unix socket: `uid=33`, or `uid=` if unknown, port 0."""
    return Address(f"{_UNIX_USER}{'' if uid is None else uid}", 0)


def is_unix(address: Address) -> bool:
    """Return whether an address is of a peer over a Unix socket."""
    return address.host.startswith(_UNIX_USER)


def local_end_of(transport: asyncio.BaseTransport) -> LocalEnd:
    """Return the server's end of a connection: (host, port), or (path, None) of a Unix socket."""
    # uvloop asks the kernel at each call, which takes 2 us.
    name = transport.get_extra_info("sockname")
    if isinstance(name, tuple):
        host, port = address_of_peer(*name[:2])
        return host, port
    return (os.fsdecode(name), None) if name else None  # a socket pair has no name
