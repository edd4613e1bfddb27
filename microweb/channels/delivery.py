"""A message on its way to the subscriptions of a topic: a slice of them in each turn of the loop.

A subscriber that is woken encodes and sends the message in the loop's next turn. For 10,000 event
streams these turns took 131 ms, in which the loop did nothing else. So one turn wakes no more
subscribers than fit in 5 ms. There is one message on its way at a time, which keeps the order.
The end of a channel goes the same way, behind the message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from time import monotonic

from .message import Message
from .subscription import Subscription

# Subscriptions in a slice. One event stream takes 15 to 30 us, so a turn takes 1 to 4 ms. A slice
# is smaller if a turn took longer, also because of other tasks, but a busy loop must not starve it.
_FIRST, _LEAST, _MOST = 64, 32, 1024
# To end an event stream takes 55 us, and its connection often closes in the same turn. With slices
# of 32, such a turn took 7 to 9 ms for 8,000 streams.
_FIRST_ENDING, _LEAST_ENDING = 16, 8
_SHORT_S, _LONG_S = 0.0008, 0.0024  # turns after which slices grow and shrink


class Delivery:
    """The messages of one topic to its subscriptions; `drop` removes one that its policy ended."""

    __slots__ = (
        "_before",
        "_begun",
        "_drop",
        "_due",
        "_ended",
        "_ending",
        "_message",
        "_next",
        "_size",
    )

    _next: asyncio.Handle

    def __init__(self, drop: Callable[[Subscription], None]) -> None:
        self._drop = drop
        self._message: Message | None = None  # on its way
        self._due: set[Subscription] = set()  # they have not got the message yet
        self._ending: set[Subscription] = set()  # of a closed channel: they have not ended yet
        self._ended: asyncio.Event | None = None  # while a message or an end is on its way
        self._before: str | None = None  # the id of the message before
        self._begun = 0.0  # the time of the last slice
        self._size = _FIRST

    @property
    def is_under_way(self) -> bool:
        """Whether some subscriptions have not got the last message or their end yet."""
        return self._ended is not None

    def is_at_once(self, subscriptions: Collection[Subscription]) -> bool:
        """Whether so many subscriptions are one slice."""
        return len(subscriptions) <= self._size

    def begin(
        self, message: Message, subscriptions: Collection[Subscription], before: str | None
    ) -> None:
        """Offer a message to the first slice; the next turns of the loop do the rest.

        If another message is on its way, which a broker can avoid, that one is offered to the rest
        at once.
        """
        self.finish()
        if self.is_at_once(subscriptions):
            self._offer(message, tuple(subscriptions))
            return
        self._message, self._due, self._before = message, set(subscriptions), before
        self._ended = asyncio.Event()
        self._begin_slice()

    def end(self, subscriptions: Iterable[Subscription]) -> None:
        """End subscriptions, after the message that is on its way: a slice of them in each turn."""
        self._ending.update(subscriptions)
        if self._ended is not None:
            return
        self._size = _FIRST_ENDING
        self._ended = asyncio.Event()
        self._begin_slice()

    def finish(self) -> None:
        """Offer the message that is on its way to all that are left, and end those that end."""
        if self._ended is not None:
            self._next.cancel()
            self._go_through(len(self._due))
            self._go_through(len(self._ending))
            self._end(self._ended)

    async def wait(self) -> None:
        """Wait until all subscriptions have got the message or the end that is on its way."""
        if self._ended is not None:
            await self._ended.wait()

    # --- the subscriptions

    def enter(self, subscription: Subscription) -> None:
        """Offer a message that is on its way to a new subscription, too."""
        if self._message is not None:
            self._due.add(subscription)

    def leave(self, subscription: Subscription) -> None:
        """Offer nothing to a subscription any more."""
        self._due.discard(subscription)
        self._ending.discard(subscription)

    def position_of(self, subscription: Subscription, latest: str | None) -> str | None:
        """Return the id to continue from: not `latest` if its message is still to come."""
        return self._before if subscription in self._due else latest

    # --- the slices

    def _begin_slice(self) -> None:
        self._go_through(self._size)
        self._begun = monotonic()
        if self._due or self._ending:
            self._next = asyncio.get_running_loop().call_soon(self._go_on)
        elif self._ended is not None:
            self._end(self._ended)

    def _go_on(self) -> None:
        passed = monotonic() - self._begun
        if passed > _LONG_S:
            least = _LEAST_ENDING if self._message is None else _LEAST
            self._size = max(self._size // 2, least)
        elif passed < _SHORT_S:
            self._size = min(self._size * 2, _MOST)
        self._begin_slice()

    def _go_through(self, size: int) -> None:
        """Offer the message to `size` subscriptions; if all have it, end so many."""
        subscriptions = self._ending if self._message is None else self._due
        some = [subscriptions.pop() for _ in range(min(size, len(subscriptions)))]
        if self._message is None:
            for subscription in some:
                subscription.end()
            return
        self._offer(self._message, some)
        if not self._due:
            self._message = None
            if self._ending:
                self._size = min(self._size, _FIRST_ENDING)

    def _offer(self, message: Message, subscriptions: Iterable[Subscription]) -> None:
        for subscription in subscriptions:
            if not subscription.offer(message):
                self._drop(subscription)

    def _end(self, ended: asyncio.Event) -> None:
        self._ended, self._size = None, max(self._size, _LEAST)
        ended.set()
