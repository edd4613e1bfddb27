"""The body of a request under another ASGI server, with our limits and deadlines."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ..errors import (
    BodyConsumed,
    ContentTooLarge,
    MicrowebError,
    ServiceUnavailable,
)
from ..http.headers import Headers
from ..http.request_head import HeaderSection
from ..server.body import MAX_CREDIT_S
from ..server.buffered import FREE_BYTES, Share
from .asgi_app_wire import Wire

_RETRY_AFTER_S = "5"


class MessageBody:
    """The `BodySource` of one request: its `http.request` messages.

    ASGI has no trailers of requests. The size of a message is the other server's choice.
    """

    trailers: Headers | None = None

    def __init__(self, wire: Wire, section: HeaderSection) -> None:
        self._wire: Wire | None = wire  # None after the exchange
        self._section = section
        self._lock = asyncio.Lock()
        self._ahead: bytearray | None = None  # bytes that `read_ahead` has read
        self._share: Share | None = None  # of the buffer memory, until the body is complete
        self._fresh = 0  # bytes that arrived since `_share` was updated
        self._size = 0
        self._credit_s = 0.0  # earned by bytes that arrived, minus the waiting time
        self._is_complete = False
        self.error: MicrowebError | None = None

    def end(self) -> None:
        """Detach from the server, because the request is answered. End a waiting read."""
        wire, self._wire = self._wire, None
        self._ahead = None
        self._release()
        if wire is not None and self._lock.locked():
            wire.end_reading(_over())

    def take_whole(self, limit: int | None) -> bytes | None:
        """Return None: only `read` knows whether the body has arrived."""
        return None

    @property
    def waits_for_peer(self) -> bool:
        """Whether `read` may have to wait before the end of the body."""
        return self.error is None and self._wire is not None and not self._is_complete

    async def read_ahead(self, limit: int | None) -> None:
        """Read and keep up to the server's `max_body` bytes. The next `read` returns them."""
        with suppress(MicrowebError):
            most = self._open().state.config.max_body
            while len(self._ahead or b"") < most:
                piece = await self._next_piece(limit)
                if not piece:
                    return
                if self._ahead is None:
                    self._ahead = bytearray()
                self._ahead += piece
                self.keep(len(self._ahead))

    async def read(self, limit: int | None) -> bytes:
        """Return the next piece, `b""` at the end.

        Raises: ContentTooLarge, BodyTimeout, ClientDisconnected; later calls raise the same error
        again. BodyConsumed once the request is answered.
        """
        if self._ahead:
            ahead, self._ahead = bytes(self._ahead), None
            self._release()
            return ahead
        return await self._next_piece(limit)

    async def _next_piece(self, limit: int | None) -> bytes:
        if self.error is not None:
            raise self.error
        try:
            wire = self._open()
            if limit is None:
                limit = wire.state.config.max_body
            if self._section.content_length > limit:
                raise ContentTooLarge(f"the body is larger than {limit} bytes")
            async with self._lock:  # two tasks may read one body
                return await self._read(wire, limit)
        except BodyConsumed:
            raise
        except MicrowebError as error:
            self.error = error
            self._release()
            raise

    async def _read(self, wire: Wire, limit: int) -> bytes:
        while not self._is_complete:
            begun = wire.state.clock()
            message = await wire.receive(self._patience_s(wire))
            self._credit_s -= wire.state.clock() - begun
            if message["type"] != "http.request":
                raise wire.left("the client left inside the body")
            self._is_complete = not message.get("more_body", False)
            piece = bytes(message.get("body", b""))
            self._size += len(piece)
            if self._size > limit:
                raise ContentTooLarge(f"the body is larger than {limit} bytes")
            if piece:
                self._earn(len(piece), wire)
                return piece
        self._release()
        return b""

    def _open(self) -> Wire:
        if self._wire is None:
            raise _over()
        return self._wire

    def _patience_s(self, wire: Wire) -> float:
        """Return how long to wait for the next byte: less if the body has come too slowly."""
        return wire.state.config.body_timeout_s + min(self._credit_s, 0.0)

    def _earn(self, size: int, wire: Wire) -> None:
        self._fresh += size
        rate = wire.state.config.min_body_rate
        earned = size / rate if rate else MAX_CREDIT_S
        self._credit_s = min(self._credit_s + earned, MAX_CREDIT_S)

    def keep(self, size: int) -> None:
        """Count `size` bytes of this body as buffered while the rest arrives.

        If the buffer memory is full, the body may be dropped. The next `read` then raises
        ServiceUnavailable.
        """
        share = self._share
        if share is None:
            if size <= FREE_BYTES or self._wire is None or self.error is not None:
                return
            share = self._share = self._wire.share(self._lose)
        share.hold(size, self._fresh)
        self._fresh = 0

    def _lose(self) -> None:
        self.error = ServiceUnavailable(
            "too much is buffered for this client", headers={"Retry-After": _RETRY_AFTER_S}
        )
        self._share = self._ahead = None
        if self._wire is not None:
            self._wire.end_reading(self.error)

    def _release(self) -> None:
        share, self._share = self._share, None
        if share is not None:
            share.release()


def _over() -> BodyConsumed:
    return BodyConsumed(
        "the request is answered, so its body can no longer be read: read the body before the "
        "answer, and then you can read it again"
    )
