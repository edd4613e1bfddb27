"""Send early hints on a connection, before the answer to its request. RFC 8297."""

from __future__ import annotations

from collections.abc import Sequence

from ..http.early_hints import encode_early_hints
from .network import NetworkStream

_MAX_UNSENT = 64 * 1024  # bytes that wait for the client: it gets no hints beyond them


def send_early_hints(network: NetworkStream, request: object, links: Sequence[str]) -> None:
    """Send a 103 with `links`, if `request` is under way and its answer has not begun.

    Hints are optional, so this never waits and never raises: a client that has left, or that does
    not read, gets none.
    """
    if request is not network.request or not links:
        return
    network.flush()  # answers to earlier requests go first; this may find out that the client left
    transport = network.transport
    if not transport.is_closing() and transport.get_write_buffer_size() <= _MAX_UNSENT:
        network.write_interim(encode_early_hints(links))
