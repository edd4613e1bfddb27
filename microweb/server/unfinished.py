"""The work that a stop of the server waits for: the wait, and words for the console and the log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from ..http.request_log import name_in_log
from ..logs import Log
from ..request import Request
from .connection import Connection
from .guests import Guests

_MAX_NAMED = 3  # requests that the line about a stop names

_log = Log("microweb.server")


async def unfinished(tasks: set[asyncio.Task[None]], seconds: float) -> set[asyncio.Task[None]]:
    """Return the tasks that have not ended after `seconds`; return earlier if all have ended.

    `asyncio.wait` holds the event loop to add a callback to each task: 13 ms for 8,000. Here one
    task at a time has one.
    """
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + max(seconds, 0.0)
    for task in tasks:
        if not task.done():
            await asyncio.wait((task,), timeout=max(ends_at - loop.time(), 0.0))
            if loop.time() >= ends_at:
                break
    return {task for task in tasks if not task.done()}


def work_under_way(connections: Iterable[Connection], guests: Guests, tasks: int) -> str:
    """Return a text about the requests and the background tasks under way, or "".

    An example is `2 requests (GET /a, GET /b)`.
    """
    names = list(map(name_and_route, _requests(connections, guests)))
    parts = []
    if names:
        named = ", ".join(names[:_MAX_NAMED]) + (", ..." if names[_MAX_NAMED:] else "")
        parts.append(f"{len(names)} request{'s'[: len(names) > 1]} ({named})")
    if tasks:
        parts.append(f"{tasks} background task{'s'[: tasks > 1]}")
    return " and ".join(parts)


def log_unfinished(connections: Iterable[Connection], guests: Guests, grace_s: float) -> None:
    """Log the requests that did not end within `grace_s`."""
    for request in _requests(connections, guests):
        _log.warning("%s did not end within grace_s=%g: cut", name_and_route(request), grace_s)


def _requests(connections: Iterable[Connection], guests: Guests) -> list[Request]:
    """Return the requests under way."""
    every = [*(each.network.request for each in connections), *(each.request for each in guests)]
    return [request for request in every if request is not None]


def name_and_route(request: Request) -> str:
    """Return the request and its route, for the log."""
    route = request.route
    path = "none" if route is None else f"{request.prefix}{route.path}"
    return f"{name_in_log(request)} (route {path})"
