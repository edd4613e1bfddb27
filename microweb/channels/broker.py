"""The broker behind channels: it gives messages their ids and order, and keeps the last ones.

A `Broker` has a `Link` for each event loop. The link passes entries to a `Receiver`, in one order
for each channel, and each entry once. The broker of one process is in `microweb.channels.memory`,
that of several in `microweb.channels.redis`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .message import Entry


class Receiver(Protocol):
    """The callbacks of a link. It calls them on its event loop, and they never wait."""

    def begin(self, name: str, entries: Sequence[Entry]) -> None:
        """Take the last entries of a channel, the oldest first; `receive` takes the next ones.

        If there are more than `history` entries, the oldest is only an id to continue from.
        """

    def receive(self, name: str, entry: Entry) -> None:
        """Take the next entry of a channel."""

    def miss(self, name: str) -> None:
        """Handle a loss of entries between the last one and the next one."""

    def end(self, name: str) -> None:
        """Handle the end of the channel."""

    def is_full(self, name: str) -> bool:
        """Whether subscribers have turns of the loop to come before the next entry.

        In these turns they get the last entry, or take from a full queue. A link that receives many
        entries together waits for these turns before the next entry.
        """


class Link(Protocol):
    """A broker's side on one event loop."""

    async def start(self) -> None:
        """Start the link, which then runs until `aclose()`."""

    async def aclose(self) -> None:
        """End all tasks and connections, and pass on no more entries."""

    async def publish(self, name: str, payload: bytes) -> str:
        """Publish a payload and return its id. Raises: BrokerUnavailable."""

    async def open(self, name: str) -> None:
        """Start to receive a channel; return after `begin()` was called. May be called again.

        Raises: BrokerUnavailable.
        """

    async def close(self, name: str) -> None:
        """Stop receiving a channel, immediately, even if this call is cancelled."""

    async def end(self, name: str) -> None:
        """Call `end(name)` of all receivers. Raises: BrokerUnavailable."""


class Broker(Protocol):
    """A carrier of the messages of all channels, from publishers to subscribers."""

    @property
    def is_local(self) -> bool:
        """Whether all subscribers are in this process, so that a publisher can wait for them."""

    def connect(self, receiver: Receiver, history: int) -> Link:
        """Return a link for the running loop, which keeps `history` messages of each channel."""
