"""The bytes of one connection: reads and writes with deadlines.

No timer runs per connection. A coroutine that waits sets a phase and a deadline, and the server's
sweep calls `check_deadlines()` once a second. Answers collect in `unflushed`, which `flush()`
writes at the end of the event loop's iteration. RFC 9112 section 9.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from ..errors import BodyTimeout, ClientDisconnected, HeadTimeout
from ..http.interfaces import Address, Origin
from ..http.request_head import HeaderSection
from ..request import Request
from .addresses import network_of
from .buffered import Share
from .delivery import Discard
from .inflow import READ_BYTES, Inflow
from .interruptible import Interruptible, wake
from .outflow import Outflow
from .phases import BEFORE_A_REQUEST, HEAD, IDLE, START, Phase
from .records import DEADLINE, ExchangeRecord
from .sockets import has_ended, has_input, has_room, unsent_bytes
from .state import ServerState
from .unix_sockets import address_of

NEVER = float("inf")

_HIGH_WATER = 64 * 1024  # if the transport holds more bytes, wait until the peer reads


class NetworkStream:
    """The two streams of a connection, its phase, its deadline and the request under way."""

    __slots__ = (
        "_address",
        "_draining",
        "_held",
        "_outflow",
        "_phase_before",
        "_reading",
        "_scheme",
        "_taken",
        "deadline",
        "discard",
        "disconnected",
        "inflow",
        "is_full",
        "lingers_until",
        "phase",
        "reader",
        "record",
        "request",
        "state",
        "task",
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
        self.transport = transport = writer.transport
        self.inflow = Inflow(state.loop, reader, transport)
        self._address = address_of(transport) if state.has_users else None
        self._scheme = ""  # found at the first use
        self.task: asyncio.Task[None] | None = None  # the task that serves the connection
        self.request: Request | None = None  # the request under way, not answered yet
        self.record: ExchangeRecord | None = None  # of the exchange under way, for observers
        self.disconnected: Request | None = None  # its handler has got a ClientDisconnected
        self.phase = self._phase_before = START
        self._reading: Interruptible[bytes] | None = None  # the read of a body under way
        self.deadline = state.clock() + state.config.head_timeout_s
        self.unflushed = b""  # answers to write at the end of the event loop's iteration
        self.written = 0  # bytes that `write` has sent
        self._outflow: Outflow | None = None  # while bytes wait for the peer
        self.writable: asyncio.Future[None] | None = None  # awaited while a file is sent
        self.discard: Discard | None = None  # receives the rest of the peer's bytes
        self.lingers_until = NEVER
        self._held = 0  # bytes of the answer that is being written
        self._draining = 0  # how many tasks wait in `drain`
        self.is_full = False  # the transport holds more than `_HIGH_WATER`
        self._taken = -1  # bytes of `written` that the peer had taken at the last `probe`

    @property
    def address(self) -> Address | None:
        """The peer's address, found at the first use."""
        if self._address is None:
            self._address = address_of(self.transport)
        return self._address

    @property
    def scheme(self) -> str:
        """The connection's own scheme: `http` or `https`."""
        if not self._scheme:  # to ask the transport each time costs 0.4 us
            has_tls = self.transport.get_extra_info("sslcontext") is not None
            self._scheme = "https" if has_tls else "http"
        return self._scheme

    async def read_within(self, seconds: float) -> bytes:
        """Return more bytes of a body, `b""` at the end of input.

        Raises: BodyTimeout, ClientDisconnected, the error given to `end_reading`.
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
            if self._reading is reading:  # else `end_reading` has already reset it
                self._reading, self.phase = None, self._phase_before

    def left(self, message: str = "the peer left") -> ClientDisconnected:
        """Return the error to raise, and record that the current exchange gets it."""
        if asyncio.current_task() is self.task:  # else another task or a callback wrote
            self.disconnected = self.request
        return ClientDisconnected(message)

    def end_reading(self, error: Exception) -> None:
        """Raise `error` in the task that waits in `read_within`. That read takes no more bytes."""
        reading, self._reading = self._reading, None
        if reading is not None:
            self.phase = self._phase_before
            reading.interrupt(error)

    def begin_answer(self) -> None:
        """Flush earlier answers, and start counting the bytes of a streamed answer."""
        self.flush()
        self.written, self._taken = 0, -1

    def write(self, data: bytes | memoryview) -> bool:
        """Send `data`; return whether to `drain()` before more. Raises: ClientDisconnected."""
        transport = self.transport
        # To a closing transport asyncio would drop the data silently; uvloop raises RuntimeError.
        if transport.is_closing():
            raise self.left("the peer left before the answer was sent")
        if type(data) is not bytes:
            data = memoryview(data).cast("B")  # so that `len` counts bytes, not items
        transport.write(data)
        self.written += len(data)
        size = transport.get_write_buffer_size()
        if size or self._outflow is not None:
            self.note_sent(len(data))
        return size > _HIGH_WATER

    def write_interim(self, data: bytes) -> None:
        """Send an interim answer, unless the final answer has begun."""
        if self.written:
            return
        self.flush()  # answers to earlier requests go first
        self.write(data)
        self.written = 0

    def probe(self, data: bytes) -> None:
        """Send `data` to test whether the peer still reads.

        If bytes are already pending, send nothing. If the peer has read none of them since the
        last call, its network is down or it does not read: cut the connection. While a task
        waits in `drain`, do nothing: a deadline of its own applies then.
        """
        if self.transport.is_closing() or self.is_draining:
            return
        unsent = self._unsent_bytes()
        sent = self.transport.get_extra_info("encrypted_bytes", self.written)
        taken_before, self._taken = self._taken, sent - unsent
        if not unsent:
            self.transport.write(data)
            self.written += len(data)
        elif self._taken == taken_before:
            self._cut_off()

    async def drain(self) -> None:
        """Wait until the peer has taken most of the written bytes. Raises: ClientDisconnected."""
        if self.transport.is_closing():
            raise self.left("the peer left before the answer was sent")
        if self._outflow is None and self.transport.get_write_buffer_size():
            self.note_sent(0)
        self._draining += 1
        try:
            await self.writer.drain()
        except OSError as error:
            raise self.left("the peer left before the answer was sent") from error
        finally:
            self._draining -= 1
        self.is_full = False
        if self.transport.is_closing():
            raise self.left("the peer left before the answer was sent")

    def pause_reading(self) -> None:
        """Stop reading from the socket, so that the peer must wait when the kernel is full."""
        if not self.transport.is_closing():
            cast(asyncio.Transport, self.transport).pause_reading()

    def resume_reading(self) -> None:
        """Read again after `pause_reading`."""
        if not self.transport.is_closing():
            cast(asyncio.Transport, self.transport).resume_reading()

    def abort(self) -> None:
        """Cut the connection. A coroutine that waits for the peer continues immediately."""
        self.transport.abort()

    async def drain_all(self) -> None:
        """Wait until the kernel has all written bytes. Raises: ClientDisconnected."""
        transport = self.transport
        if transport.get_write_buffer_size():
            transport.set_write_buffer_limits(0)
            try:
                await self.drain()
            finally:
                transport.set_write_buffer_limits()

    def is_gone(self) -> bool:
        """Whether the connection is lost."""
        return self.transport.is_closing() or self.reader.exception() is not None

    def has_ended(self) -> bool:
        """Whether the peer sends no more, even if earlier bytes are still unread."""
        if self.reader.at_eof():
            return True
        connected = self.transport.get_extra_info("socket")
        return connected is not None and has_ended(connected)

    def flush(self) -> None:
        """Write `unflushed`. If the peer has disconnected, the next read reports it."""
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
        """Whether a task waits until the peer reads."""
        return self._draining > 0 or self.writable is not None

    def check_deadlines(self, now: float) -> None:
        """Cut off a peer that reads too slowly, and act on a deadline that has passed."""
        if self._outflow is not None:
            self._check_outflow(self._outflow, now)
        if self.deadline <= now and (self.phase is Phase.BODY or not self.is_draining):
            # Bytes read in this iteration of the event loop reach their task before `_expire`.
            asyncio.get_running_loop().call_soon(self._expire)

    def _expire(self) -> None:
        """End the wait of the current phase, unless bytes arrived in time.

        After a pause (SIGSTOP, a handler that blocked the event loop) they may still be unread.
        """
        phase = self.phase
        if self.request is not None and phase in BEFORE_A_REQUEST:
            return  # the handler has as long as it needs
        if self.deadline > self.state.clock() or self.transport.is_closing():
            return
        if self.has_input() and self.state.clock() < self.lingers_until:
            return  # the next sweep calls this again
        if phase is Phase.LINGER:
            if self.discard is not None:
                self.discard.end_received()
        elif phase is Phase.BODY:
            self.inflow.fail(BodyTimeout("the request body stalled or came too slowly"))
        elif phase is HEAD:
            self.inflow.fail(HeadTimeout("the request head was not complete in time"))
        else:
            self._end_input()
        self.deadline = NEVER

    def has_input(self) -> bool:
        """Return whether the kernel holds bytes or the end of input that are not read yet."""
        connected = self.transport.get_extra_info("socket")
        return connected is not None and has_input(connected)

    def idle_since(self) -> float | None:
        """Return when the connection began to wait for a request, None if it does not wait.

        Also None while the server stops: the sweep closes idle connections then, and the deadline
        no longer tells when the wait began.
        """
        config = self.state.config
        if self.state.is_stopping or self.request is not None or self.deadline == NEVER:
            return None
        if self.transport.is_closing() or self.unflushed or self.transport.get_write_buffer_size():
            return None
        if self.phase is START:
            return self.deadline - config.head_timeout_s
        return self.deadline - config.idle_timeout_s if self.phase is IDLE else None

    def end_if_silent(self) -> bool:
        """Close an idle connection unless it has unread bytes; return whether it closes."""
        if self.has_input() or not self.inflow.is_awaited:
            return False
        self._end_input()
        return True

    def _end_input(self) -> None:
        """End an idle connection as if the peer had closed it, after all earlier answers."""
        cast(asyncio.Transport, self.transport).pause_reading()
        self.inflow.end()
        self.deadline = NEVER

    # --- bytes that wait for the peer

    def origin_of(self, section: HeaderSection) -> Origin:
        """Return the origin of a request according to the trusted proxies."""
        proxies = self.state.proxies
        if not proxies:
            return Origin(self.address, self.scheme, None, proxies.root_path)
        return proxies.origin_of(self.address, self.scheme, section.headers)

    def share(self, lose: Callable[[], None]) -> Share:
        """Return a new share of the buffer memory for this client; `lose` frees it early."""
        request, client = self.request, self.address
        if request is not None:
            client = request.client
        key = "" if client is None else network_of(client.host)
        return Share(self.state.budget, key, lose)

    def note_sent(self, size: int) -> None:
        """Count `size` sent bytes while unsent bytes wait for the peer."""
        outflow, waiting = self._outflow, self.transport.get_write_buffer_size()
        encrypted = self.transport.get_extra_info("encrypted_bytes")
        if outflow is None:
            outflow = self._outflow = Outflow(self._unsent_bytes(), self.state.clock(), encrypted)
        else:
            outflow.add(size, encrypted)
        if waiting > _HIGH_WATER or self._held:
            self._count(outflow, 0)

    def note_taken(self, size: int) -> None:
        """Count `size` bytes that were sent without `write`, by `sendfile`."""
        self.written += size
        if self._outflow is not None:
            self._outflow.add(size)

    def hold(self, size: int) -> None:
        """Count `size` bytes of the answer as buffered for the client, until the next call."""
        if size == self._held:
            return
        self._held = size
        if self._outflow is not None:
            self._count(self._outflow, 0)

    def _unsent_bytes(self) -> int:
        """Return how many bytes wait in the transport and, if known, in the kernel."""
        connected = self.transport.get_extra_info("socket")
        in_kernel = 0 if connected is None else unsent_bytes(connected)
        return self.transport.get_write_buffer_size() + in_kernel

    def _check_outflow(self, outflow: Outflow, now: float) -> None:
        """Cut the connection if the peer reads its answer too slowly."""
        waiting = self.transport.get_write_buffer_size()
        if not (waiting or self.is_draining):
            self.end_outflow()
            return
        connected = self.transport.get_extra_info("socket")
        if connected is not None and has_room(connected):
            # The socket takes bytes: after a pause of this process, the peer may have read all
            # sent bytes before the event loop could write more. That wait is not the peer's.
            outflow.excuse(now)
        taken = outflow.measure(self._unsent_bytes(), now, self.state.config)
        if outflow.is_too_slow(now, self.state.config):
            self._cut_off()
        elif outflow.share is not None:
            self._count(outflow, taken)

    def _count(self, outflow: Outflow, taken: int) -> None:
        """Count the waiting bytes and the held bytes of the answer in the client's share."""
        size = self._held + self.transport.get_write_buffer_size()
        if outflow.share is None:
            outflow.share, taken = self.share(self._cut_off), size  # do not begin as a slow share
        outflow.share.hold(size, taken)

    def is_peer_silent(self, now: float, seconds: float) -> bool:
        """Whether bytes wait for the peer, and it has taken none for `seconds`."""
        outflow = self._outflow
        return outflow is not None and self.is_draining and outflow.is_silent(now, seconds)

    def end_outflow(self) -> None:
        outflow, self._outflow = self._outflow, None
        if outflow is not None and outflow.share is not None:
            outflow.share.release()

    def _cut_off(self) -> None:
        """Cut the connection of a peer that does not read."""
        if self.record is not None:
            self.record.how = DEADLINE
        self.end_outflow()
        self.transport.abort()
        if self.writable is not None:  # the transport does not know this future
            wake(self.writable)
