"""What stands behind channels: it gives messages their ids and order, and keeps the last ones.

A `Broker` has a `Link` for each event loop, which hands what it hears to a `Receiver`, in one order
for each channel and each message once. The broker of one process is in `microweb.channels.memory`,
that of several in `microweb.channels.redis`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .message import Entry


class Receiver(Protocol):
    """The channels of a loop, as far as a link speaks to them: on their loop, never waiting."""

    def begin(self, name: str, entries: Sequence[Entry]) -> None:
        """Take the last entries of a channel, the oldest first; what is published later follows.

        Of more than `history` messages the oldest is only a place to continue from.
        """

    def receive(self, name: str, entry: Entry) -> None:
        """Take the next entry of a channel."""

    def miss(self, name: str) -> None:
        """Hear that entries are lost between the last and the next."""

    def end(self, name: str) -> None:
        """Hear that the channel is closed."""

    def is_full(self, name: str) -> bool:
        """Whether a subscriber with a full queue still has turns of the loop to take from it.

        A link that receives many entries at once lets these turns pass before the next entry.
        """


class Link(Protocol):
    """A broker on one event loop."""

    async def start(self) -> None:
        """Begin, for good or until `aclose()`."""

    async def aclose(self) -> None:
        """Give back all tasks and connections; nothing is received any more."""

    async def publish(self, name: str, payload: bytes) -> str:
        """Publish, and return the id. Raises: BrokerUnavailable."""

    async def open(self, name: str) -> None:
        """Receive a channel: `begin()` has been called once this returns. May be called again.

        Raises: BrokerUnavailable.
        """

    async def close(self, name: str) -> None:
        """Receive it no longer; from the first moment on, even where that is cancelled."""

    async def end(self, name: str) -> None:
        """Have all receivers hear `end(name)`. Raises: BrokerUnavailable."""


class Broker(Protocol):
    """Where messages of all channels go, and where subscribers get them from."""

    @property
    def is_local(self) -> bool:
        """Whether all subscribers are here, so that a publisher can wait for them."""

    def connect(self, receiver: Receiver, history: int) -> Link:
        """Return a link for the running loop, which keeps `history` messages of each channel."""
