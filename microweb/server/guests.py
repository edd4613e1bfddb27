"""Requests under way when an App runs under another ASGI server.

If an application runs under another ASGI server, no socket is ours. A `Server` then has no
connections but guests: it checks them once a second, and waits for them when it stops.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from ..request import Request


class Guest(Protocol):
    """One request of another server."""

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that runs the exchange."""

    @property
    def request(self) -> Request | None:
        """The request under way, None before and after it."""

    @property
    def is_ending(self) -> bool:
        """Whether the exchange got a cancellation, and may be cleaning up."""

    def check(self, now: float) -> None:
        """Check the client and the deadlines; called once a second."""

    def stop(self) -> None:
        """Tell a long-lived answer that the server stops."""


class Guests(set[Guest]):
    """The requests under way that another server reads and answers."""

    def check(self, now: float) -> None:
        """Check the clients and the deadlines; called once a second."""
        for guest in tuple(self):
            guest.check(now)

    def stop(self) -> None:
        """Tell long-lived answers that the server stops."""
        for guest in tuple(self):
            guest.stop()

    def tasks(self) -> set[asyncio.Task[None] | None]:
        """Return the tasks that run the exchanges."""
        return {guest.task for guest in self}

    def ending_tasks(self) -> set[asyncio.Task[None] | None]:
        """Return the tasks of exchanges that may be cleaning up."""
        return {guest.task for guest in self if guest.is_ending}
