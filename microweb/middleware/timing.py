"""Server timing: the durations of a request's parts, for the developer tools of a browser.

W3C Server Timing (https://www.w3.org/TR/server-timing/). It tells the client how long each part
takes, and so, perhaps, which work was done. Use it in development, or if clients may know that.

Order: outside all middleware whose time should count. Scripts of other origins can read it only if
the response has `Timing-Allow-Origin` too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..http.headers import check_name, check_value
from ..request import Handler, Request
from ..response import Response


class ServerTiming:
    """Middleware that sends `Server-Timing`: the durations that `timing` measured, and `total`.

    The total ends when there is a response. Sending it and making a stream's pieces don't count.
    """

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        begun = time.perf_counter()
        timings = request.state.server_timing = Timings()
        response = await call_next(request)
        # Add a line: a mounted application or the endpoint may have set one already.
        response.headers.add("Server-Timing", timings.encode(time.perf_counter() - begun))
        return response


class Timings:
    """The durations measured in one request: name -> seconds, summed for a repeated name."""

    __slots__ = ("_descriptions", "_seconds")

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._descriptions: dict[str, str] = {}

    def add(self, name: str, seconds: float, description: str = "") -> None:
        """Add to the time of `name`. Raises: ValueError for an invalid name or description."""
        self._seconds[check_name(name)] = self._seconds.get(name, 0.0) + seconds
        if description:
            self._descriptions[name] = check_value(description)

    def encode(self, total_s: float) -> str:
        """Return the field's value, with durations in milliseconds."""
        entries = [
            f"{name};dur={spent * 1000:.3f}{self._description_of(name)}"
            for name, spent in self._seconds.items()
        ]
        return ", ".join([*entries, f"total;dur={total_s * 1000:.3f}"])

    def _description_of(self, name: str) -> str:
        description = self._descriptions.get(name)
        if description is None:
            return ""
        escaped = description.replace("\\", "\\\\").replace('"', '\\"')
        return f';desc="{escaped}"'


@contextmanager
def timing(request: Request, name: str, description: str = "") -> Iterator[None]:
    """Measure a block as `name`, a token. The times of blocks with the same name are summed.

    Works in plain `def` endpoints too. Without `ServerTiming` nothing is measured.

        with timing(request, "db"):
            rows = await fetch()
    """
    timings = getattr(request.state, "server_timing", None)
    if timings is None:
        yield
        return
    begun = time.perf_counter()
    try:
        yield
    finally:
        timings.add(name, time.perf_counter() - begun, description)
