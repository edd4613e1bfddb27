"""How a connection closes so that its peer can read the last answer.

Closing with unread bytes would make the kernel reset the connection, which can destroy the answer
before the peer has read it. So our side ends first, and the peer's bytes go to nobody for a while.
RFC 9112 section 9.6
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ..parser import Parser
from .delivery import Discard, deliver_to, nothing, take_buffered
from .network import NEVER, READ_BYTES, NetworkStream, Phase

# A client that uploads may send all of it before it reads the answer, and a reset would destroy
# that: nginx waits for 5 s of silence, 30 s in all, as well (lingering_timeout, lingering_time).
_LINGER_S = 30.0
SILENCE_S = 5.0
CROWDED_S = 2.0  # in all, while more than so many linger:
_CROWD = 10  # a tenth of `max_connections`


async def close(network: NetworkStream, parser: Parser, *, has_more: bool) -> None:
    """Close after the last answer. `has_more`: the peer may have sent bytes that nobody read.

    Raises: ClientDisconnected.
    """
    transport = network.transport
    network.flush()
    if transport.is_closing():
        return
    if has_more:
        await _linger(network, parser)
    if network.reader.exception() is None:
        await network.drain_all()
    else:  # a deadline's, which `drain` would raise
        transport.close()
        with suppress(OSError):
            await network.writer.wait_closed()


def discard(network: NetworkStream, parser: Parser) -> Discard:
    """Discard the rest of the peer's bytes from now on: nobody reads them any more.

    A peer that sends all of a body before it reads would not read a large answer otherwise.
    """
    ended = asyncio.get_running_loop().create_future()
    network.discard = discarding = Discard(parser, ended)
    deliver_to(network.transport, discarding)
    reader = network.reader
    if reader.exception() is None:
        discarding.data_received(take_buffered(reader, READ_BYTES))
    if reader.at_eof() or network.transport.is_closing():
        discarding.end_received()
    else:
        network.resume_reading()
    return discarding


async def _linger(network: NetworkStream, parser: Parser) -> None:
    """Discard until the end of the body or of the peer's side, or until it is silent."""
    transport, state = network.transport, network.state
    if transport.can_write_eof():
        transport.write_eof()
    discarding = network.discard or discard(network, parser)
    is_crowded = state.lingering >= max(1, state.config.max_connections // _CROWD)
    limit_s = CROWDED_S if is_crowded else _LINGER_S
    network.lingers_until = min(network.lingers_until, state.clock() + limit_s)

    def renew() -> None:
        network.deadline = min(state.clock() + SILENCE_S, network.lingers_until)

    discarding.on_data = renew
    network.phase = Phase.LINGER
    renew()
    state.lingering += 1
    try:
        await discarding.ended
    finally:
        discarding.on_data = nothing  # `renew` keeps this connection
        state.lingering -= 1
        network.deadline = NEVER
