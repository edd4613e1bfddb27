"""One subscriber of a channel: a bounded queue of messages that it shares with all others.

A subscriber that keeps up has no queue: a message goes to it by the future that it waits for. One
that doesn't gets a queue, of at most `queue` messages. When that is full, publishers wait some
turns of the loop, in which it can take from the queue. If it took nothing, its policy decides.
Publishers wait longer only for subscribers with the policy "wait".
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Literal, Protocol, Self, get_args

from ..errors import ConfigurationError
from .message import Gap, Message, widened

Policy = Literal["disconnect", "drop_newest", "drop_oldest", "wait"]
POLICIES: tuple[str, ...] = get_args(Policy)


class Source(Protocol):
    """The channel that a subscription is of, as far as that speaks of it."""

    @property
    def position(self) -> str | None:
        """The id of the last message that was published."""

    def history(self) -> tuple[Message, ...]:
        """Return all messages that are kept."""

    def since(self, id: str) -> tuple[tuple[Message, ...], int]:
        """Return messages, and from which of them on are those that came after `id`.

        Where nobody knows what came after it, a gap stands before all that are kept.
        """

    def enter(self, subscription: Subscription) -> None:
        """Begin to offer messages."""

    def fill(self, subscription: Subscription) -> None:
        """Give a subscription whose queue has become full some turns to take from it."""

    def drain(self, subscription: Subscription) -> None:
        """Hear that a subscription whose queue was full has taken from it."""

    def relieve(self) -> None:
        """Hear that a subscriber for whom publishers wait has room, or is gone."""

    async def leave(self, subscription: Subscription) -> None:
        """Offer it no more messages."""


class Subscription:
    """The messages of a channel, from `async with` on: made by `channel.subscribe()`.

    An asynchronous iterator for one task. It ends where the channel is closed, and where the policy
    "disconnect" has ended it: `is_full` tells which. Cancelling a wait loses no message.
    """

    __slots__ = (
        "_gap",
        "_has_ended",
        "_last_event_id",
        "_limit",
        "_open",
        "_policy",
        "_queue",
        "_replay",
        "_replayed",
        "_replays",
        "_source",
        "_waiter",
        "is_full",
        "missed",
    )  # fmt: skip

    def __init__(
        self,
        open_source: Callable[[], Coroutine[Any, Any, Source]],
        last_event_id: str | None,
        replay: bool,
        queue: int,
        policy: Policy,
    ) -> None:
        if policy not in POLICIES:
            raise ConfigurationError(f"subscribe: expected a policy of {POLICIES}, got {policy!r}")
        if queue < 1:
            raise ConfigurationError(f"subscribe: expected a queue of at least 1, got {queue!r}")
        self._open = open_source
        self._last_event_id = last_event_id
        self._replays = replay
        self._limit = queue
        self._policy = policy
        self._source: Source | None = None
        self._replay: tuple[Message, ...] = ()  # shared by all that have missed the same
        self._replayed = 0
        self._gap: Gap | None = None  # it stands between the replay and the queue
        self._queue: deque[Message] | None = None
        self._waiter: asyncio.Future[Message | None] | None = None
        self._has_ended = False
        self.is_full = False  # the policy "disconnect" has ended it
        self.missed = 0  # as far as anybody knows how many

    async def __aenter__(self) -> Self:
        if self._source is not None:
            raise RuntimeError("a subscription is for one `async with`: subscribe again")
        source = self._source = await self._open()
        if self._last_event_id is not None:
            self._replay, self._replayed = source.since(self._last_event_id)
        elif self._replays:
            self._replay = source.history()
        source.enter(self)
        return self

    async def __aexit__(self, *reason: object) -> None:
        assert self._source is not None
        self.end()
        self._queue, self._gap, self._replay = None, None, ()
        await self._source.leave(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        """Return the next message, or a `Gap` where some are missing."""
        if self._source is None:
            raise RuntimeError("a subscription begins with `async with`")
        message = self._take()
        if message is None and not self._has_ended:
            message = await self._wait()
        if message is None:
            raise StopAsyncIteration
        if isinstance(message, Gap):
            self.missed += message.missed or 0
        return message

    @property
    def position(self) -> str | None:
        """The id to continue from for one who has seen all that was published until now."""
        return None if self._source is None else self._source.position

    def encode_start(self) -> bytes:
        """Return how an event stream begins: for one who comes first, with its place.

        A browser takes the id and dispatches nothing, so that one which is cut off before the first
        message misses none. With a replay it has to come again without an id, for all of it. WHATWG
        HTML section 9.2.6
        """
        if self._last_event_id is not None or self._replay or self.position is None:
            return b""
        return f"id: {self.position}\n\n".encode()

    # --- for the channel

    @property
    def wants_waiting(self) -> bool:
        """Whether publishers wait for it."""
        return self._policy == "wait"

    @property
    def room(self) -> int:
        """How many messages it can take without its policy."""
        return self._limit if self._queue is None else max(0, self._limit - len(self._queue))

    def offer(self, message: Message) -> bool:
        """Hand over a message; return False where that has ended it."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(message)  # it waits, so nothing stands before this
        elif self._queue is None:
            self._queue = deque((message,))
            self._check_full(self._queue)
        elif isinstance(message, Gap):
            append_gap(self._queue, message)
        elif len(self._queue) < self._limit:
            self._queue.append(message)
            self._check_full(self._queue)
        else:
            return self._overflow(self._queue, message)
        return True

    def _check_full(self, queue: deque[Message]) -> None:
        if len(queue) >= self._limit and not self.wants_waiting and self._source is not None:
            self._source.fill(self)

    def end(self, *, is_full: bool = False) -> None:
        """End it after what it has."""
        if not self._has_ended:
            self._has_ended, self.is_full = True, is_full
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)
            if self.wants_waiting and self._source is not None:
                self._source.relieve()

    # --- inside

    def _overflow(self, queue: deque[Message], message: Message) -> bool:
        if self._policy == "drop_oldest":
            while len(queue) >= self._limit:
                self._gap = widened(self._gap, queue.popleft())
            queue.append(message)
        elif self._policy == "drop_newest":
            append_gap(queue, message)
        else:
            self.end(is_full=True)
            return False
        return True

    def _take(self) -> Message | None:
        """Return what is here, if anything."""
        if self._replayed < len(self._replay):
            self._replayed += 1
            return self._replay[self._replayed - 1]
        self._replay, self._replayed = (), 0
        if self._gap is not None:
            gap, self._gap = self._gap, None
            return gap
        if not self._queue:
            return None
        was_full = len(self._queue) >= self._limit
        message = self._queue.popleft()
        if not self._queue:
            self._queue = None  # an empty one takes 760 bytes
        if self._source is not None:
            if self.wants_waiting:
                self._source.relieve()
            elif was_full:
                self._source.drain(self)
        return message

    async def _wait(self) -> Message | None:
        if self._waiter is not None:
            raise RuntimeError("another task waits for this subscription's next message")
        waiter: asyncio.Future[Message | None] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._put_back(waiter.result())
            raise
        finally:
            self._waiter = None

    def _put_back(self, message: Message | None) -> None:
        if message is not None:
            self._queue = self._queue or deque()
            self._queue.appendleft(message)


def append_gap(queue: deque[Message], lost: Message) -> None:
    """Have a gap stand last for `lost`, one with the gap that stands there."""
    last = queue[-1]
    if isinstance(last, Gap):
        queue[-1] = widened(last, lost)
    else:
        queue.append(widened(None, lost))
