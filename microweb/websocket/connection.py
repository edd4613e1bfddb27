"""A WebSocket after its handshake: messages, pings, and the close. RFC 6455 sections 5-7

Strategy: the transport calls `data_received`, so a message costs one wake-up of the receiving task,
and no task that reads. Frames are processed in order, one message at a time, when `receive()` waits
for one. So the endpoint's answer to a message is sent before the answer to a close after it. If no
`receive()` was waiting at the last one-second tick, frames are processed as they arrive, so that
pings are answered and a close is noticed. This ends with the next `receive()`. If more arrives than
the endpoint receives, reading is paused, and the peer has to wait. No timer runs: see `tick`.

Nothing here suspends while messages are available, or while the peer takes all bytes. So each
connection counts its work, and lets other tasks have their turn in between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import ClientDisconnected, LocalProtocolError
from ..http.bytestream import Share, UpgradedStream
from .frames import LOST, PING, TRY_AGAIN_LATER
from .heartbeat import Heartbeat

if TYPE_CHECKING:
    from .protocol import Frames, Message


# Messages that the endpoint has not received. If there are more, reading is paused.
_MAX_ARRIVED = 64
_MAX_ARRIVED_SIZE = 64 * 1024
_MAX_UNBROKEN = 64  # messages, or KiB of them, before other tasks have their turn


class WebSocketConnection:
    """The messages of one connection. A `ping_interval_s` of 0 sends no pings.

    `task` is the endpoint's. The endpoint knows of the end only if the error is raised in it.
    """

    __slots__ = (
        "_arrived",
        "_arrived_size",
        "_drainer",
        "_frames",
        "_has_arrived",
        "_heartbeat",
        "_is_paused",
        "_is_receiving",
        "_left",
        "_loop",
        "_pushers",
        "_reads_ahead",
        "_share",
        "_stream",
        "_turn",
        "_unbroken",
        "_waiter",
        "closed_with",
        "gone",
        "has_failed_to_send",
        "has_noticed",
        "is_closing",
        "task",
    )

    def __init__(
        self,
        stream: UpgradedStream,
        frames: Frames,
        task: asyncio.Task[object],
        ping_interval_s: float,
        ping_timeout_s: float,
    ) -> None:
        self._stream = stream
        self._frames = frames
        self.task: asyncio.Task[object] | None = task  # None at its end: its error may hold this
        self._loop = asyncio.get_running_loop()
        self.closed_with: tuple[int, str] | None = None  # set when either side has closed
        self.is_closing = False  # we have closed, and wait for the peer's close
        self.gone: asyncio.Future[None] = self._loop.create_future()  # done at the end
        self.has_noticed = False  # the endpoint knows of the end
        self.has_failed_to_send = False  # a `send` in the endpoint's task has failed
        self._pushers = 0  # `pushing` blocks that the endpoint is in
        self._is_receiving = False  # `receive` was called since the first of them began
        self._arrived: deque[Message] = deque()
        self._arrived_size = 0
        self._waiter: asyncio.Future[None] | None = None  # of a waiting `receive`
        self._reads_ahead = False  # frames are processed as they arrive
        self._is_paused = False  # reading is paused
        self._unbroken = 0  # messages, and KiB of them, since other tasks had their turn
        self._turn: asyncio.Handle | None = None  # a later turn, for unread frames
        self._drainer: asyncio.Task[None] | None = None  # while the peer does not take its pongs
        self._left = (0, 0)  # messages and bytes not received at the last tick
        self._has_arrived = True  # any bytes, since the last tick
        self._heartbeat = Heartbeat(ping_interval_s, ping_timeout_s)
        self._share: Share | None = None  # of the memory for all clients, if it keeps much

    # --- receiving

    async def receive(self, at_end: Callable[[], Exception]) -> Message:
        """Return the next message; raise `at_end()` if either side has closed or is lost.

        A cancelled call loses no message. Raises: LocalProtocolError if another task waits here.
        """
        self._is_receiving = True
        arrived = self._arrived
        if not arrived:
            self._reads_ahead = False
            if self._unbroken > _MAX_UNBROKEN:
                self._unbroken = 0
                await asyncio.sleep(0)
            if self._frames.unread:
                self._take(1)
            while not (arrived or self.is_closing or (self.gone.done() and self._turn is None)):
                await self._wait()
        if not arrived or self.is_closing:
            self.has_noticed |= self._is_endpoint()
            raise at_end()
        message = arrived.popleft()
        size = _size_of(message)
        self._arrived_size -= size
        if self._share is not None:
            self._count(0)
        self._unbroken += 1 + (size >> 10)
        return message

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise LocalProtocolError(
                "another task waits for a message of this socket already: receive in one task"
            )
        self._resume()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._unbroken = 0

    def data_received(self, data: bytes) -> None:
        """Process bytes from the peer."""
        self._has_arrived = True
        frames = self._frames
        frames.feed(data)
        if self._waiter is not None:
            self._take(1)
        elif self._reads_ahead or self.is_closing:
            self._take(_MAX_ARRIVED)
        self._note_held(len(data))

    def _note_held(self, came: int) -> None:
        """Count the kept bytes if they are many; if many are unread, pause reading."""
        frames = self._frames
        if frames.held + self._arrived_size > _MAX_ARRIVED_SIZE or self._share is not None:
            if frames.unread > _MAX_ARRIVED_SIZE:
                self._pause()
            self._count(came)

    def _count(self, came: int) -> None:
        """Count the bytes of incomplete messages, and of messages that no `receive` waits for."""
        held = self._frames.held + (self._arrived_size if self._waiter is None else 0)
        if self._share is None:
            self._share = self._stream.share(self._evict)
        self._share.hold(held, came)

    def _evict(self) -> None:
        """End the connection, because too much is buffered, and most of it for this client."""
        self._share = None
        self._arrived.clear()
        self._arrived_size = 0
        self._frames.fail(TRY_AGAIN_LATER, "too much is buffered for this client")
        self._answer()
        self._end()

    def end_received(self) -> None:
        """Handle the end of the peer's bytes, or the loss of the connection."""
        if not self.gone.done():
            self._take(_MAX_ARRIVED)  # unread frames may contain a close
        self._end()

    def _take(self, count: int) -> None:
        """Process frames until `count` messages have arrived; leave much work to a later turn."""
        if self._turn is not None:
            return
        frames, arrived, dropped = self._frames, self._arrived, 0
        while len(arrived) < count and self._arrived_size < _MAX_ARRIVED_SIZE:
            message = frames.next_message()
            if message is not None and not self.is_closing:
                arrived.append(message)
                self._arrived_size += _size_of(message)
                continue
            if message is not None:
                dropped += _cost_of(message)
            if frames.has_more or dropped > _MAX_UNBROKEN:
                self._turn = self._loop.call_soon(self._take_turn)
                break
            if message is None:
                self._resume()
                break
        if frames.output:
            self._answer()
        if frames.is_over:
            self._end()
        elif arrived:
            self._wake()

    def _take_turn(self) -> None:
        """Process the frames that `_take` has left to this turn."""
        self._turn = None
        if self._waiter is not None:
            self._take(1)
        elif self._reads_ahead or self.is_closing:
            self._take(_MAX_ARRIVED)
        if self.gone.done():
            self._wake()
        else:
            self._note_held(0)

    def _pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._stream.pause_reading()

    def _resume(self) -> None:
        if self._is_paused and self._drainer is None and self._turn is None:
            self._is_paused = False
            self._stream.resume_reading()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _answer(self) -> None:
        """Send the output of the frames; if the peer does not take it, pause reading."""
        output, self._frames.output = self._frames.output, b""
        try:
            is_full = self._stream.write_soon(output)
        except ClientDisconnected:
            self._end()
            return
        if is_full and self._drainer is None and not self.gone.done():
            self._pause()
            self._drainer = self._loop.create_task(self._drain_answers(), name="websocket pongs")

    async def _drain_answers(self) -> None:
        with suppress(ClientDisconnected):  # `end_received` handles the loss
            await self._stream.drain()
        self._drainer = None
        self._resume()

    # --- sending

    def compress(self, message: Message) -> bytes | None:
        """Return a message as a compressed frame; None if not agreed, or not worth the work."""
        if self.closed_with is not None:
            return None
        return self._frames.compress(message)

    def write(self, frame: bytes) -> bool:
        """Send a frame; return whether to `drain()` before more. Raises: ClientDisconnected."""
        if self.closed_with is not None:
            raise self._send_failure()
        self._unbroken += _cost_of(frame)
        try:
            return self._stream.write_soon(frame) or self._unbroken > _MAX_UNBROKEN
        except ClientDisconnected:
            self._end()
            raise self._send_failure() from None

    async def drain(self) -> None:
        """Wait until the peer has taken most of the sent bytes. Raises: ClientDisconnected.

        If the peer takes all bytes immediately, this would never wait. So from time to time it
        lets other tasks have their turn.
        """
        if self._unbroken > _MAX_UNBROKEN:
            self._unbroken = 0
            await asyncio.sleep(0)
        try:
            await self._stream.drain()
        except ClientDisconnected:
            self._end()
            raise self._send_failure() from None

    def begin_pushing(self) -> None:
        """Start a block in which the endpoint only sends, unless it receives there."""
        if not self._pushers:
            self._is_receiving = self._waiter is not None
        self._pushers += 1

    def end_pushing(self) -> None:
        """End such a block."""
        self._pushers -= 1

    @property
    def only_pushes(self) -> bool:
        """Whether the endpoint only sends, so that it does not notice a close."""
        return self._pushers > 0 and not self._is_receiving

    @property
    def is_shielded(self) -> bool:
        """Whether the endpoint is inside `request.shield()`."""
        return self._stream.is_shielded

    def disconnected(self) -> ClientDisconnected:
        """Return the error that the endpoint gets after the end."""
        code, reason = self.closed_with or (LOST, "")
        return ClientDisconnected(f"the WebSocket was closed: {code} {reason}".rstrip())

    def _send_failure(self) -> ClientDisconnected:
        self.has_failed_to_send |= self._is_endpoint()
        return self.disconnected()

    def _is_endpoint(self) -> bool:
        """Whether this is the endpoint's task.

        If another task gets the error, such as that of `forward`, the endpoint may wait for an
        event that never happens. So `tick` must still cancel it.
        """
        return asyncio.current_task() is self.task

    # --- the end

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame, and drop all later messages."""
        if self.closed_with is not None:
            return
        self._frames.close(code, reason)
        self.closed_with = (code, reason)
        self.is_closing = True
        self._arrived.clear()
        self._arrived_size = 0
        self._answer()
        self._wake()
        self._take(_MAX_ARRIVED)  # up to the peer's close

    def _end(self) -> None:
        """Record that nothing more will arrive."""
        if self.closed_with in (None, (LOST, "")):  # frames of a later turn may contain a close
            self.closed_with = self._frames.closed_with or (LOST, "")
        if not self.gone.done():
            self.gone.set_result(None)
        self._wake()

    async def finish(self) -> None:
        """Wait for the end, or until the peer's close is overdue; then close the connection.

        Afterwards all bytes are sent, or the peer has disconnected.
        """
        try:
            await self.gone
        finally:
            if self._drainer is not None:
                self._drainer.cancel()
                await asyncio.wait((self._drainer,))
            self._stream.hand_over(None)
            if self._share is not None:
                self._share.release()
                self._share = None
        with suppress(ClientDisconnected):
            await self._stream.close(has_more=self._frames.has_failed)

    # --- once a second

    def tick(self, now: float) -> None:
        """Send a ping if it is due; end the connection if a pong or the peer's close is overdue."""
        if self.gone.done():
            return
        if self._waiter is None:
            self._reads_ahead = True
            self._take(_MAX_ARRIVED)
            self._note_held(0)
        if self.is_closing:
            if self._heartbeat.is_close_overdue(now):
                self._drop()
        elif self._is_paused:
            self._check_paused(now)
        elif self._has_arrived:
            self._has_arrived = False
            self._heartbeat.reset(now)
        elif self._heartbeat.is_ping_overdue(now):
            # After a pause of this process the pong may be unread: uvloop runs timers first.
            if not self._stream.has_input():
                self._drop()
        elif self._heartbeat.is_ping_due(now):
            self._frames.ping()
            self._answer()

    def _check_paused(self, now: float) -> None:
        """Check a peer whose bytes are not read, because the endpoint receives nothing.

        Its pong or its end may be behind the unread bytes. So ask the kernel whether the peer has
        ended, and whether it takes a ping.
        """
        left, self._left = self._left, (len(self._arrived), self._frames.unread)
        if self._left != left or self._drainer is not None:
            self._heartbeat.postpone(now)
        elif self._stream.has_ended():
            self._end()
        elif self._heartbeat.is_silent(now):
            self._heartbeat.postpone(now)
            self._stream.probe(PING)

    def _drop(self) -> None:
        """Abort the connection, which ends all waits for it."""
        self._stream.abort()
        self._end()


def _cost_of(message: Message) -> int:
    return 1 + (_size_of(message) >> 10)


def _size_of(message: Message) -> int:
    """Return the bytes of a message, those of a text in UTF-8."""
    if isinstance(message, str) and not message.isascii():
        return len(message.encode())
    return len(message)
