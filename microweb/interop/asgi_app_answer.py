"""A `Response` as ASGI messages: its head, its content, its trailers.

A response writes bytes of HTTP to a `ResponseStream`, here too, so all rules for its framing apply.
Its section takes no chunks (see `ScopeSection`), so the bytes after the head are the content. The
head has no Date, because the other server adds one. Equal heads are parsed once.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from contextlib import suppress

from ..errors import ClientDisconnected
from ..http.bytestream import Descriptor, LongLived, UpgradedStream
from ..http.response_head import HeadCache
from .asgi_app_peer import ScopePeer
from .asgi_app_wire import Wire
from .asgi_types import Message

RawFields = list[tuple[bytes, bytes]]
Head = tuple[int, RawFields]

_MAX_HEADS = 256
_MAX_HEAD_BYTES = 512  # of a head that is kept

# HTTP/2 and later have no such fields. RFC 9113 section 8.2.2
_OF_CONNECTION = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"upgrade"))


class DatelessHeads(HeadCache):
    """Heads without a Date, so that they stay the same."""

    def refresh(self) -> None:
        """Do nothing, because no head has a date."""


class _Heads(dict[bytes, Head]):
    """The bytes of a head, without the empty line -> its status and its fields."""

    def __missing__(self, data: bytes) -> Head:
        start, *lines = data.split(b"\r\n")
        fields = []
        for line in lines:
            name, _, value = line.partition(b": ")
            fields.append((name.lower(), value))
        head = int(start[9:12]), fields
        if len(data) <= _MAX_HEAD_BYTES:
            if len(self) >= _MAX_HEADS:
                self.clear()
            self[data] = head
        return head


_HEADS = _Heads()


def parse_head(data: bytes) -> tuple[int, RawFields, bytes]:
    """Return (status, fields with names in lower case, content) of the first bytes of an answer."""
    head, _, content = data.partition(b"\r\n\r\n")
    status, fields = _HEADS[head]
    return status, fields.copy(), content  # middleware around the App may add to the list


class Outbox:
    """The messages of one answer that wait to be sent, in order.

    The task that drains sends them. If none drains before the end of the event loop's turn, a task
    of this object does.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._queue: deque[Message] = deque()
        self._lock = asyncio.Lock()
        self._is_due = False
        self._flushing: asyncio.Task[None] | None = None
        self._error: Exception | None = None  # of the server, in the task `_flushing`

    @property
    def is_stuck(self) -> bool:
        """Whether the server has not yet taken a message."""
        return self._lock.locked()

    @property
    def has_failed(self) -> bool:
        """Whether nothing more can be sent."""
        return self._error is not None or self.wire.is_gone()

    def check(self) -> None:
        """Raise the error of an earlier message; ClientDisconnected if the client has left."""
        if self._error is not None:
            raise self._error
        if self.wire.is_gone():
            raise self.wire.left("the client left before the answer was sent")

    def put(self, message: Message) -> None:
        """Add a message, and send it at the end of this turn."""
        self._queue.append(message)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._send_due)

    def _send_due(self) -> None:
        self._is_due = False
        if self._queue and self._flushing is None and not self._lock.locked():
            loop = asyncio.get_running_loop()
            self._flushing = loop.create_task(self._flush(), name="asgi send")

    async def _flush(self) -> None:
        try:
            await self.drain()
        except Exception as error:  # the next `check` raises it in the task of the answer
            self._error = error
            self.wire.on_left()
        finally:
            self._flushing = None

    async def drain(self) -> None:
        """Send all messages. Raises: ClientDisconnected; all errors of the server."""
        async with self._lock:
            if self._error is not None:
                raise self._error
            while self._queue:
                await self.wire.send(self._queue.popleft())

    async def close(self) -> None:
        """Drop the messages that were not sent, and end the task that sends."""
        self._queue.clear()
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.wait((self._flushing,))


