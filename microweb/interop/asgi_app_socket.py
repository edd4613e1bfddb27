"""A WebSocket under another ASGI server, between our frames and its messages.

Our `WebSocketConnection` reads and writes frames. So its limits, its order of messages and its
close are the same here. `SocketStream` answers the 101 by `websocket.accept`. `MessageFrames` turns
each frame of ours into a message, and each message of the other server into a frame of a client,
with a mask of zeros, which changes no byte. The other server pings and compresses.
RFC 6455 section 5; https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from ..errors import ClientDisconnected, LocalProtocolError
from ..http.bytestream import LongLived, Receiver, UpgradedStream
from ..http.headers import list_members
from ..server.buffered import Share
from ..websocket.frames import LOST
from .asgi_app_answer import MessageStream, RawFields
from .asgi_types import Message

_TEXT, _BINARY, _CLOSE = 1, 2, 8
_FIN = 0x80
_NO_CODE = 1005  # a close frame without a code

# The other server makes these fields of the 101.
_OF_SERVER = frozenset(
    (
        b"connection",
        b"content-length",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"upgrade",
    )
)


class SocketStream(MessageStream):
    """The `ResponseStream` of a 101 to a WebSocket."""

    def begin(self, status: int, fields: RawFields) -> None:
        """Queue `websocket.accept`."""
        chosen = [value.decode("latin-1") for name, value in fields if name == _PROTOCOL]
        self.outbox.put(
            {
                "type": "websocket.accept",
                "subprotocol": list_members(chosen[0])[0] if chosen else None,
                "headers": [field for field in fields if field[0] not in _OF_SERVER],
            }
        )

    async def finish(self, trailers: RawFields) -> None:
        """Send everything that is queued."""
        await self.outbox.drain()

    def upgrade(self) -> UpgradedStream:
        """Return the WebSocket as a stream of frames."""
        self._peer.looks = False
        return MessageFrames(self)


_PROTOCOL = b"sec-websocket-protocol"


class MessageFrames:
    """The `UpgradedStream` of an accepted WebSocket."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self._outbox = stream.outbox
        self._wire = stream.outbox.wire
        self._receiver: Receiver | None = None
        self._reading: asyncio.Task[None] | None = None
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._has_closed = False  # a close was sent, or arrived

    # --- frames to the client

    def write(self, data: bytes | memoryview) -> bool:
        """Queue the frames in `data`; return True: `drain()`. Raises: ClientDisconnected."""
        return self.write_soon(bytes(data))

    def write_soon(self, data: bytes) -> bool:
        """Queue the frames in `data`; return True: `drain()`. Raises: ClientDisconnected."""
        self._outbox.check()
        for opcode, payload in _frames_in(data):
            if (message := _message_of(opcode, payload)) is not None and not self._has_closed:
                self._has_closed = message["type"] == "websocket.close"
                self._outbox.put(message)
        return True

    async def drain(self) -> None:
        """Wait until the server has taken the messages. Raises: ClientDisconnected."""
        try:
            await self._outbox.drain()
        except ClientDisconnected:
            self._end()
            raise

    def probe(self, data: bytes) -> None:
        """Do nothing: the other server pings."""

    # --- frames of the client

    async def read(self) -> bytes:
        """Raise LocalProtocolError: there are messages, and no bytes."""
        raise LocalProtocolError(
            "expected microweb's own server for bytes of a WebSocket, got another ASGI server, "
            "which has messages and no bytes"
        )

    def hand_over(self, receiver: Receiver | None) -> None:
        """Deliver messages to `receiver`, as frames, until None replaces it."""
        self._receiver = receiver
        if receiver is not None and self._reading is None:
            loop = asyncio.get_running_loop()
            self._reading = loop.create_task(self._read(), name="asgi websocket")

    async def _read(self) -> None:
        try:
            while self._receiver is not None:
                await self._may_read.wait()
                self._deliver(await self._wire.receive())
                if self._wire.is_gone():
                    break
        finally:
            self._end()

    def _deliver(self, message: Message) -> None:
        receiver = self._receiver
        if receiver is None:
            return
        if message["type"] == "websocket.receive":
            text = message.get("text")
            if text is not None:
                receiver.data_received(_client_frame(_TEXT, text.encode("utf-8", "surrogatepass")))
            else:
                receiver.data_received(_client_frame(_BINARY, bytes(message.get("bytes") or b"")))
        elif message["type"] == "websocket.disconnect":
            code = message.get("code") or _NO_CODE
            self._has_closed = True
            if code != LOST:
                reason = message.get("reason") or ""
                payload = b"" if code == _NO_CODE else code.to_bytes(2) + reason.encode()
                receiver.data_received(_client_frame(_CLOSE, payload))

    def _end(self) -> None:
        receiver = self._receiver
        if receiver is not None:
            receiver.end_received()

    def pause_reading(self) -> None:
        """Leave the messages in the other server, so that the client has to wait."""
        self._may_read.clear()

    def resume_reading(self) -> None:
        """Continue after `pause_reading`."""
        self._may_read.set()

    def has_ended(self) -> bool:
        """Whether the client has left."""
        return self._wire.is_gone()

    def has_input(self) -> bool:
        """Return False: only the other server knows."""
        return False

    def share(self, lose: Callable[[], None]) -> Share:
        """Return a new share of the buffer memory for this client; `lose` frees it early."""
        return self._wire.share(lose)

    # --- lifetime

    def set_long_lived(self, long_lived: LongLived | None) -> None:
        """Call its `tick()` once a second, and its `stop()` when the server stops."""
        self._stream.set_long_lived(long_lived)

    @property
    def is_shielded(self) -> bool:
        """Whether the endpoint is inside `request.shield()`."""
        return self._stream.is_shielded

    async def close(self, *, has_more: bool) -> None:
        """Close after all messages are sent. Raises: ClientDisconnected."""
        try:
            await self._outbox.drain()
        finally:
            reading, self._reading = self._reading, None
            if reading is not None:
                reading.cancel()
                await asyncio.wait((reading,))

    def abort(self) -> None:
        """Cut the client off."""
        self._wire.cut()
        self._end()


def _frames_in(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (opcode, payload) of each frame of ours: whole, and without a mask."""
    position = 0
    while position < len(data):
        opcode, size = data[position] & 0x0F, data[position + 1]
        position += 2
        if size > 125:
            length_bytes = 2 if size == 126 else 8
            size = int.from_bytes(data[position : position + length_bytes])
            position += length_bytes
        yield opcode, data[position : position + size]
        position += size


def _message_of(opcode: int, payload: bytes) -> Message | None:
    if opcode == _TEXT:
        return {"type": "websocket.send", "text": payload.decode()}
    if opcode == _BINARY:
        return {"type": "websocket.send", "bytes": payload}
    if opcode == _CLOSE:
        code = int.from_bytes(payload[:2]) if payload else 1000
        return {"type": "websocket.close", "code": code, "reason": payload[2:].decode()}
    return None  # a ping or a pong


def _client_frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        start = bytes((_FIN | opcode, 0x80 | size))
    elif size < 65536:
        start = b"%c\xfe%b" % (_FIN | opcode, size.to_bytes(2))
    else:
        start = b"%c\xff%b" % (_FIN | opcode, size.to_bytes(8))
    return b"%b\0\0\0\0%b" % (start, payload)
