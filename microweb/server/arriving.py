"""A request's body while it arrives: the bytes that are kept, and the speed of the client.

It serves the bodies of our own connections, and those that another ASGI server gives to an App.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from ..errors import BodyConsumed, MicrowebError, ServiceUnavailable
from .buffered import FREE_BYTES, Share
from .state import ServerState

MAX_CREDIT_S = 60.0  # a peer that was faster than the minimum rate earns at most this

_RETRY_AFTER_S = "5"


class Source(Protocol):
    """The connection, or the messages, that a body comes from."""

    state: ServerState

    def share(self, lose: Callable[[], None]) -> Share:
        """Return a share of the buffer memory for this client; `lose` frees it early."""

    def end_reading(self, error: MicrowebError) -> None:
        """Raise `error` in the task that waits for bytes."""


S = TypeVar("S", bound=Source)


class ArrivingBody(Generic[S]):
    """The part of a `BodySource` that does not depend on the source.

    A subclass has the method `_read`.
    """

    __slots__ = ("_ahead", "_credit_s", "_fresh", "_share", "_source", "error")

    def __init__(self, source: S) -> None:
        self._source: S | None = source  # None after the exchange
        self._ahead: bytearray | None = None  # bytes that `read_ahead` has read
        self._share: Share | None = None  # of the buffer memory, until the body is complete
        self._fresh = 0  # bytes that arrived since `_share` was updated
        self._credit_s = 0.0  # earned by bytes that arrived, minus the waiting time
        self.error: MicrowebError | None = None

    async def _read(self, limit: int | None) -> bytes:
        """Return the next piece, `b""` at the end. Raises: as `read`."""
        raise NotImplementedError

    def _detach(self) -> S | None:
        """Leave the source, because the request is answered; return it."""
        source, self._source = self._source, None
        self._ahead = None
        if self._share is not None:
            self._release()
        return source

    async def read_ahead(self, limit: int | None) -> None:
        """Read and keep up to the server's `max_body` bytes. The next `read` returns them.

        An error of the body is not raised here but by the next `read`.
        """
        source = self._source
        if source is None:
            return
        with suppress(MicrowebError):
            while len(self._ahead or b"") < source.state.config.max_body:
                piece = await self._next_piece(limit)
                if not piece:
                    return
                if self._ahead is None:
                    self._ahead = bytearray()
                self._ahead += piece
                self.keep(len(self._ahead))

    async def read(self, limit: int | None) -> bytes:
        """Return the next piece, `b""` at the end.

        Raises: ContentTooLarge, MalformedRequest, BodyTimeout, ClientDisconnected; later calls
        raise the same error again, and the connection closes after the answer. BodyConsumed once
        the request is answered.
        """
        if self._ahead:
            ahead, self._ahead = bytes(self._ahead), None
            self._release()  # the caller counts them with `keep` if it keeps them
            return ahead
        return await self._next_piece(limit)

    async def _next_piece(self, limit: int | None) -> bytes:
        if self.error is not None:
            raise self.error
        try:
            return await self._read(limit)
        except BodyConsumed:
            raise
        except MicrowebError as error:
            self.error = error
            self._release()
            raise

    # --- memory

    def keep(self, size: int) -> None:
        """Count `size` bytes of this body as buffered while the rest arrives.

        If the buffer memory is full, the body may be dropped. The next `read` then raises
        ServiceUnavailable.
        """
        share = self._share
        if share is None:
            if size <= FREE_BYTES or self._source is None or self.error is not None:
                return
            share = self._share = self._source.share(self._lose)
        share.hold(size, self._fresh)
        self._fresh = 0

    def _lose(self) -> None:
        """Drop the body: the buffer memory is full, and this client holds most of it."""
        self.error = ServiceUnavailable(
            "too much is buffered for this client", headers={"Retry-After": _RETRY_AFTER_S}
        )
        self._share = self._ahead = None
        if self._source is not None:
            self._source.end_reading(self.error)

    def _release(self) -> None:
        share, self._share = self._share, None
        if share is not None:
            share.release()

    # --- speed

    def _patience_s(self, source: S) -> float:
        """Return how long to wait for the next byte: less if the body has come too slowly."""
        return source.state.config.body_timeout_s + min(self._credit_s, 0.0)

    def _earn(self, size: int, source: S) -> None:
        """Add credit for `size` bytes. The credit for a fast start is at most a minute."""
        self._fresh += size
        rate = source.state.config.min_body_rate
        earned = size / rate if rate else MAX_CREDIT_S
        self._credit_s = min(self._credit_s + earned, MAX_CREDIT_S)


def over() -> BodyConsumed:
    """Return the error of a read after the answer."""
    return BodyConsumed(
        "the request is answered, so its body can no longer be read: read the body before the "
        "answer, and then you can read it again"
    )
