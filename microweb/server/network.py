"""One connection's bytes: reads and writes with a deadline, and an end that loses no answer.

No timer runs per connection: what waits sets a phase and a deadline, and the server's sweep calls
`check_deadlines()` once a second. Answers are put into `unflushed`, and written by `flush()` at the
end of the loop's turn. RFC 9112 section 9.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import cast

from ..errors import BodyTimeout, ClientDisconnected, HeadTimeout
from ..http.headers import Headers
from ..http.interfaces import Address
from ..request import Request
from .addresses import network_of
from .buffered import Share
from .delivery import Discard
from .interruptible import Interruptible
from .outflow import Outflow
from .sockets import has_ended, has_input, has_room, unsent_bytes
from .state import ServerState

NEVER = float("inf")

READ_BYTES = 64 * 1024
_HIGH_WATER = 64 * 1024  # with more than this unsent, wait for the peer


class Phase(Enum):
    """What a connection waits for, which says what its deadline means.

    In the first three it waits for the handler where a request is under way, without a deadline.
    """

    START = auto()  # the first request's first byte
    HEAD = auto()  # the rest of a head
    IDLE = auto()  # a later request's first byte
    BODY = auto()  # more of a body
    LINGER = auto()  # the peer to close, after the last answer


BEFORE_A_REQUEST = frozenset((Phase.START, Phase.HEAD, Phase.IDLE))


class NetworkStream:
    """The two streams of a connection, its phase and deadline, and the exchange that they serve."""

    __slots__ = (
        "_draining",
        "_held",
        "_outflow",
        "_phase_before",
        "_reading",
        "_taken",
        "address",
        "deadline",
        "discard",
        "is_full",
        "lingers_until",
        "phase",
        "reader",
        "request",
        "state",
        "task",
        "told",
        "transport",
        "unflushed",
        "writable",
        "writer",
        "written",
    )

    def __init__(
        self, state: ServerState, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.state = state
        self.reader = reader
        self.writer = writer
        self.transport = writer.transport
        peer = writer.get_extra_info("peername")
        self.address = Address(peer[0], peer[1]) if isinstance(peer, tuple) else None
        self.task: asyncio.Task[None] | None = None  # that serves the connection
        self.request: Request | None = None  # the one under way: not answered yet
        self.told: Request | None = None  # whose handler has got a ClientDisconnected
        self.phase = self._phase_before = Phase.START
        self._reading: Interruptible[bytes] | None = None  # of a body, under way
        self.deadline = state.clock() + state.config.head_timeout_s
        self.unflushed = b""  # answers of this turn of the loop, to be written at its end
        self.written = 0  # bytes that `write` has sent
        self._outflow: Outflow | None = None  # while bytes wait for the peer
        self.writable: asyncio.Future[None] | None = None  # waited for, while a file is sent
        self.discard: Discard | None = None  # takes the rest of the peer's bytes
        self.lingers_until = NEVER
        self._held = 0  # bytes of the answer that is being written
        self._draining = 0  # how many wait in `drain`
        self.is_full = False  # the transport holds more than the peer takes
        self._taken = -1  # bytes of `written` that the peer had taken at the last `probe`

    @property
    def scheme(self) -> str:
        """The connection's own scheme: `http` or `https`."""
        return "http" if self.writer.get_extra_info("sslcontext") is None else "https"

    def clock(self) -> float:
        """Return the loop's time in seconds."""
        return self.state.clock()

    async def read_within(self, seconds: float) -> bytes:
        """Return more of a body, `b""` at the end of input.

        Raises: BodyTimeout, ClientDisconnected; the error of `end_reading`.
        """
        self.flush()
        self._phase_before, self.phase = self.phase, Phase.BODY
        self.deadline = self.state.clock() + seconds
        reading = self._reading = Interruptible(self.reader.read(READ_BYTES))
        try:
            data = await reading
            if not data:
                self.left()
            return data
        except OSError as error:
            raise self.left("the peer left inside the body") from error
        finally:
            if self._reading is reading:  # else `end_reading` was here first
                self._reading, self.phase = None, self._phase_before

    def left(self, message: str = "the peer left") -> ClientDisconnected:
        """Return the error that tells the exchange that its client left; take note of that."""
        if asyncio.current_task() is self.task:  # not a write at the end of a turn of the loop
            self.told = self.request
        return ClientDisconnected(message)

    def end_reading(self, error: Exception) -> None:
        """Raise `error` in a task that waits in `read_within`, which takes no byte any more."""
        reading, self._reading = self._reading, None
        if reading is not None:
            self.phase = self._phase_before
            reading.interrupt(error)

    def begin_answer(self) -> None:
        """Flush earlier answers, and count the bytes of one that writes itself from here on."""
        self.flush()
        self.written, self._taken = 0, -1

    def write(self, data: bytes | memoryview) -> bool:
        """Send `data`; return whether to `drain()` before more. Raises: ClientDisconnected."""
        transport = self.transport
        # Past this point asyncio would drop it without a word, and uvloop raise RuntimeError.
        if transport.is_closing():
            raise self.left("the peer left before the answer was out")
        if type(data) is not bytes:
            data = memoryview(data).cast("B")  # its length is in bytes then, not in items
        transport.write(data)
        self.written += len(data)
        size = transport.get_write_buffer_size()
        if size or self._outflow is not None:
            self.note_sent(len(data))
        return size > _HIGH_WATER

    def write_interim(self, data: bytes) -> None:
        """Send an interim answer, unless the answer itself has begun."""
        if self.written:
            return
        self.flush()  # answers to earlier requests go first
        self.write(data)
        self.written = 0

    def probe(self, data: bytes) -> None:
        """Send `data`, unless there is more to take already, to learn whether the peer is there.

        One that has taken nothing since the last time, though there was something, is cut off: its
        network is gone, or it doesn't read. While the answer waits in `drain`, that has a deadline.
        """
        if self.transport.is_closing() or self.is_draining:
            return
        unsent = self.transport.get_write_buffer_size()
        if (connected := self.transport.get_extra_info("socket")) is not None:
            unsent += unsent_bytes(connected)
        taken_before, self._taken = self._taken, self.written - unsent
        if not unsent:
            self.transport.write(data)
            self.written += len(data)
        elif self._taken == taken_before:
            self.transport.abort()

    async def drain(self) -> None:
        """Wait until the peer has taken most of what was written. Raises: ClientDisconnected."""
        if self.transport.is_closing():
            raise self.left("the peer left before the answer was out")
        if self._outflow is None and self.transport.get_write_buffer_size():
            self.note_sent(0)
        self._draining += 1
        try:
            await self.writer.drain()
        except OSError as error:
            raise self.left("the peer left before the answer was out") from error
        finally:
            self._draining -= 1
        self.is_full = False
        if self.transport.is_closing():
            raise self.left("the peer left before the answer was out")

    def pause_reading(self) -> None:
        """Leave what comes to the kernel: the peer has to wait."""
        if not self.transport.is_closing():
            cast(asyncio.Transport, self.transport).pause_reading()

    def resume_reading(self) -> None:
        """Go on after `pause_reading`."""
        if not self.transport.is_closing():
            cast(asyncio.Transport, self.transport).resume_reading()

    def abort(self) -> None:
        """Cut the connection: what waits for the peer goes on at once."""
        self.transport.abort()

    async def drain_all(self) -> None:
        """Wait until the kernel has all that was written. Raises: ClientDisconnected."""
        transport = self.transport
        if transport.get_write_buffer_size():
            transport.set_write_buffer_limits(0)
            try:
                await self.drain()
            finally:
                transport.set_write_buffer_limits()

    def has_ended(self) -> bool:
        """Whether the peer sends no more: the reader says so only once all before that is read."""
        if self.reader.at_eof():
            return True
        connected = self.transport.get_extra_info("socket")
        return connected is not None and has_ended(connected)

    def flush(self) -> None:
        """Write the answers of this turn of the loop. A peer that left shows at the next read."""
        unflushed, transport = self.unflushed, self.transport
        if unflushed:
            self.unflushed = b""
            if not transport.is_closing():
                transport.write(unflushed)
                if (size := transport.get_write_buffer_size()) or self._outflow is not None:
                    self.is_full = self.is_full or size > _HIGH_WATER
                    self.note_sent(len(unflushed))

    # --- deadlines

    @property
    def is_draining(self) -> bool:
        """Whether something waits for the peer to read."""
        return self._draining > 0 or self.writable is not None

    def check_deadlines(self, now: float) -> None:
        """Do what a deadline that has passed means for what is waited for."""
        if self._outflow is not None:
            self._look_at_outflow(self._outflow, now)
        if self.deadline <= now and (self.phase is Phase.BODY or not self.is_draining):
            # Bytes that were read in this turn of the loop reach their task before the call.
            asyncio.get_running_loop().call_soon(self._expire)

    def _expire(self) -> None:
        """Do what the deadline means, unless bytes came in time.

        After a pause (SIGSTOP, a handler that blocked the loop) they still wait to be read.
        """
        phase = self.phase
        if self.request is not None and phase in BEFORE_A_REQUEST:
            return  # the handler has as long as it needs
        if self.deadline > self.state.clock() or self.transport.is_closing():
            return
        if self.has_input() and self.state.clock() < self.lingers_until:
            return  # the sweep comes again
        if phase is Phase.LINGER:
            if self.discard is not None:
                self.discard.end_received()
        elif phase is Phase.BODY:
            self.reader.set_exception(BodyTimeout("a body that stalled, or came too slowly"))
        elif phase is Phase.HEAD:
            self.reader.set_exception(HeadTimeout("a head that was not whole in time"))
        else:
            self._end_input()
        self.deadline = NEVER

    def has_input(self) -> bool:
        """Return whether the kernel holds bytes of the peer, or its end, that nobody read yet."""
        connected = self.transport.get_extra_info("socket")
        return connected is not None and has_input(connected)

    def idle_since(self) -> float | None:
        """Return when the connection began to wait for a request, None if it does not.

        None as well while the server stops: the sweep closes idle ones then, and times are unknown.
        """
        config = self.state.config
        if self.state.is_stopping or self.request is not None or self.deadline == NEVER:
            return None
        if self.transport.is_closing() or self.unflushed or self.transport.get_write_buffer_size():
            return None
        if self.phase is Phase.START:
            return self.deadline - config.head_timeout_s
        return self.deadline - config.idle_timeout_s if self.phase is Phase.IDLE else None

    def end_if_silent(self) -> bool:
        """Close an idle connection unless bytes wait on it; return whether it closes."""
        if self.has_input():
            return False
        self._end_input()
        return True

    def _end_input(self) -> None:
        """Have an idle connection end as if the peer had ended it: behind the answers before."""
        cast(asyncio.Transport, self.transport).pause_reading()
        self.reader.feed_eof()
        self.deadline = NEVER

    # --- bytes that wait for the peer

    def origin_of(self, headers: Headers) -> tuple[Address | None, str]:
        """Return (client, scheme) as the trusted proxies in front of us say."""
        proxies = self.state.proxies
        if not proxies:
            return self.address, self.scheme
        return proxies.origin_of(self.address, self.scheme, headers)

    def share(self, lose: Callable[[], None]) -> Share:
        """Return a share, for this client, of the memory that is buffered for all."""
        request, client = self.request, self.address
        if request is not None:
            client = self.origin_of(request.section.headers)[0]
        key = "" if client is None else network_of(client.host)
        return Share(self.state.budget, key, lose)

    def note_sent(self, size: int) -> None:
        """Count bytes that were sent, because these or others wait for the peer."""
        outflow, waiting = self._outflow, self.transport.get_write_buffer_size()
        if outflow is None:
            unsent = self._unsent_bytes()
            outflow = self._outflow = Outflow(unsent, self.state.clock())
        else:
            outflow.give(size)
        if waiting > _HIGH_WATER or self._held:
            self._count(outflow, 0)

    def note_taken(self, size: int) -> None:
        """Count bytes that the kernel has taken without `write`."""
        self.written += size
        if self._outflow is not None:
            self._outflow.give(size)

    def hold(self, size: int) -> None:
        """Count `size` bytes of the answer as buffered for the client, until the next call."""
        if size == self._held:
            return
        self._held = size
        if self._outflow is not None:
            self._count(self._outflow, 0)

    def _unsent_bytes(self) -> int:
        """Return how many bytes wait: in the transport, and in the kernel if it says so."""
        connected = self.transport.get_extra_info("socket")
        in_kernel = 0 if connected is None else unsent_bytes(connected)
        return self.transport.get_write_buffer_size() + in_kernel

    def _look_at_outflow(self, outflow: Outflow, now: float) -> None:
        """Cut the peer off if it takes what waits for it too slowly."""
        waiting = self.transport.get_write_buffer_size()
        if not (waiting or self.is_draining):
            self.end_outflow()
            return
        connected = self.transport.get_extra_info("socket")
        if connected is not None and has_room(connected):
            # After a pause of ours the peer may have read all, and the loop not written more yet.
            outflow.excuse(now)
        taken = outflow.look(self._unsent_bytes(), now, self.state.config)
        if outflow.is_too_slow(now, self.state.config):
            self._cut_off()
        elif outflow.share is not None:
            self._count(outflow, taken)

    def _count(self, outflow: Outflow, taken: int) -> None:
        """Count the bytes that wait, and those of the answer that is being written."""
        size = self._held + self.transport.get_write_buffer_size()
        if outflow.share is None:
            outflow.share, taken = self.share(self._cut_off), size  # a new one is no slow one yet
        outflow.share.hold(size, taken)

    def is_peer_silent(self, now: float, seconds: float) -> bool:
        """Whether bytes wait for a peer that has taken none of them for so long."""
        outflow = self._outflow
        return outflow is not None and self.is_draining and outflow.is_silent(now, seconds)

    def end_outflow(self) -> None:
        outflow, self._outflow = self._outflow, None
        if outflow is not None and outflow.share is not None:
            outflow.share.release()

    def _cut_off(self) -> None:
        """Cut the connection of a peer that does not read."""
        self.end_outflow()
        self.transport.abort()
        if self.writable is not None:  # which the transport knows nothing of
            wake(self.writable)


def wake(future: asyncio.Future[None]) -> None:
    """End what waits for `future`."""
    if not future.done():
        future.set_result(None)
