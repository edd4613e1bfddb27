"""The body of a request under another ASGI server, with our limits and deadlines."""

from __future__ import annotations

import asyncio

from ..errors import ContentTooLarge
from ..http.headers import Headers
from ..http.request_head import HeaderSection
from ..server.arriving import ArrivingBody, over
from .asgi_app_wire import Wire


class MessageBody(ArrivingBody[Wire]):
    """The `BodySource` of one request: its `http.request` messages.

    ASGI has no trailers of requests. The size of a message is the other server's choice.
    """

    trailers: Headers | None = None

    def __init__(self, wire: Wire, section: HeaderSection) -> None:
        super().__init__(wire)
        self._section = section
        self._lock = asyncio.Lock()
        self._size = 0
        self._is_complete = False

    def end(self) -> None:
        """Detach from the server, because the request is answered. End a waiting read."""
        source = self._detach()
        if source is not None and self._lock.locked():
            source.end_reading(over())

    def take_whole(self, limit: int | None) -> bytes | None:
        """Return None: only `read` knows whether the body has arrived."""
        return None

    @property
    def waits_for_peer(self) -> bool:
        """Whether `read` may have to wait before the end of the body."""
        return self.error is None and self._source is not None and not self._is_complete

    async def _read(self, limit: int | None) -> bytes:
        wire = self._source
        if wire is None:
            raise over()
        if limit is None:
            limit = wire.state.config.max_body
        if self._section.content_length > limit:
            raise ContentTooLarge(f"the body is larger than {limit} bytes")
        async with self._lock:  # two tasks may read one body
            return await self._receive(wire, limit)

    async def _receive(self, wire: Wire, limit: int) -> bytes:
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
