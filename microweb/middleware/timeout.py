"""A time limit for making an answer: 503 where it passes.

RFC 9110 section 15.6.4 (503 Service Unavailable).

Order: inside whatever should see the 503 (CORS, the log's request id), outside what takes time.
"""

from __future__ import annotations

import asyncio
import math

from ..errors import ConfigurationError, ServiceUnavailable
from ..handlers import Handler
from ..request import Request
from ..response import Response


class Timeout:
    """Middleware that cancels what has no answer after `seconds`, and answers 503.

    The time runs from here until there is a response, the reading of the request's body included.
    Sending it is not counted, nor the pieces of a stream: a client that doesn't read them is the
    server's business (`write_timeout_s`).

    An `async def` is cancelled at the await it stands at. Nothing can end a thread: a plain `def`
    runs on, and keeps its place among the `threads` until it is done.

    Raises: ConfigurationError for a time that is not above 0.
    """

    def __init__(self, seconds: float) -> None:
        if not 0 < seconds < math.inf:
            raise ConfigurationError(f"Timeout: expected seconds above 0, got {seconds!r}")
        self._seconds = seconds

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        try:
            async with asyncio.timeout(self._seconds):
                return await call_next(request)
        except TimeoutError as error:  # ours: one of the endpoint's is answered further in
            raise ServiceUnavailable(f"no answer within {self._seconds:g} s") from error
