"""A WebSocket behind its handshake: messages both ways, pings, and its end. RFC 6455 sections 5-7

Strategy: whoever waits for a message reads from the connection itself, so that a message costs no
other task. While nobody waits, a reader in the background answers pings and sees a close: it begins
at the connection's next second, and ends when somebody waits again or enough has arrived. No timer
runs: `look` is called once a second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from .errors import ClientDisconnected, LocalProtocolError
from .response import ByteStream

if TYPE_CHECKING:
    from .frames import Frames, Message

# RFC 6455 section 7.4.1
NORMAL = 1000
GOING_AWAY = 1001
INVALID_DATA = 1007
POLICY_VIOLATION = 1008
INTERNAL_ERROR = 1011
LOST = 1006  # never sent: the connection ended without a close frame

_CLOSE_TIMEOUT_S = 5.0  # for the peer to answer a close

# Received and not asked for; with more, nobody reads on and the peer has to wait.
_MAX_ARRIVED = 64
_MAX_ARRIVED_SIZE = 64 * 1024
_MAX_UNBROKEN = 64  # messages without a suspension: others have their turn then

_NEVER = float("inf")


class Conversation:
    """One connection's messages. `ping_interval_s` of 0 sends no pings."""

    __slots__ = (
        "_arrived",
        "_arrived_size",
        "_ends_at",
        "_frames",
        "_heard_at",
        "_is_heard",
        "_is_receiving",
        "_ping_interval_s",
        "_ping_timeout_s",
        "_pinged_at",
        "_reader",
        "_stream",
        "_unbroken",
        "closed_with",
        "gone",
        "has_noticed",
        "is_closing",
    )

    def __init__(
        self, stream: ByteStream, frames: Frames, ping_interval_s: float, ping_timeout_s: float
    ) -> None:
        self._stream = stream
        self._frames = frames
        self._ping_interval_s = ping_interval_s
        self._ping_timeout_s = ping_timeout_s
        self.closed_with: tuple[int, str] | None = None  # once either side has closed
        self.is_closing = False  # we have closed, and wait for the peer's answer
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.has_noticed = False  # the endpoint, that it is over
        self._arrived: deque[Message] = deque()
        self._arrived_size = 0
        self._reader: asyncio.Task[None] | None = None  # in the background
        self._is_receiving = False
        self._unbroken = 0
        self._is_heard = True  # since the last look
        self._heard_at = self._pinged_at = 0.0
        self._ends_at = _NEVER  # then the peer has had its time to answer a close

    # --- receiving

    async def receive(self, at_end: Callable[[], Exception]) -> Message:
        """Return the next message; raise `at_end()` where either side has closed or is lost.

        Cancelled, it has taken nothing. Raises: LocalProtocolError where another task waits here.
        """
        if self._is_receiving:
            raise LocalProtocolError("another task waits for a message of this socket already")
        self._is_receiving = True
        try:
            if self._reader is not None:
                await self._stop_reader()
            message: Message | None
            if self._arrived:
                message = self._arrived.popleft()
                self._arrived_size -= len(message)
            else:
                message = None if self.is_closing else await self._read_message()
        finally:
            self._is_receiving = False
        if message is None or self.is_closing:
            self.has_noticed = True
            raise at_end()
        return message

    async def _read_message(self) -> Message | None:
        """Return the next message of the stream; None at its end."""
        frames, stream = self._frames, self._stream
        self._unbroken += 1
        if self._unbroken > _MAX_UNBROKEN:
            self._unbroken = 0
            await asyncio.sleep(0)
        try:
            while not self.gone.done():
                message = frames.next_message()
                # Nothing is awaited while there is a message: a cancellation would lose it.
                is_full = self._write_output() if frames.output else False
                if message is not None:
                    return message
                if frames.is_over:
                    self._end()
                    return None
                if is_full:
                    await stream.drain()
                data = await stream.read()
                if not data:
                    self._end()
                    return None
                self._is_heard = True
                frames.feed(data)
        except ClientDisconnected:
            self._end()
        return None

    async def _read_on(self) -> None:
        """Read while nobody waits for a message."""
        while not self._is_full and (message := await self._read_message()) is not None:
            if not self.is_closing:
                self._arrived.append(message)
                self._arrived_size += len(message)

    @property
    def _is_full(self) -> bool:
        return len(self._arrived) >= _MAX_ARRIVED or self._arrived_size >= _MAX_ARRIVED_SIZE

    @property
    def _is_reading(self) -> bool:
        return self._is_receiving or (self._reader is not None and not self._reader.done())

    def _start_reader(self) -> None:
        if not (self._is_reading or self._is_full or self.gone.done()):
            loop = asyncio.get_running_loop()
            self._reader = loop.create_task(self._read_on(), name="websocket reader")

    async def _stop_reader(self) -> None:
        reader, self._reader = self._reader, None
        assert reader is not None
        reader.cancel()
        await asyncio.wait((reader,))
        if not reader.cancelled():
            reader.result()  # it raises nothing but what is a bug

    # --- sending

    def compress(self, message: Message) -> bytes | None:
        """Return a message as a compressed frame, where that was agreed and is worth it."""
        if self.closed_with is not None:
            return None
        return self._frames.compress(message)

    def write(self, frame: bytes) -> bool:
        """Send a frame; return whether to `drain()` before more. Raises: ClientDisconnected."""
        if self.closed_with is not None:
            raise self.disconnected()
        try:
            return self._stream.write(frame)
        except ClientDisconnected:
            self._end()
            raise self.disconnected() from None

    async def drain(self) -> None:
        """Wait until the peer has taken most of what was sent. Raises: ClientDisconnected."""
        try:
            await self._stream.drain()
        except ClientDisconnected:
            self._end()
            raise self.disconnected() from None

    def disconnected(self) -> ClientDisconnected:
        """Return what tells the endpoint that it is over."""
        self.has_noticed = True
        code, reason = self.closed_with or (LOST, "")
        return ClientDisconnected(f"the WebSocket was closed: {code} {reason}".rstrip())

    def _write_output(self) -> bool:
        """Send what the frames have to say; return whether to `drain()`."""
        output, self._frames.output = self._frames.output, b""
        return bool(output) and self._stream.write(output)

    # --- the end

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame, and take no more messages."""
        if self.closed_with is not None:
            return
        self._frames.close(code, reason)
        self.closed_with = (code, reason)
        self.is_closing = True
        self._arrived.clear()
        self._arrived_size = 0
        try:
            self._write_output()
        except ClientDisconnected:
            self._end()

    def _end(self) -> None:
        """Take note that nothing more will come."""
        if self.closed_with is None:
            self.closed_with = self._frames.closed_with or (LOST, "")
        if not self.gone.done():
            self.gone.set_result(None)

    async def finish(self) -> None:
        """Wait for the end, which a close that the peer does not answer has as well; then hang up.

        What was sent is out then, or the peer has left.
        """
        try:
            self._start_reader()
            await self.gone
        finally:
            if self._reader is not None:
                await self._stop_reader()
        with suppress(ClientDisconnected):
            await self._stream.close(has_more=self._frames.has_failed)

    # --- once a second

    def look(self, now: float) -> None:
        """See to pings and to a peer that is silent, or does not answer a close."""
        if self.gone.done():
            return
        self._start_reader()
        if self.is_closing:
            if self._ends_at is _NEVER:
                self._ends_at = now + _CLOSE_TIMEOUT_S
            elif now >= self._ends_at:
                self._drop()
        elif self._is_heard or not self._is_reading:  # what it said may be in what nobody reads
            self._is_heard = False
            self._heard_at, self._pinged_at = now, 0.0
        elif self._pinged_at:
            if now - self._pinged_at >= self._ping_timeout_s:
                self._drop()
        elif self._ping_interval_s and now - self._heard_at >= self._ping_interval_s:
            self._pinged_at = now
            self._ping()

    def _ping(self) -> None:
        self._frames.ping()
        try:
            self._write_output()
        except ClientDisconnected:
            self._end()

    def _drop(self) -> None:
        """Cut the connection, which ends what waits on it."""
        self._stream.abort()
        self._end()
