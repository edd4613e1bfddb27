"""The two ends of a connection, which all of its requests have in common."""

from __future__ import annotations

from ..http.interfaces import Ends, Origin
from .addresses import local_end_of
from .network import NetworkStream


def ends_of(network: NetworkStream) -> Ends:
    """Return the two ends of a connection."""
    proxies, scheme = network.state.proxies, network.scheme
    origin = None if proxies else Origin(network.address, scheme, None, proxies.root_path)
    return Ends(local_end_of(network.transport), origin, scheme == "https")
