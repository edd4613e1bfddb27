"""Group peer addresses into clients."""

from __future__ import annotations

from socket import AF_INET6, inet_ntoa, inet_pton

_IPV4_MAPPED = bytes(10) + b"\xff\xff"  # RFC 4291 section 2.5.5.2


def network_of(host: str) -> str | bytes:
    """Return the key of a client: an IPv4 address, or the /64 of an IPv6 address.

    A provider usually gives a whole /64 to one customer.
    """
    if ":" not in host:
        return host
    address = inet_pton(AF_INET6, host.partition("%")[0])  # a link-local one has a zone
    if address.startswith(_IPV4_MAPPED):  # a peer on a dual-stack socket
        return inet_ntoa(address[12:])
    return address[:8]
