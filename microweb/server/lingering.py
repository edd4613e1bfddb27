"""Close a connection in a way that lets the peer read the last answer.

If the server closes a socket with unread bytes, the kernel resets the connection, and the reset
can destroy the answer before the peer reads it. So the server ends its output first, and discards
the peer's bytes for a while. RFC 9112 section 9.6.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from traceback import walk_tb
from types import FrameType

from ..errors import ClientDisconnected
from ..parser import Parser
from .delivery import Discard, deliver_to, nothing, take_buffered
from .inflow import READ_BYTES
from .network import NEVER, NetworkStream
from .phases import Phase

# A client may send its whole upload before it reads the answer. nginx has the same limits: 5 s of
# silence, 30 s in all (lingering_timeout, lingering_time).
_LINGER_S = 30.0
SILENCE_S = 5.0
CROWDED_S = 2.0  # in all, while more than 1/_CROWD of `max_connections` linger
_CROWD = 10

_OURS = ("asyncio.", "microweb.")  # no function of an application


async def close(network: NetworkStream, parser: Parser, *, has_more: bool) -> None:
    """Close after the last answer. With `has_more`, first discard the bytes that the peer sends.

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
    else:  # `drain` would raise the exception of a deadline again
        transport.close()
        with suppress(OSError):
            await network.writer.wait_closed()


def abandon(network: NetworkStream) -> None:
    """Abort the connection of a peer that has left, and free its answer."""
    network.abort()
    # After the callback in which the transport reports its error.
    asyncio.get_running_loop().call_soon(_free_frames, network.reader)


def _free_frames(reader: asyncio.StreamReader) -> None:
    """Clear the variables of the functions that wrote when the peer left.

    asyncio keeps the error of a failed write in the reader, and with its traceback these functions,
    which hold the connection and the answer. Only the garbage collector would free that cycle: 20
    resets of an answer of 20 MB left 365 MB.
    """
    error = reader.exception()
    for frame, _ in walk_tb(error.__traceback__ if error is not None else None):
        each: FrameType | None = frame
        while each is not None and each.f_globals.get("__name__", "").startswith(_OURS):
            with suppress(RuntimeError):  # it runs still
                each.clear()
            each = each.f_back


def discard(network: NetworkStream, parser: Parser) -> Discard:
    """Discard all further bytes of the peer.

    Otherwise a peer that sends its whole body before it reads would never read a large answer.
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
    """Discard bytes until the body ends, the peer's input ends, or the peer is silent."""
    transport, state = network.transport, network.state
    if transport.can_write_eof():
        try:
            transport.write_eof()
        except OSError as error:  # the peer has reset the connection, which asyncio does not know
            raise ClientDisconnected("the client has reset the connection") from error
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
        discarding.on_data = nothing  # `renew` would keep this connection alive in memory
        state.lingering -= 1
        network.deadline = NEVER
