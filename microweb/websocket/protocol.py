"""The frames of one WebSocket, bytes to messages and back: RFC 6455 section 5, RFC 7692.

Strategy: `Frames` finds the frames in the received bytes, and gives one at a time to the sans-I/O
protocol of `websockets`, which handles control frames, fragments, compression and violations. So a
read that inflates to many messages makes them one by one, when `next_message` is called. Most
messages are one whole frame, not compressed: `Frames` decodes these, in 0.6 us in place of 5.
"""

from __future__ import annotations

import codecs

from ..errors import MissingExtra
from ..logs import Log
from .deflate import NAME, Deflate, agree
from .handshake import parse_extensions

try:
    from websockets.frames import CONT, TEXT, CloseCode, Frame
    from websockets.protocol import OPEN
    from websockets.server import ServerProtocol
    from websockets.typing import BytesLike
except ImportError as error:
    raise MissingExtra("a WebSocket", "websockets") from error

try:
    from websockets.speedups import apply_mask
except ImportError:  # it was installed without a compiler
    from websockets.utils import apply_mask

Message = str | bytes

_log = Log("microweb.websocket")

# FIN and the opcode of text or binary: a whole message.
_WHOLE_TEXT, _WHOLE_BINARY = 0x81, 0x82
_WHOLE = frozenset((_WHOLE_TEXT, _WHOLE_BINARY))
_FIN, _NOT_FIN, _TEXT, _RSV1 = 0x80, 0x7F, 0x01, 0x40
_CLOSE = 0x8
_OPCODES = frozenset((0x0, 0x1, 0x2, _CLOSE, 0x9, 0xA))

_MIN_COMPRESSED = 1024  # a message that fits in one packet gains nothing

# Compressed bytes to inflate before other tasks have their turn. The worst, Huffman tables without
# data, take 5 to 10 ms. It is a multiple of four, the length of a mask.
_MAX_PACKED = 32 * 1024

# Work on frames that are not whole messages, before other tasks have their turn: 0.1 ms. A read of
# 256 KiB can contain 43,000 such frames, and many clients may send them at the same time.
_MAX_WORK = 64
_JOIN_WORK = 1  # a fragment in the middle of a message: 1.5 us
_TAKE_WORK = 6  # a frame that the protocol handles: 10 us


