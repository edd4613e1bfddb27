"""Exchange: the resources of one request until its answer is out.

Middleware and answers leave them on a request: the source of its session, the limits to its time,
the answers that hold files or generators. A request without any of them has no Exchange.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..errors import ConfigurationError
from ..sessions.session import Session
from .interfaces import Held, SessionSource, TimeLimit


class Exchange:
    """The things that middleware and answers keep for one request."""

    __slots__ = ("_limits", "_session_source", "held")

    def __init__(self) -> None:
        self._limits: list[TimeLimit] = []
        self._session_source: SessionSource | None = None
        self.held: list[Held] = []  # the answers that still hold something

    def hold(self, answer: Held) -> None:
        """Have an answer to this request closed if another one is sent: for answers."""
        self.held.append(answer)

    def release(self, answer: Held) -> None:
        """Forget an answer that was sent, or closed."""
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
        """Take the session from `source`: for middleware.

        Raises: ConfigurationError if it comes from another already.
        """
        if self._session_source is not None:
            raise ConfigurationError(
                "the session of this request has a source already: keep the outer one"
            )
        self._session_source = source

    def add_limit(self, limit: TimeLimit) -> None:
        """Have a limit paused while a stream's first piece is waited for: for middleware."""
        self._limits.append(limit)

    def begin_stream(self) -> Callable[[], None] | None:
        """Close the session and pause time limits while a stream's first piece is made.

        The answer is decided, as for the pieces behind that. Return a function that ends this, or
        None if there is neither: for answers.
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
