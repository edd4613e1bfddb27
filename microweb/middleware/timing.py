"""Where the time of a request went, for the developer tools of a browser.

W3C Server Timing (https://www.w3.org/TR/server-timing/). It tells the client how long things take,
and so, perhaps, what was done: use it for development, or where clients may know.

Order: outside all whose time should count. Scripts of other origins see it where the answer has
`Timing-Allow-Origin` too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..http.headers import check_name, check_value
from ..request import Handler, Request
from ..response import Response


class ServerTiming:
    """Middleware that sends `Server-Timing`: what `timing` measured, and `total`.

    The total ends when there is a response: neither sending it nor the pieces of a stream count.
    """

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        begun = time.perf_counter()
        timings = request.state.server_timing = Timings()
        response = await call_next(request)
        # A line beside those of an application mounted in this one, or of the endpoint's own.
        response.headers.add("Server-Timing", timings.encode(time.perf_counter() - begun))
        return response


class Timings:
    """What was measured of one request: name -> seconds, summed where a name comes again."""

    __slots__ = ("_descriptions", "_seconds")

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._descriptions: dict[str, str] = {}

    def add(self, name: str, seconds: float, description: str = "") -> None:
        """Add to the time of `name`. Raises: ValueError for no token, or what no field holds."""
        self._seconds[check_name(name)] = self._seconds.get(name, 0.0) + seconds
        if description:
            self._descriptions[name] = check_value(description)

    def encode(self, total_s: float) -> str:
        """Return the field's value: durations are in milliseconds."""
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
    """Measure a block as `name`, a token; the times of several blocks of one name are summed.

    Works in plain `def` endpoints too. Where no `ServerTiming` is used, nothing is measured.

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
