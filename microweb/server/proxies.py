"""Find the client behind proxies: the rightmost untrusted address of X-Forwarded-For.

Each proxy appends the address of its peer. The entries are read from the right, as long as the
address that wrote them is trusted. The first untrusted address is the client. The entries further
left come from the client itself and are ignored. The scheme comes from X-Forwarded-Proto.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from ..http.headers import Headers, list_members
from ..http.interfaces import Address
from .addresses import is_unix

_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]++\]|[0-9.]++)(?::([0-9]{1,5}))?")
_MAX_PORT = 65535
_MAX_HOPS = 32  # from the right; a chain of proxies is short, a header section can hold 3,400

_SCHEME_OF_SOCKETS = {"ws": "http", "wss": "https"}  # Traefik sends these for a WebSocket


UNIX = "unix"  # in place of a network: all peers over a Unix socket


class TrustedProxies:
    """The networks, or "unix", whose forwarding fields are trusted. False if there are none."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ip_network(network) for network in networks if network != UNIX]
        self._trusts_unix = UNIX in networks

    def __bool__(self) -> bool:
        return self._trusts_unix or bool(self._networks)

    def origin_of(
        self, peer: Address | None, scheme: str, headers: Headers
    ) -> tuple[Address | None, str]:
        """Return (client, scheme) of a request that `peer` has sent by `scheme`."""
        if peer is None or not self._trusts_peer(peer):
            return peer, scheme
        return self._client(peer, headers), self._scheme(scheme, headers)

    def _client(self, peer: Address, headers: Headers) -> Address:
        client = peer
        hops = headers.get("x-forwarded-for", "").rsplit(",", _MAX_HOPS)[-_MAX_HOPS:]
        for hop in reversed(list_members(",".join(hops))):
            address = _parse_hop(hop)
            if address is None:  # no proxy writes this, so its sender is the client
                return client
            client = address
            if not self._trusts(_parse(client.host)):
                return client
        return client

    def _scheme(self, scheme: str, headers: Headers) -> str:
        hops = headers.get("x-forwarded-proto", "").rsplit(",", _MAX_HOPS)[-_MAX_HOPS:]
        said = list_members(",".join(hops))
        last = said[-1].lower() if said else ""
        last = _SCHEME_OF_SOCKETS.get(last, last)
        return last if last in ("http", "https") else scheme

    def _trusts_peer(self, peer: Address) -> bool:
        if self._trusts_unix and is_unix(peer):
            return True
        return self._trusts(_parse(peer.host))

    def _trusts(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _parse(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _parse_hop(hop: str) -> Address | None:
    """Parse `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`."""
    match = _HOST_AND_PORT.fullmatch(hop)
    host, port = (match[1].strip("[]"), int(match[2] or 0)) if match else (hop, 0)
    address = None if "%" in host else _parse(host)  # a zone could be any text
    if address is None or port > _MAX_PORT:
        return None
    return Address(str(address), port)
