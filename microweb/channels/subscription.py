"""One subscriber of a channel: a bounded queue of messages, which all subscribers share.

A fast subscriber has no queue: a message is the result of the future that it awaits. A slow one
gets a queue of at most `queue` messages. When the queue is full, publishers wait some turns of the
event loop, in which the subscriber can take from it. If it takes nothing, its policy decides.
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
    """The methods of a topic that its subscriptions call."""

    def position_of(self, subscription: Subscription) -> str | None:
        """Return the id of the last message that was offered to a subscription."""

    def history(self) -> tuple[Message, ...]:
        """Return all kept messages."""

    def since(self, id: str) -> tuple[tuple[Message, ...], int]:
        """Return the kept messages, and the index of the first one after `id`.

        If `id` is not known, return a gap before the kept messages, and 0.
        """

    def enter(self, subscription: Subscription, *, is_new: bool) -> None:
        """Start to offer messages to a subscription.

        A new one, which continues from no message, also gets the message that is on its way.
        """

    def report_full(self, subscription: Subscription) -> None:
        """Give a subscription with a full queue some turns to take from it."""

    def report_taken(self, subscription: Subscription) -> None:
        """Stop counting turns, because the subscription took from its full queue."""

    def report_room(self) -> None:
        """Wake a publisher: a subscription that it waits for has room, or has ended."""

    async def leave(self, subscription: Subscription) -> None:
        """Stop offering messages to a subscription."""


class Subscription:
    """The messages of a channel inside `async with`; `channel.subscribe()` makes it.

    An asynchronous iterator for one task. It ends when the channel is closed, or when its policy
    ends it; only then `is_full` is true. A cancelled wait loses no message.
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
            raise ConfigurationError(
                f"subscribe: expected a policy from {', '.join(POLICIES)}, got {policy!r:.80}"
            )
        if queue < 1:
            raise ConfigurationError(f"subscribe: expected a queue of at least 1, got {queue!r}")
        self._open = open_source
        self._last_event_id = last_event_id
        self._replays = replay
        self._limit = queue
        self._policy = policy
        self._source: Source | None = None
        self._replay: tuple[Message, ...] = ()  # shared by subscriptions that missed the same
        self._replayed = 0
        self._gap: Gap | None = None  # between the replay and the queue
        self._queue: deque[Message] | None = None
        self._waiter: asyncio.Future[Message | None] | None = None
        self._has_ended = False
        self.is_full = False  # the policy has ended it
        self.missed = 0  # messages, without those of gaps of an unknown size

    async def __aenter__(self) -> Self:
        if self._source is not None:
            raise RuntimeError(
                "expected a new subscription, got one that was used before: subscribe again"
            )
        source = self._source = await self._open()
        if self._last_event_id is not None:
            self._replay, self._replayed = source.since(self._last_event_id)
        elif self._replays:
            self._replay = source.history()
        source.enter(self, is_new=self._last_event_id is None and not self._replay)
        return self

    async def __aexit__(self, *reason: object) -> None:
        assert self._source is not None
        self.end()
        self._queue, self._gap, self._replay = None, None, ()
        await self._source.leave(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        """Return the next message, or a `Gap` if messages are missing."""
        if self._source is None:
            raise RuntimeError(
                "expected a subscription inside its block: write `async with channel.subscribe()`"
            )
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
        """Return the id of the last message that was offered to it, or None outside the block."""
        return None if self._source is None else self._source.position_of(self)

    def encode_start(self) -> bytes:
        """Return the start of an event stream: for a new client, an id to continue from.

        A browser stores the id and dispatches no event, so that a client that disconnects before
        the first message misses none. With a replay the start is empty, because the client must
        reconnect without an id to get the whole replay. WHATWG HTML section 9.2.6
        """
        if self._last_event_id is not None or self._replay or self.position is None:
            return b""
        return f"id: {self.position}\n\n".encode()

    # --- for the topic

    @property
    def wants_waiting(self) -> bool:
        """Whether publishers wait for this subscription."""
        return self._policy == "wait"

    @property
    def room(self) -> int:
        """Return the number of messages that fit before the policy applies."""
        return self._limit if self._queue is None else max(0, self._limit - len(self._queue))

    def offer(self, message: Message) -> bool:
        """Add a message; return False if the policy has ended the subscription instead."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(message)  # a waiting subscriber has no older message
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
            self._source.report_full(self)

    def end(self, *, is_full: bool = False) -> None:
        """End the subscription after its queued messages."""
        if not self._has_ended:
            self._has_ended, self.is_full = True, is_full
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)
            if self.wants_waiting and self._source is not None:
                self._source.report_room()

    # --- the queue

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
        """Return the next message of the replay, the gap or the queue; None if all are empty."""
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
            self._queue = None  # an empty deque takes 760 bytes
        if self._source is not None:
            if self.wants_waiting:
                self._source.report_room()
            elif was_full:
                self._source.report_taken(self)
        return message

    async def _wait(self) -> Message | None:
        if self._waiter is not None:
            raise RuntimeError(
                "another task waits for this subscription's next message: subscribe once a task"
            )
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
    """Add `lost` to the gap at the end of the queue, or append a new gap."""
    last = queue[-1]
    if isinstance(last, Gap):
        queue[-1] = widened(last, lost)
    else:
        queue.append(widened(None, lost))
