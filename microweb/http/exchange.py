"""Exchange: the resources of one request until its answer is sent.

Middleware and answers add them to a request: the source of its session, its time limits, and the
answers that hold files or generators. A request without any of them has no Exchange.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..errors import ConfigurationError
from ..sessions.session import Session
from .interfaces import Held, SessionSource, TimeLimit


class Exchange:
    """The resources that middleware and answers keep for one request."""

    __slots__ = ("_limits", "_session_source", "held", "is_logged", "span_id", "trace_id")

    def __init__(self) -> None:
        self._limits: list[TimeLimit] = []
        self._session_source: SessionSource | None = None
        self.is_logged = True  # in the access log
        # Set by a middleware that traces: 32 and 16 hexadecimal digits, for the records of logs.
        self.trace_id: str | None = None
        self.span_id: str | None = None
        self.held: list[Held] = []  # the answers that still hold resources

    def hold(self, answer: Held) -> None:
        """Discard `answer` if another one is sent for this request. Called by answers."""
        self.held.append(answer)

    def release(self, answer: Held) -> None:
        """Forget an answer that was sent or discarded."""
        self.held.remove(answer)

    @property
    def session(self) -> Session:
        """The session, from its source. Raises: as `Request.session`."""
        if self._session_source is None:
            raise ConfigurationError(
                "request.session: add `app.use(Sessions(os.environ['SECRET_KEY']))`, with Sessions "
                "from microweb.middleware.sessions, before the middleware that uses it"
            )
        return self._session_source.open()

    def use_session(self, source: SessionSource) -> None:
        """Set the source of the session. Called by middleware.

        Raises: ConfigurationError if there is a source already.
        """
        if self._session_source is not None:
            raise ConfigurationError(
                "expected one Sessions middleware for a request, got two: keep the outer one"
            )
        self._session_source = source

    def add_limit(self, limit: TimeLimit) -> None:
        """Pause `limit` while a stream makes its first piece. Called by middleware."""
        self._limits.append(limit)

    def begin_stream(self) -> Callable[[], None] | None:
        """Close the session and pause the time limits while a stream makes its first piece.

        The answer is decided already, so its pieces can't change the session. Return a function
        that ends this, or None if there is no session and no limit. Called by answers.
        """
        source, limits = self._session_source, self._limits
        if source is None and not limits:
            return None
        if source is not None:
            source.close()
        for limit in limits:
            limit.pause()
        return partial(_end_begin, source, limits)


def _end_begin(source: SessionSource | None, limits: list[TimeLimit]) -> None:
    for limit in limits:
        limit.resume()
    if source is not None:
        source.reopen()
