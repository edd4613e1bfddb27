"""A time limit for making a response: 503 after it.

RFC 9110 section 15.6.4 (503 Service Unavailable).

Order: inside all middleware that should see the 503 (CORS, RequestID), outside all that takes time.
"""

from __future__ import annotations

import asyncio
import math

from ..endpoints.described import Described
from ..errors import ConfigurationError, ServiceUnavailable
from ..remedies import names_keywords
from ..request import Handler, Request
from ..response import Response


class Timeout:
    """Middleware that cancels a request without a response after `seconds`, and answers 503.

    The time runs until there is a response, and includes reading the request's body. It does not
    include sending the response or making the pieces of a stream. The server's `write_timeout_s`
    handles a client that doesn't read them.

    An `async def` is cancelled at its current await. A thread can't be cancelled: a plain `def`
    runs on, and keeps its place among the `threads` until it returns.

    Raises: ConfigurationError if `seconds` is not a finite number above 0.
    """

    @names_keywords
    def __init__(self, seconds: float) -> None:
        if not 0 < seconds < math.inf:
            raise ConfigurationError(
                f"Timeout: expected a finite number of seconds above 0, got {seconds!r}"
            )
        self._seconds = seconds

    def described(self) -> Described:
        """Return the part of an OpenAPI document that this middleware adds."""
        return Described(responses={503: "There was no answer in time"})

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
    """The time limit of one response. When it has passed, it cancels the task of the handler.

    `asyncio.timeout` can't be paused. It also cancels a task that is being cancelled already, which
    would interrupt the cleanup of an endpoint whose client has disconnected.
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
        """Stop the time; return whether this limit, and nothing else, cancelled the task."""
        self.pause()
        if not self._has_passed:
            return False
        self._has_passed = False
        return self._task.uncancel() <= self._cancelling
