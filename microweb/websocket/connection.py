"""A WebSocket behind its handshake: messages both ways, pings, and its end. RFC 6455 sections 5-7

Strategy: what comes is handed over as it comes, not read, so that a message costs one wake-up of
who waits for it and no reader's task. It is looked at in order, and one message at a time, when
somebody waits for it: so what an endpoint answers to a message goes out before the answer to the
close behind it. Where nobody has waited when the connection's second is over, all is looked at that
comes, so that pings are answered and a close is seen; until somebody waits again. With more than is
asked for the connection is paused, and the peer has to wait. No timer runs: see `tick`.

Nothing here suspends while there is something to take, or room for what is sent. So each
conversation counts what it has done, and others have their turn in between.
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


# Received and not asked for; with more, the connection is paused and the peer has to wait.
_MAX_ARRIVED = 64
_MAX_ARRIVED_SIZE = 64 * 1024
_MAX_UNBROKEN = 64  # messages, or KiB of them, without a suspension: others have their turn then


class Conversation:
    """One connection's messages. `ping_interval_s` of 0 sends no pings.

    `task` is the endpoint's: only an end that is raised there makes the endpoint go on.
    """

    __slots__ = (
        "_arrived",
        "_arrived_size",
        "_drainer",
        "_frames",
        "_heartbeat",
        "_is_ahead",
        "_is_heard",
        "_is_paused",
        "_is_receiving",
        "_left",
        "_loop",
        "_pushers",
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
        self.task: asyncio.Task[object] | None = task  # while it runs: its error would hold this
        self._loop = asyncio.get_running_loop()
        self.closed_with: tuple[int, str] | None = None  # once either side has closed
        self.is_closing = False  # we have closed, and wait for the peer's answer
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self.has_noticed = False  # the endpoint's task, that nothing more will come
        self.has_failed_to_send = False  # the endpoint's task
        self._pushers = 0  # blocks under way in which the endpoint may only send
        self._is_receiving = False  # whether it called `receive` since the first of them began
        self._arrived: deque[Message] = deque()
        self._arrived_size = 0
        self._waiter: asyncio.Future[None] | None = None  # of who waits for a message
        self._is_ahead = False  # looks at what comes though nobody waits
        self._is_paused = False  # more has come than is asked for
        self._unbroken = 0  # messages without a suspension, and KiB of them
        self._turn: asyncio.Handle | None = None  # in which the rest of what came is looked at
        self._drainer: asyncio.Task[None] | None = None  # while a peer does not take its pongs
        self._left = (0, 0)  # messages and bytes that were not asked for at the last look
        self._is_heard = True  # since the last look
        self._heartbeat = Heartbeat(ping_interval_s, ping_timeout_s)
        self._share: Share | None = None  # of the memory for clients, once it takes much

    # --- receiving

    async def receive(self, at_end: Callable[[], Exception]) -> Message:
        """Return the next message; raise `at_end()` where either side has closed or is lost.

        Cancelled, it has taken nothing. Raises: LocalProtocolError where another task waits here.
        """
        self._is_receiving = True
        arrived = self._arrived
        if not arrived:
            self._is_ahead = False
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
            raise LocalProtocolError("another task waits for a message of this socket already")
        self._resume()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._unbroken = 0

    def data_received(self, data: bytes) -> None:
        """Take what the peer sent."""
        self._is_heard = True
        frames = self._frames
        frames.feed(data)
        if self._waiter is not None:
            self._take(1)
        elif self._is_ahead or self.is_closing:
            self._take(_MAX_ARRIVED)
        self._note_held(len(data))

    def _note_held(self, came: int) -> None:
        """Count the bytes that are kept if they are many; with many unread, let the peer wait."""
        frames = self._frames
        if frames.held + self._arrived_size > _MAX_ARRIVED_SIZE or self._share is not None:
            if frames.unread > _MAX_ARRIVED_SIZE:
                self._pause()
            self._count(came)

    def _count(self, came: int) -> None:
        """Count the bytes of messages that are not whole, or that nobody waits for."""
        held = self._frames.held + (self._arrived_size if self._waiter is None else 0)
        if self._share is None:
            self._share = self._stream.share(self._lose)
        self._share.hold(held, came)

    def _lose(self) -> None:
        """Give up the connection: too much is buffered, and its client holds most of it."""
        self._share = None
        self._arrived.clear()
        self._arrived_size = 0
        self._frames.fail(TRY_AGAIN_LATER, "too much is buffered for this client")
        self._answer()
        self._end()

    def end_received(self) -> None:
        """Take note that the peer has ended, or that the connection is lost."""
        if not self.gone.done():
            self._take(_MAX_ARRIVED)  # a close may be among what came before
        self._end()

    def _take(self, count: int) -> None:
        """Take messages out of what has come, until there are `count`; perhaps not in this turn."""
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
        """Go on where `_take` has left others their turn."""
        self._turn = None
        if self._waiter is not None:
            self._take(1)
        elif self._is_ahead or self.is_closing:
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
        """Send what the frames have to say; a peer that does not take it is not read from."""
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
        with suppress(ClientDisconnected):  # which `end_received` tells
            await self._stream.drain()
        self._drainer = None
        self._resume()

    # --- sending

    def compress(self, message: Message) -> bytes | None:
        """Return a message as a compressed frame, where that was agreed and is worth it."""
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
        """Wait until the peer has taken most of what was sent. Raises: ClientDisconnected.

        A client that takes all at once has nobody wait here: others would never have their turn.
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
        """Begin a block in which the endpoint only sends, unless it receives there."""
        if not self._pushers:
            self._is_receiving = self._waiter is not None
        self._pushers += 1

    def end_pushing(self) -> None:
        """End such a block."""
        self._pushers -= 1

    @property
    def only_pushes(self) -> bool:
        """Whether the endpoint only sends, so that nothing tells it of a close."""
        return self._pushers > 0 and not self._is_receiving

    @property
    def is_shielded(self) -> bool:
        """Whether the endpoint is inside `request.shield()`."""
        return self._stream.is_shielded

    def disconnected(self) -> ClientDisconnected:
        """Return what tells the endpoint that it is over."""
        code, reason = self.closed_with or (LOST, "")
        return ClientDisconnected(f"the WebSocket was closed: {code} {reason}".rstrip())

    def _send_failure(self) -> ClientDisconnected:
        self.has_failed_to_send |= self._is_endpoint()
        return self.disconnected()

    def _is_endpoint(self) -> bool:
        """Whether the endpoint's task runs.

        Another one, such as that of `forward`, may end without it: the endpoint is still watched
        then, because it may wait for something that never comes.
        """
        return asyncio.current_task() is self.task

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
        self._answer()
        self._wake()
        self._take(_MAX_ARRIVED)  # up to the peer's close

    def _end(self) -> None:
        """Take note that nothing more will come."""
        if self.closed_with in (None, (LOST, "")):  # a close may be among what is looked at later
            self.closed_with = self._frames.closed_with or (LOST, "")
        if not self.gone.done():
            self.gone.set_result(None)
        self._wake()

    async def finish(self) -> None:
        """Wait for the end, which a close that the peer does not answer has as well; then hang up.

        What was sent is out then, or the peer has left.
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
        """See to pings and to a peer that is silent, or does not answer a close."""
        if self.gone.done():
            return
        if self._waiter is None:
            self._is_ahead = True
            self._take(_MAX_ARRIVED)
            self._note_held(0)
        if self.is_closing:
            if self._heartbeat.is_close_overdue(now):
                self._drop()
        elif self._is_paused:
            self._look_at_paused(now)
        elif self._is_heard:
            self._is_heard = False
            self._heartbeat.hear(now)
        elif self._heartbeat.is_ping_overdue(now):
            # After a pause of ours the pong may wait, unread: uvloop calls timers first.
            if not self._stream.has_input():
                self._drop()
        elif self._heartbeat.is_ping_due(now):
            self._frames.ping()
            self._answer()

    def _look_at_paused(self, now: float) -> None:
        """See to a peer that is not read from, while the endpoint asks for nothing.

        What it said may be in what nobody reads, its end as well: so the kernel is asked, about the
        end, and whether a ping is taken.
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
        """Cut the connection, which ends what waits on it."""
        self._stream.abort()
        self._end()


def _cost_of(message: Message) -> int:
    return 1 + (_size_of(message) >> 10)


def _size_of(message: Message) -> int:
    """Return the bytes of a message, those of a text in UTF-8."""
    if isinstance(message, str) and not message.isascii():
        return len(message.encode())
    return len(message)
