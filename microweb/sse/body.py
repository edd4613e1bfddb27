"""The body that is server-sent events, for as long as its client reads them.

It is a stream whose pieces are events. What sets it apart is that it may have nothing to say for
hours: so a comment goes out where nothing else did (no timer runs for that, the connection looks
each second), it ends with its client whatever the route says of clients that leave, and it ends
when the server stops. It ends by cancelling what the next event is waited for with, so that it is
closed, its `finally` run, wherever it stands. WHATWG HTML section 9.2
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import AbstractAsyncContextManager
from typing import cast

from ..bodies.body import EncodeHead, Head, RequestInfo
from ..bodies.pieces import Pieces, Source
from ..bodies.stream import StreamBody
from ..errors import LocalProtocolError
from ..http.bytestream import ResponseStream
from ..http.framing import encode_chunk
from ..http.headers import MutableHeaders
from .event import HEARTBEAT, Default, encode

Events = AsyncIterable[object] | AbstractAsyncContextManager[AsyncIterable[object]]

MEDIA_TYPE = "text/event-stream"
FIELDS = MutableHeaders(
    {
        "Cache-Control": "no-cache",
        "X-Accel-Buffering": "no",  # nginx would hold events back
    }
)

# A page waits for the head alone, so the first event, or the fault in its place, has this long: a
# look into a database takes less.
_HEAD_WAIT_S = 0.05


class EventBody(StreamBody):
    """A body of server-sent events: see `Response.events`.

    Raises: TypeError for what is no async iterator and gives none; ValueError for a `heartbeat_s`
    that is not above 0.
    """

    __slots__ = ("_feed",)

    is_compressible = False  # a client looks at them as they come
    has_own_conditions = True

    def __init__(self, events: Events, heartbeat_s: float) -> None:
        if not hasattr(events, "__aenter__") and not hasattr(events, "__aiter__"):
            name = type(events).__name__
            raise TypeError(f"expected an async iterator of events, or a subscription, got {name}")
        if not 0 < heartbeat_s < math.inf:
            raise ValueError(f"expected heartbeat_s above 0, got {heartbeat_s!r}")
        self._feed = _Feed(heartbeat_s)
        # They become pieces once they are entered.
        super().__init__(cast(Source, events))

    async def prepare(self, request: RequestInfo, head: Head) -> None:
        self._feed.take_note(request)
        await super().prepare(request, head)

    def _as_pieces(self, value: Pieces) -> Pieces:
        self._open.append((None, None, value))
        return self._feed.pieces(cast(AsyncIterable[object], value))

    def _head_wait_s(self, headers: MutableHeaders) -> float | None:
        # A subscription that was entered has failed by now, if it does.
        return _HEAD_WAIT_S if self._leave is None else 0.0

    async def send(
        self,
        stream: ResponseStream,
        request: RequestInfo,
        head: Head,
        encode_head: EncodeHead,
    ) -> None:
        """Write the events. Raises: LocalProtocolError where a length is declared."""
        self._claim(request)
        self._feed.begin(stream)
        stream.set_long_lived(self._feed)
        try:
            if "content-length" in head.headers:
                await self.discard()
                raise LocalProtocolError("an event stream has no length: leave Content-Length out")
            await super().send(stream, request, head, encode_head)
        finally:
            stream.set_long_lived(None)


class _Feed:
    """The source of the events, and the `LongLived` answer of the connection."""

    __slots__ = (
        "_default",
        "_has_sent",
        "_heartbeat",
        "_heartbeat_s",
        "_is_stopping",
        "_is_waiting",
        "_quiet_since",
        "_stream",
    )

    _stream: ResponseStream

    def __init__(self, heartbeat_s: float) -> None:
        self._heartbeat_s = heartbeat_s
        self._heartbeat = b""
        self._default: Default = None
        self._is_stopping = False
        self._is_waiting = False  # for the next event
        self._has_sent = True  # since the connection last looked
        self._quiet_since = 0.0

    def take_note(self, request: RequestInfo) -> None:
        """Take note of the request that the events are for."""
        if request.match is not None:
            self._default = request.match.app.json_default
        is_chunked = request.section.minor_version > 0
        self._heartbeat = encode_chunk(HEARTBEAT) if is_chunked else HEARTBEAT

    def begin(self, stream: ResponseStream) -> None:
        """Take note of where the events go."""
        self._stream = stream

    async def pieces(self, events: AsyncIterable[object]) -> AsyncGenerator[bytes, None]:
        """Yield the events as they are sent."""
        if self._is_stopping:
            return
        default = self._default
        self._is_waiting = True
        try:
            if start := _start_of(events):
                yield start
            async for event in events:
                self._is_waiting = False
                self._has_sent = True
                yield encode(event, default)
                if self._is_stopping:
                    break
                self._is_waiting = True
        except asyncio.CancelledError:
            if not self._has_stopped():
                raise
        finally:
            self._is_waiting = False  # what closes the events is not interrupted

    # --- the connection's part

    def tick(self, now: float) -> None:
        if self._is_stopping:
            self.stop()  # it was shielded
        elif self._has_sent:
            self._has_sent = False
            self._quiet_since = now
        elif now - self._quiet_since >= self._heartbeat_s:
            self._quiet_since = now
            self._stream.probe(self._heartbeat)

    def stop(self) -> None:
        self._is_stopping = True
        if self._is_waiting:
            self._stream.interrupt()

    def _has_stopped(self) -> bool:
        """Whether a cancellation was that of `stop` alone; it is over then."""
        task = asyncio.current_task()
        return self._is_stopping and task is not None and task.uncancel() == 0


def _start_of(events: AsyncIterable[object]) -> bytes:
    """Return what goes before the first event: a place to continue from, where one is offered."""
    encode_start: Callable[[], bytes] | None = getattr(events, "encode_start", None)
    return b"" if encode_start is None else encode_start()
