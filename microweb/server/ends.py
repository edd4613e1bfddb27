"""The addresses of the two ends of a connection, which all of its requests share."""

from __future__ import annotations

from ..http.interfaces import Ends, Origin
from ..http.tls import TLSInfo
from .addresses import local_end_of
from .network import NetworkStream


def ends_of(network: NetworkStream) -> Ends:
    """Return the two ends of a connection."""
    proxies, scheme = network.state.proxies, network.scheme
    origin = None if proxies else Origin(network.address, scheme, None, proxies.root_path)
    return Ends(local_end_of(network.transport), origin, scheme == "https")


def tls_of(network: NetworkStream) -> TLSInfo | None:
    """Return the TLS side of a connection, None without TLS."""
    if network.scheme == "http":
        return None
    tls: TLSInfo | None = network.transport.get_extra_info("tls")
    return tls
