"""Take the PROXY header off the start of a connection, before HTTP or TLS gets its bytes.

Only a connection of a trusted proxy has a header, and it must have one: to guess would let the
client of a load balancer that sends none name itself. The deadline is that of the first request's
head. All other connections start with HTTP or TLS, so that a PROXY line there is a 400.

A header may name no client. The address is that of the load balancer then, as the specification
says. With LOCAL of version 2 it has connected for itself, such as for a health check: its fields
are believed as those of each trusted proxy. UNKNOWN of version 1, and a header of version 2 without
an address of IP, stand for a client that it relays: its fields are not believed.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast, runtime_checkable

from ..errors import MalformedRequest, ProtocolError
from .addresses import UntrustedAddress
from .network import NetworkStream
from .proxy_header import parse_proxy_header


@runtime_checkable
class RefusesPlainly(Protocol):
    """TLS over a transport, which can send an answer without it, and names `client` in the log."""

    client: str

    def refuse_plainly(self, error: ProtocolError) -> None: ...


def expect_proxy_header(below: asyncio.WriteTransport, network: NetworkStream) -> None:
    """Expect a PROXY header on a new connection if its peer is a trusted proxy.

    `below` is the transport of the socket, below TLS if there is TLS.
    """
    if network.state.proxies.trusts_peer(network.address):
        transport = cast(asyncio.Transport, below)
        transport.set_protocol(_Header(transport, network))


class _Header(asyncio.Protocol):
    """Receives the header, and gives the bytes behind it to the protocol that it has replaced."""

    __slots__ = ("_below", "_data", "_network", "_next")

    def __init__(self, below: asyncio.Transport, network: NetworkStream) -> None:
        self._below = below
        self._next = cast(asyncio.Protocol, below.get_protocol())
        self._network = network
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        try:
            header = parse_proxy_header(self._data)
        except MalformedRequest as error:
            self._refuse(error)
            return
        if header is None:
            return
        network = self._network
        if header.source is not None:
            network._address = header.source
            if isinstance(self._next, RefusesPlainly):
                self._next.client = header.source.host
            if header.has_tls:
                network._scheme = "https"
        elif not header.is_local and network.address is not None:
            network._address = UntrustedAddress(*network.address)
        rest = self._data[header.size :]
        self._leave()
        if rest:
            self._next.data_received(rest)

    def eof_received(self) -> bool | None:
        self._leave()
        return self._next.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._next.connection_lost(error)

    def _refuse(self, error: MalformedRequest) -> None:
        """Answer 400, without TLS."""
        self._leave()
        if isinstance(self._next, RefusesPlainly):
            self._next.refuse_plainly(error)
        else:
            self._network.inflow.fail(error)

    def _leave(self) -> None:
        self._data = b""
        self._below.set_protocol(self._next)