class MessageStream:
    """The `ResponseStream` of one answer. `prefix` begins the types of its messages."""

    def __init__(self, wire: Wire, peer: ScopePeer, *, prefix: str, is_later: bool) -> None:
        self.outbox = Outbox(wire)
        self.has_begun = False
        self.has_trailers = False  # to be set before the head
        self._peer = peer
        self._watch = peer.watch
        self._prefix = prefix
        self._is_later = is_later  # HTTP/2 or later
        self._has_ended = False

    async def send_whole(self, answer: bytes) -> None:
        """Send a whole answer."""
        status, fields, content = parse_head(answer)
        self.has_begun = self._peer.has_begun = True
        await self.outbox.wire.send(self._start(status, fields))
        await self.outbox.wire.send({"type": f"{self._prefix}.body", "body": content})

    def _start(self, status: int, fields: RawFields) -> Message:
        if self._is_later:
            fields = [field for field in fields if field[0] not in _OF_CONNECTION]
        if status == 304:  # some servers expect the content that the length tells
            fields = [field for field in fields if field[0] != b"content-length"]
        message: Message = {"type": f"{self._prefix}.start", "status": status, "headers": fields}
        if self.has_trailers:
            message["trailers"] = True
        return message

    async def finish(self, trailers: RawFields) -> None:
        """Send everything that is queued, and the end of the answer."""
        if not self._has_ended:
            self.outbox.put({"type": f"{self._prefix}.body", "body": b"", "more_body": False})
        if self.has_trailers:
            message = {"type": "http.response.trailers", "headers": trailers}
            self.outbox.put({**message, "more_trailers": False})
        await self.outbox.drain()

    # --- the methods of `ResponseStream`

    def write(self, data: bytes | memoryview) -> bool:
        """Queue `data`; return whether to `drain()` before more. Raises: ClientDisconnected."""
        self.outbox.check()
        data = bytes(data)
        if not self.has_begun:
            self.has_begun = self._peer.has_begun = True
            status, fields, data = parse_head(data)
            self.begin(status, fields)
        if data:
            self.outbox.put({"type": f"{self._prefix}.body", "body": data, "more_body": True})
        return True

    def write_early(self, data: bytes) -> bool:
        """Queue `data` unless the client has left."""
        with suppress(ClientDisconnected):
            self.write(data)
        return True

    def begin(self, status: int, fields: RawFields) -> None:
        """Queue the first message of an answer."""
        self.outbox.put(self._start(status, fields))

    async def drain(self) -> None:
        """Wait until the server has taken the bytes. Raises: ClientDisconnected."""
        await self.outbox.drain()

    async def send_file(self, file: Descriptor, offset: int, count: int) -> int:
        """Return 0: the kernel can't send the file, because the socket is another server's."""
        return 0

    async def send_path(self, path: str | os.PathLike[str]) -> bool:
        """Let the server send a whole file as the content; return whether it can."""
        type = f"{self._prefix}.pathsend"
        if type not in self._peer.extensions:
            return False
        self._has_ended = True
        self.outbox.put({"type": type, "path": os.path.abspath(path)})
        return True

    def hold(self, size: int) -> None:
        """Do nothing: the other server's buffer is not ours to count."""

    def probe(self, data: bytes) -> None:
        """Send `data` to test whether the peer still reads; if it has taken nothing, cut it off."""
        if self.outbox.is_stuck:
            self.outbox.wire.cut()
        elif not self.outbox.has_failed:
            self.write(data)

    def set_long_lived(self, long_lived: LongLived | None) -> None:
        """Call its `tick()` once a second, and its `stop()` when the server stops."""
        self._watch.set_long_lived(long_lived)

    def interrupt(self) -> None:
        """Cancel the answer's task, unless it is shielded or already ending."""
        self._watch.interrupt()

    @property
    def is_shielded(self) -> bool:
        """Whether the endpoint is inside `request.shield()`."""
        return self._watch.is_shielded

    def upgrade(self) -> UpgradedStream:
        """Return the connection for another protocol: only a WebSocket has one."""
        raise NotImplementedError
