"""Find the client behind proxies: the rightmost untrusted address of the forwarding fields.

Each proxy appends the address of its peer to X-Forwarded-For, or an element to Forwarded. The
entries are read from the right, as long as the address that wrote them is trusted. The first
untrusted address is the client. The entries further left come from the client itself and are
ignored. Scheme and host are those that the client's own proxy wrote, as far as it wrote them.

A field of X-Forwarded-* that is malformed is ignored. A malformed Forwarded is refused: it is one
text, so that nobody could say which part of it a proxy wrote. RFC 7239
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from typing import Any

from ..errors import ConfigurationError, ProtocolError
from ..http import forwarding
from ..http.forwarding import MAX_HOPS, parse_address, parse_hop
from ..http.headers import Headers, list_members
from ..http.hosts import with_port
from ..http.interfaces import Address, Origin
from ..http.request_head import HeaderSection
from ..request import Handler, Request
from ..response import Response
from .addresses import UntrustedAddress, is_unix

UNIX = "unix"  # in place of a network: all peers over a Unix socket
FORWARDED = "forwarded"
_ALL = "x-forwarded"
_FOR, _PROTO, _HOST, _PORT, _PREFIX = X_FORWARDED = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
)
# Each proxy sets these. The others only if it is configured so: else a client would choose them.
USUAL_FIELDS = (_FOR, _PROTO)

_NO_FIELDS = HeaderSection(Headers())


class TrustedProxies:
    """The networks, or "unix", whose `fields` are trusted. False if there are none.

    `root_path` is the prefix of all paths, unless a proxy reports another one.
    """

    def __init__(
        self,
        networks: Sequence[str] = (),
        fields: Sequence[str] = USUAL_FIELDS,
        root_path: str = "",
    ) -> None:
        self._networks = [ip_network(network) for network in networks if network != UNIX]
        self._trusts_unix = UNIX in networks
        self._fields = frozenset(X_FORWARDED if _ALL in fields else fields)
        self._reads_forwarded = FORWARDED in fields
        self.root_path = forwarding.parse_prefix(root_path) or ""

    def __bool__(self) -> bool:
        return self._trusts_unix or bool(self._networks)

    def origin_of(self, peer: Address | None, scheme: str, headers: Headers) -> Origin:
        """Return the origin of a request that `peer` has sent by `scheme`.

        Raises: MalformedRequest for a malformed Forwarded.
        """
        if not self.trusts_peer(peer):
            return Origin(peer, scheme, None, self.root_path)
        assert peer is not None
        if self._reads_forwarded:
            return self._by_forwarded(peer, scheme, headers)
        return self._by_x_forwarded(peer, scheme, headers)

    def guard(self, handler: Handler) -> Handler:
        """Return a handler that refuses requests with a malformed Forwarded before `handler`."""
        if not self or not self._reads_forwarded:
            return handler

        def handle(request: Request) -> Coroutine[Any, Any, Response]:
            try:
                request._find_origin()
            except ProtocolError:
                request._origin = request.transport.origin_of(_NO_FIELDS)
                raise
            return handler(request)

        return handle

    def trusts_peer(self, peer: Address | None) -> bool:
        """Return whether the other end of a connection is a trusted proxy."""
        if peer is None or isinstance(peer, UntrustedAddress):
            return False
        if self._trusts_unix and is_unix(peer):
            return True
        return self._trusts(parse_address(peer.host))

    def _by_x_forwarded(self, peer: Address, scheme: str, headers: Headers) -> Origin:
        client, distance = self._client(peer, self._hops(_FOR, headers))
        scheme = forwarding.parse_scheme(self._said(_PROTO, headers, distance)) or scheme
        host = forwarding.parse_host(self._said(_HOST, headers, distance))
        port = forwarding.parse_port(self._said(_PORT, headers, distance))
        if port is not None and host is not None:
            host, port = with_port(host, port, scheme), None
        # One proxy removes the prefix, and others may not know the field: only the last one counts.
        prefix = self._said(_PREFIX, headers, 0)
        reported = forwarding.parse_prefix(prefix) if prefix else None
        root_path = self.root_path if reported is None else reported
        # A port alone replaces that of the host that the request names, in its target or in Host.
        return Origin(client, scheme, host, root_path, port)

    def _client(self, peer: Address, hops: list[str]) -> tuple[Address, int]:
        """Return the client, and how many trusted proxies are between it and `peer`."""
        client = peer
        for distance, hop in enumerate(reversed(hops)):
            address = parse_hop(hop)
            if address is None:  # no proxy writes this, so its sender is the client
                return client, distance
            client = address
            if not self._trusts(parse_address(client.host)):
                return client, distance
        return client, max(len(hops) - 1, 0)

    def _hops(self, name: str, headers: Headers) -> list[str]:
        """Return the last entries of a field, if it is trusted."""
        value = headers.get(name, "") if name in self._fields else ""
        if value.count(",") >= MAX_HOPS:
            value = ",".join(value.rsplit(",", MAX_HOPS)[-MAX_HOPS:])
        return list_members(value)

    def _said(self, name: str, headers: Headers, distance: int) -> str:
        """Return what the proxy at `distance` said, else the farthest one before it that did.

        A proxy that replaces the field leaves fewer entries than there are proxies.
        """
        hops = self._hops(name, headers)
        return hops[-min(distance + 1, len(hops))] if hops else ""

    def _by_forwarded(self, peer: Address, scheme: str, headers: Headers) -> Origin:
        client, host = peer, None
        for hop in self._elements(headers):
            scheme, host = hop.scheme or scheme, hop.host or host
            if hop.address is None:  # the proxy does not say, so we know only the proxy
                break
            client = hop.address
            if not self._trusts(parse_address(client.host)):
                break
        return Origin(client, scheme, host, self.root_path)

    def _elements(self, headers: Headers) -> Iterator[forwarding.Hop]:
        """Yield the elements of Forwarded from the right. Raises: MalformedRequest."""
        left, lines = MAX_HOPS, headers.get_all(FORWARDED)
        forwarding.check_separators(lines)
        for line in reversed(lines):
            for pairs in reversed(forwarding.parse_forwarded(line)):
                if left == 0:
                    return
                left -= 1
                yield forwarding.parse_element(pairs)

    def _trusts(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


# --- checks of the options


def check_networks(value: object) -> None:
    """Raise ConfigurationError for a wrong `trusted_proxies`."""
    if not isinstance(value, tuple):
        raise ConfigurationError(
            f"trusted_proxies: expected a tuple such as ('10.0.0.0/8',), got {value!r:.80}"
        )
    for text in value:
        if text == UNIX:
            continue
        try:
            network = ip_network(str(text))
        except ValueError as error:
            raise ConfigurationError(f"trusted_proxies: {error}") from error
        if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped:
            # An IPv4 peer on a dual-stack socket is compared as an IPv4 address.
            raise ConfigurationError(
                f"trusted_proxies: expected an IPv4 network such as '10.0.0.0/8', got {text!r:.80}"
            )


def check_trusted_fields(value: object) -> None:
    """Raise ConfigurationError for a wrong `trust_headers`."""
    known = (*X_FORWARDED, _ALL, FORWARDED)
    if not isinstance(value, tuple) or not set(value) <= set(known):
        raise ConfigurationError(
            f"trust_headers: expected a tuple of {', '.join(known)}, got {value!r:.80}"
        )
    if FORWARDED in value and len(value) > 1:
        raise ConfigurationError(
            f"trust_headers: expected fields of one family, got {value!r:.80}: a client could "
            "write the fields of the family that your proxy does not replace"
        )


def check_root_path(value: object) -> None:
    """Raise ConfigurationError for a wrong `root_path`."""
    if not isinstance(value, str) or forwarding.parse_prefix(value) is None:
        raise ConfigurationError(
            "root_path: expected the percent-encoded start of a path, such as '/shop', "
            f"got {value!r:.80}"
        )