class Frames:
    """Both directions of one connection. `max_message` is in bytes, after decompression.

    Call `feed`, then `next_message` until it returns None. `output` has the bytes to send.
    """

    __slots__ = (
        "_ahead",
        "_buffer",
        "_decoder",
        "_deflate",
        "_max_message",
        "_max_short",
        "_missing",
        "_packed",
        "_partial",
        "_parts",
        "_position",
        "_protocol",
        "_work",
        "has_more",
        "output",
    )

    def __init__(self, max_message: int) -> None:
        self._protocol = ServerProtocol(state=OPEN, max_size=None, logger=_log)
        self._deflate: Deflate | None = None
        self._packed = 0  # compressed bytes inflated since other tasks had their turn
        self._work = 0  # on frames of this buffer since other tasks had their turn
        self._max_message = max_message
        self._max_short = min(max_message, 125)  # 125: the longest length in the second byte
        self._buffer = b""  # received bytes; those from `_position` on are unread
        self._position = 0
        self._partial = bytearray()  # an incomplete frame
        self._missing = 0  # bytes of it
        self._ahead: _TextAhead | None = None  # checks it, if it is a text frame
        self._parts: bytearray | None = None  # of an incomplete message
        self._decoder: codecs.IncrementalDecoder | None = None  # of that message, if it is text
        self.output = b""  # bytes to send: pongs, a close frame
        self.has_more = False  # the last `next_message` has left unread frames for a later turn

    def negotiate(self, offers: list[str]) -> str | None:
        """Choose an extension that the client offers; return the field's value for the 101.

        Raises: BadRequest for malformed offers. RFC 7692 section 5
        """
        for name, parameters in parse_extensions(offers, NAME):
            agreed = agree(parameters, self._max_message) if name == NAME else None
            if agreed is not None:
                answer, self._deflate = agreed
                self._protocol.extensions = [self._deflate]
                return answer
        return None

    @property
    def unread(self) -> int:
        """Return the number of bytes that `next_message` has not read."""
        return len(self._buffer) - self._position

    @property
    def held(self) -> int:
        """Return the number of bytes kept: unread, or of an incomplete message."""
        parts = 0 if self._parts is None else len(self._parts)
        return len(self._buffer) - self._position + len(self._partial) + parts

    @property
    def is_over(self) -> bool:
        """Whether nothing more is read: the peer has closed, or violated the protocol."""
        return self._protocol.eof_sent

    @property
    def has_failed(self) -> bool:
        """Whether the peer violated the protocol; it may not have read our close frame yet."""
        return self._protocol.eof_sent and self._protocol.close_rcvd is None

    @property
    def closed_with(self) -> tuple[int, str] | None:
        """Return the code and reason of the first close frame of either side."""
        protocol = self._protocol
        first = protocol.close_rcvd if protocol.close_rcvd_then_sent else protocol.close_sent
        return None if first is None else (int(first.code), first.reason)

    # --- receiving

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        if self._missing > len(data):
            self._partial += data
            self._missing -= len(data)
            self._look_ahead(data)
        elif self._missing:
            self._buffer = b"".join((self._partial, data))
            self._partial, self._missing, self._work = bytearray(), 0, 0
        elif self._position < len(self._buffer):
            self._buffer = self._buffer[self._position :] + data
            self._position = 0
        else:
            self._buffer, self._position, self._work = data, 0, 0

    def next_message(self) -> Message | None:
        """Return the next message; None if more bytes are needed, or if nothing more is read.

        Return None too after much work, with `has_more` set: then let other tasks have their turn.
        """
        buffer = self._buffer
        self.has_more = False
        while not self._protocol.eof_sent:
            position = self._position
            size = len(buffer)
            if position == size:
                return None
            length = buffer[position + 1] - 0x80 if position + 6 <= size else 0x80
            if 0 <= length <= self._max_short:  # most frames: masked, and short
                start, end = position + 6, position + 6 + length
            else:
                start, end = self._bounds()
            if end > size:
                self._expect(start, end)
                return None
            first = buffer[position]
            if start and self._is_packed(first):
                if end - start > _MAX_PACKED:
                    buffer = self._split(start, end)
                    continue
                if self._packed >= _MAX_PACKED:
                    self._packed, self.has_more = 0, True
                    return None
                self._packed += end - start
            is_whole = start and first in _WHOLE and self._parts is None
            if not is_whole and self._work >= _MAX_WORK:
                self._work, self.has_more = 0, True
                return None
            self._position = end
            if end == size:  # free a large buffer while the peer is silent
                self._buffer, self._position = b"", 0
            if is_whole:
                data = apply_mask(buffer[start:end], buffer[start - 4 : start])
                if first == _WHOLE_BINARY:
                    return data
                try:
                    return data.decode()
                except UnicodeDecodeError as error:
                    self._refuse_text(error)
                    return None
            if start and not first and self._parts is not None and not self._is_packed(first):
                self._work += _JOIN_WORK
                self._add(apply_mask(buffer[start:end], buffer[start - 4 : start]), is_last=False)
            else:
                self._work += _TAKE_WORK
                if (message := self._take(buffer[position:end])) is not None:
                    return message
            buffer = self._buffer
        return None

    def _bounds(self) -> tuple[int, int]:
        """Return the start and the end of the next frame's payload. RFC 6455 section 5.2

        The start is 0 if the payload can't be found. Then either the buffer must grow up to the
        end, or the bytes up to the end are wrong, and the protocol refuses them.
        """
        buffer, position = self._buffer, self._position
        if len(buffer) - position < 2:
            return 0, position + 2
        length = buffer[position + 1] & 0x7F
        start = position + 6
        if length == 126:
            start += 2
            length = int.from_bytes(buffer[position + 2 : position + 4])
        elif length == 127:
            start += 8
            length = int.from_bytes(buffer[position + 2 : position + 10])
        is_frame = buffer[position + 1] & 0x80 and buffer[position] & 0x0F in _OPCODES
        if not is_frame:
            return 0, len(buffer)
        if start > len(buffer):
            return 0, start
        if not self._has_room(buffer[position], length):
            return 0, len(buffer)
        return start, start + length

    def _has_room(self, first: int, length: int) -> bool:
        """Whether a frame of this length fits in its message; if not, close with 1009.

        A compressed frame may be somewhat longer than its message: data that can't be compressed
        grows by the headers of its blocks. RFC 1951 section 3.2.4
        """
        if self._is_packed(first):
            limit = self._max_message + self._max_message // 16 + 1024
            return length <= limit or self._refuse_size(length)
        if not first & 0x0F and self._parts is not None:
            length += len(self._parts)
        return length <= self._max_message or self._refuse_size(length)

    def _is_packed(self, first: int) -> bool:
        """Whether a frame with this first byte belongs to a compressed message."""
        if self._deflate is None:
            return False
        return bool(first & _RSV1) if first & 0x0F else self._deflate.is_inside

    def _split(self, start: int, end: int) -> bytes:
        """Split the next frame into fragments, in place; return the buffer. RFC 6455 section 5.4"""
        buffer, first = self._buffer, self._buffer[self._position]
        mask = buffer[start - 4 : start]
        parts = []
        for at in range(start, end, _MAX_PACKED):
            part = buffer[at : min(at + _MAX_PACKED, end)]
            bits = first & ~_FIN if at == start else 0
            if at + _MAX_PACKED >= end:
                bits |= first & _FIN
            parts += [b"%c\xff%b%b" % (bits, len(part).to_bytes(8), mask), part]
        self._buffer, self._position = b"".join((*parts, buffer[end:])), 0
        return self._buffer

    def _refuse_size(self, size: int) -> bool:
        reason = f"{size} bytes, more than the limit of {self._max_message}"
        self.fail(CloseCode.MESSAGE_TOO_BIG, reason)
        return False

    def _expect(self, start: int, end: int) -> None:
        """Start to collect the pieces of an incomplete frame that ends at `end`.

        To parse the frame again with each piece would be slow. In a list of pieces, a byte may
        take 50 bytes.
        """
        buffer, position = self._buffer, self._position
        self._partial = bytearray(buffer[position:])
        self._missing = end - len(buffer)
        self._buffer, self._position = b"", 0
        is_text = start and buffer[position] & _NOT_FIN == _TEXT
        self._ahead = _TextAhead(buffer[start - 4 : start]) if is_text else None
        self._look_ahead(buffer[start:])

    def _look_ahead(self, data: bytes) -> None:
        """Refuse a text at its first wrong byte, not at its end. RFC 6455 section 8.1"""
        if self._ahead is not None:
            try:
                self._ahead.check(data)
            except UnicodeDecodeError as error:
                self._refuse_text(error)

    def _take(self, data: bytes) -> Message | None:
        """Give one frame to the protocol; return the message that it completes."""
        if data[0] & 0x0F == _CLOSE:
            # A close may come between the fragments of a message, but the protocol would refuse
            # it there. RFC 6455 section 5.4
            self._protocol.current_size = None
        self._protocol.receive_data(data)
        message = None
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode <= 2:  # not a ping, pong or close
                if event.opcode is not CONT:
                    self._parts = bytearray()
                    self._decoder = _UTF8() if event.opcode is TEXT else None
                message = self._add(event.data, is_last=event.fin)
        self._collect_output()
        return message

    def _add(self, data: BytesLike, *, is_last: bool) -> Message | None:
        """Add a fragment to its message; return the message if it is whole."""
        assert self._parts is not None
        if len(self._parts) + len(data) > self._max_message:
            self._refuse_size(len(self._parts) + len(data))
            return None
        self._parts += data
        if self._decoder is not None:
            try:
                self._decoder.decode(data, is_last)
            except UnicodeDecodeError as error:
                self._refuse_text(error)
                return None
        if not is_last:
            return None
        parts, self._parts = self._parts, None
        return bytes(parts) if self._decoder is None else parts.decode()

    def _refuse_text(self, error: UnicodeDecodeError) -> None:
        self.fail(CloseCode.INVALID_DATA, f"{error.reason} in a text")

    # --- sending

    def compress(self, message: Message) -> bytes | None:
        """Return a message as a compressed frame; None if not agreed, or not worth the work."""
        if isinstance(message, memoryview):
            message = bytes(message)  # so that its length is in bytes, not in items
        if not self._protocol.extensions or len(message) < _MIN_COMPRESSED:
            return None
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        else:
            self._protocol.send_binary(message)
        return b"".join(self._protocol.data_to_send())

    def ping(self) -> None:
        """Add a ping to `output`. RFC 6455 section 5.5.2"""
        self._protocol.send_ping(b"")
        self._collect_output()

    def close(self, code: int, reason: str) -> None:
        """Add a close frame to `output`, once. RFC 6455 section 5.5.1"""
        if self._protocol.state is OPEN:
            self._protocol.send_close(code, reason)
            self._collect_output()

    def fail(self, code: int, reason: str) -> None:
        """Add a close frame to `output`, and read nothing more. RFC 6455 section 7.1.7"""
        self._protocol.fail(code, reason)
        self._buffer, self._position = b"", 0
        self._partial, self._missing, self._parts = bytearray(), 0, None
        self._ahead = None
        self._collect_output()

    def close_parser(self) -> None:
        """Close the protocol's parser, which is in a cycle with the protocol; read no more."""
        self._protocol.parser.close()
        self._protocol.eof_sent = True  # a later turn may still call `next_message`

    def _collect_output(self) -> None:
        self.output += b"".join(self._protocol.data_to_send())


_UTF8 = codecs.getincrementaldecoder("utf-8")


class _TextAhead:
    """A check of the text in an incomplete frame. The whole frame is decoded again later."""

    __slots__ = ("_decoder", "_mask")

    def __init__(self, mask: bytes) -> None:
        self._mask = mask
        self._decoder = _UTF8()

    def check(self, data: bytes) -> None:
        """Check the next bytes of the payload. Raises: UnicodeDecodeError."""
        self._decoder.decode(apply_mask(data, self._mask))
        turn = len(data) % 4
        self._mask = self._mask[turn:] + self._mask[:turn]
