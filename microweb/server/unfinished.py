"""The work that a stop of the server waits for, in words: for the console and the log."""

from __future__ import annotations

from collections.abc import Iterable

from ..logs import Log
from ..request import name_in_log
from .connection import Connection

_MAX_NAMED = 3  # requests that the line about a stop names

_log = Log("microweb.server")


def work_under_way(connections: Iterable[Connection], tasks: int) -> str:
    """Return a text about the requests of `connections` and the background tasks, or "".

    An example is `2 requests (GET /a, GET /b)`.
    """
    requests = [name for each in connections if (name := _name_of_request(each))]
    parts = []
    if requests:
        named = ", ".join(requests[:_MAX_NAMED]) + (", ..." if requests[_MAX_NAMED:] else "")
        parts.append(f"{len(requests)} request{'s'[: len(requests) > 1]} ({named})")
    if tasks:
        parts.append(f"{tasks} background task{'s'[: tasks > 1]}")
    return " and ".join(parts)


def log_unfinished(connections: Iterable[Connection], grace_s: float) -> None:
    """Log the requests that did not end within `grace_s`."""
    for connection in connections:
        if (name := _name_of_request(connection)) is not None:
            _log.warning("%s did not end within grace_s=%g: cut", name, grace_s)


def _name_of_request(connection: Connection) -> str | None:
    """Return the request under way and its route for the log, None if no request is under way."""
    request = connection.network.request
    if request is None:
        return None
    route = request.route
    path = "none" if route is None else f"{request.prefix}{route.path}"
    return f"{name_in_log(request)} (route {path})"
