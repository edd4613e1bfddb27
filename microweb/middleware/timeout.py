"""A time limit for making an answer: 503 where it passes.

RFC 9110 section 15.6.4 (503 Service Unavailable).

Order: inside whatever should see the 503 (CORS, the log's request id), outside what takes time.
"""

from __future__ import annotations

import asyncio
import math

from ..errors import ConfigurationError, ServiceUnavailable
from ..remedies import names_keywords
from ..request import Handler, Request
from ..response import Response


class Timeout:
    """Middleware that cancels what has no answer after `seconds`, and answers 503.

    The time runs from here until there is a response, the reading of the request's body included.
    Sending it is not counted, nor the pieces of a stream, the first included: a client that doesn't
    read them is the server's business (`write_timeout_s`).

    An `async def` is cancelled at the await it stands at. Nothing can end a thread: a plain `def`
    runs on, and keeps its place among the `threads` until it is done.

    Raises: ConfigurationError for a time that is not above 0.
    """

    @names_keywords
    def __init__(self, seconds: float) -> None:
        if not 0 < seconds < math.inf:
            raise ConfigurationError(f"Timeout: expected seconds above 0, got {seconds!r}")
        self._seconds = seconds

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        limit = _Limit(self._seconds)
        request.exchange.add_limit(limit)
        try:
            return await call_next(request)
        except asyncio.CancelledError as error:
            if limit.end():
                raise ServiceUnavailable(f"no answer within {self._seconds:g} s") from error
            raise
        finally:
            limit.end()


class _Limit:
    """The time of one answer; when it has passed, the task that makes the answer is cancelled.

    `asyncio.timeout` can't be paused, and cancels a task that is ending already: it would cut the
    cleanup of an endpoint whose client has left.
    """

    __slots__ = ("_cancelling", "_has_passed", "_left_s", "_loop", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._loop = asyncio.get_running_loop()
        self._left_s = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._has_passed = False
        self.resume()

    def pause(self) -> None:
        if self._timer is not None:
            self._left_s = self._timer.when() - self._loop.time()
            self._timer.cancel()
            self._timer = None

    def resume(self) -> None:
        if not self._has_passed:
            self._timer = self._loop.call_later(self._left_s, self._pass)

    def _pass(self) -> None:
        self._timer = None
        if self._task.cancelling() <= self._cancelling:
            self._has_passed = True
            self._task.cancel()

    def end(self) -> bool:
        """Count no more; return whether a cancellation of the task was this limit's alone."""
        self.pause()
        if not self._has_passed:
            return False
        self._has_passed = False
        return self._task.uncancel() <= self._cancelling
