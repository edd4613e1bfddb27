"""What a connection offers the protocol that HTTP was upgraded to.

Its bytes can be read, or handed over as they come. The end of a connection is here too: behind an
answer that is the last, its bytes go to nobody. RFC 9110 section 7.8; RFC 9112 section 9.6
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import cast

from ..http.bytestream import Receiver
from ..parser import Parser
from .delivery import Delivery, Discard, nothing, take_buffered
from .network import NEVER, READ_BYTES, Phase, Wire
from .state import ServerState

_JOINED_BYTES = 64 * 1024

# A client that uploads may send all of it before it reads the answer, and a reset would destroy
# that: nginx waits for 5 s of silence, 30 s in all, as well (lingering_timeout, lingering_time).
_LINGER_S = 30.0
SILENCE_S = 5.0
CROWDED_S = 2.0  # in all, while more than so many linger:
_CROWD = 10  # a tenth of `max_connections`


class Handover(Wire):
    """A wire whose bytes may go to another protocol, or to nobody."""

    __slots__ = ("_discard", "parser")

    parser: Parser

    def __init__(
        self, state: ServerState, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        super().__init__(state, reader, writer)
        self._discard: Discard | None = None  # takes the rest of the peer's bytes

    async def read(self) -> bytes:
        """Return what the peer sent next, `b""` at its end: for upgrades.

        Raises: ClientDisconnected.
        """
        try:
            if not self.parser.is_empty:
                return self.parser.take_rest()
            return await self._reader.read(READ_BYTES)
        except OSError as error:
            raise self.left("the peer left") from error

    def write_soon(self, data: bytes) -> bool:
        """Send `data` at the end of this turn of the loop, else as `write`.

        An echo to each of 100 clients costs 6 % less by it: see `ServerState.flush_soon`.
        """
        if self.transport.is_closing():
            raise self.left("the peer left before the answer was out")
        self.written += len(data)
        if self.unflushed:
            self.unflushed += data
        else:
            self.unflushed = data
            if not self._state.unflushed:
                self._state.flush_soon()
            self._state.unflushed.append(self)
        if len(self.unflushed) > _JOINED_BYTES:
            self.flush()
        return self._is_full

    def hand_over(self, receiver: Receiver | None) -> None:
        """Hand to `receiver` what comes, in place of `read`, until None takes its place."""
        transport = self.transport
        self._deliver_to(receiver)
        if receiver is None:
            self.resume_reading()
            return
        reader, data = self._reader, self.parser.take_rest()
        if reader.exception() is None:
            data += take_buffered(reader, READ_BYTES)
        if data:
            receiver.data_received(data)
        if transport.is_closing() or reader.exception() is not None or reader.at_eof():
            receiver.end_received()

    def _deliver_to(self, receiver: Receiver | None) -> None:
        protocol, transport = self.transport.get_protocol(), self.transport
        if isinstance(protocol, Delivery):
            protocol = protocol.streams
        if isinstance(protocol, asyncio.Protocol):  # there is none once the connection is lost
            transport.set_protocol(protocol if receiver is None else Delivery(protocol, receiver))

    def pause_reading(self) -> None:
        """Leave what comes to the kernel: the peer has to wait."""
        if not self.transport.is_closing():
            cast(asyncio.Transport, self.transport).pause_reading()

    def resume_reading(self) -> None:
        """Go on after `pause_reading`."""
        if not self.transport.is_closing():
            cast(asyncio.Transport, self.transport).resume_reading()

    # --- the end

    async def close(self, *, has_more: bool) -> None:
        """Close behind the last answer. `has_more`: the peer may have sent bytes that nobody read.

        Closing then would make the kernel reset the connection, which can destroy the answer
        before the peer has read it. So end our side, and discard for a while. RFC 9112 section 9.6
        """
        transport = self.transport
        self.flush()
        if transport.is_closing():
            return
        if has_more:
            await self._linger()
        if self._reader.exception() is None:
            await self._drain_all()
        else:  # a deadline's, which `drain` would raise
            transport.close()
            with suppress(OSError):
                await self._writer.wait_closed()

    def discard(self) -> None:
        """Discard the rest of the peer's bytes from now on: nobody reads them any more.

        A peer that sends all of a body before it reads would not read a large answer otherwise.
        """
        self._ended = asyncio.get_running_loop().create_future()
        self._discard = discard = Discard(self.parser, self._ended)
        self._deliver_to(discard)
        reader = self._reader
        if reader.exception() is None:
            discard.data_received(take_buffered(reader, READ_BYTES))
        if reader.at_eof() or self.transport.is_closing():
            discard.end_received()
        else:
            self.resume_reading()

    async def _linger(self) -> None:
        """Discard until the end of the body or of the peer's side, or until it is silent."""
        transport, state = self.transport, self._state
        if transport.can_write_eof():
            transport.write_eof()
        if self._ended is None or self._discard is None:
            self.discard()
            assert self._ended is not None and self._discard is not None
        is_crowded = state.lingering >= max(1, self.config.max_connections // _CROWD)
        limit_s = CROWDED_S if is_crowded else _LINGER_S
        self._lingers_until = min(self._lingers_until, state.clock() + limit_s)

        def renew() -> None:
            self.deadline = min(state.clock() + SILENCE_S, self._lingers_until)

        self._discard.on_data = renew
        self.phase = Phase.LINGER
        renew()
        state.lingering += 1
        try:
            await self._ended
        finally:
            self._discard.on_data = nothing  # `renew` keeps this connection
            state.lingering -= 1
            self.deadline = NEVER
