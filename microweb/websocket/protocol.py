"""The frames of one WebSocket, bytes to messages and back: RFC 6455 section 5, RFC 7692.

Strategy: the frames of a read are told apart here, and one at a time goes to the sans-I/O protocol
of `websockets`, which knows control frames, fragments, compression and what breaks the rules. So a
read that inflates to many messages makes them one by one, as they are asked for. What most messages
are, one whole frame that is not compressed, is decoded here: 0.6 us in place of 5.
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
except ImportError:  # where it was installed without a compiler
    from websockets.utils import apply_mask

Message = str | bytes

_log = Log("microweb.websocket")

# FIN and the opcode of text or binary: a whole message.
_WHOLE_TEXT, _WHOLE_BINARY = 0x81, 0x82
_WHOLE = frozenset((_WHOLE_TEXT, _WHOLE_BINARY))
_FIN, _NOT_FIN, _TEXT, _RSV1 = 0x80, 0x7F, 0x01, 0x40
_CLOSE = 0x8
_OPCODES = frozenset((0x0, 0x1, 0x2, _CLOSE, 0x9, 0xA))

_MIN_COMPRESSED = 1024

# Bytes that are inflated before others have their turn: of Huffman tables without data, the worst
# that there is, they take 5 to 10 ms. It is a multiple of four, as masks are.
_MAX_PACKED = 32 * 1024

# Work on frames that are no whole message before others have their turn: 0.1 ms of it. A read of
# 256 KiB can bring 43,000 such frames, and many clients may send them at once.
_MAX_WORK = 64
_JOIN_WORK = 1  # a piece in the middle of a message: 1.5 us
_TAKE_WORK = 6  # a frame that goes to the protocol: 10 us


class Frames:
    """Both directions of one connection. `max_message` is in bytes, once decompressed.

    `feed`, then `next_message` until it returns None; `output` has what is to be sent meanwhile.
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
        self._packed = 0  # bytes that were inflated since others had their turn
        self._work = 0  # on frames of this buffer since others had their turn
        self._max_message = max_message
        self._max_short = min(max_message, 125)  # what has its length in the second byte
        self._buffer = b""  # received, from `_position` on not looked at yet
        self._position = 0
        self._partial = bytearray()  # a frame that is not whole
        self._missing = 0  # bytes of it
        self._ahead: _TextAhead | None = None  # its text, where it is one
        self._parts: bytearray | None = None  # of a message that is not whole
        self._decoder: codecs.IncrementalDecoder | None = None  # where that is text
        self.output = b""  # to be sent: pongs, a close frame
        self.has_more = False  # the last `next_message` has not looked at all that is here

    def negotiate(self, offers: list[str]) -> str | None:
        """Choose among the extensions that the client offers; return the field's value.

        Raises: BadRequest for offers that are malformed. RFC 7692 section 5
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
        """How many bytes `next_message` has not looked at."""
        return len(self._buffer) - self._position

    @property
    def held(self) -> int:
        """How many bytes are kept: of a message that is not whole, or not looked at."""
        parts = 0 if self._parts is None else len(self._parts)
        return len(self._buffer) - self._position + len(self._partial) + parts

    @property
    def is_over(self) -> bool:
        """Whether the peer has closed, or broke the rules: nothing more is read."""
        return self._protocol.eof_sent

    @property
    def has_failed(self) -> bool:
        """Whether the peer broke the rules; it may not have noticed yet."""
        return self._protocol.eof_sent and self._protocol.close_rcvd is None

    @property
    def closed_with(self) -> tuple[int, str] | None:
        """Code and reason of the first close frame, whoever sent it."""
        protocol = self._protocol
        first = protocol.close_rcvd if protocol.close_rcvd_then_sent else protocol.close_sent
        return None if first is None else (int(first.code), first.reason)

    # --- receiving

    def feed(self, data: bytes) -> None:
        """Take what was received."""
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
        """Return the next message, or None where more bytes are needed, or none will come.

        Also where it was looked for among many frames: then `has_more`, and others have their turn.
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
            if end == size:  # a large one is not kept while the peer is silent
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
        """Return where the next frame's payload begins and ends. RFC 6455 section 5.2

        It begins at 0 where there is no frame: what there is up to the end is for the protocol to
        find wrong, or more has to come up to there.
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
        """Whether a message may go on with a frame of this length; else this closes with 1009.

        That of a compressed message may be somewhat longer than the message: of one that can't be
        made smaller by the headers of its blocks. RFC 1951 section 3.2.4
        """
        if self._is_packed(first):
            limit = self._max_message + self._max_message // 16 + 1024
            return length <= limit or self._refuse_size(length)
        if not first & 0x0F and self._parts is not None:
            length += len(self._parts)
        return length <= self._max_message or self._refuse_size(length)

    def _is_packed(self, first: int) -> bool:
        """Whether the frame that begins with this byte is one of a compressed message."""
        if self._deflate is None:
            return False
        return bool(first & _RSV1) if first & 0x0F else self._deflate.is_inside

    def _split(self, start: int, end: int) -> bytes:
        """Make fragments of the next frame, in place; return the buffer. RFC 6455 section 5.4"""
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
        """Gather the pieces of a frame that ends at `end`.

        Looked at each time it would be slow, and in a list each byte may take 50.
        """
        buffer, position = self._buffer, self._position
        self._partial = bytearray(buffer[position:])
        self._missing = end - len(buffer)
        self._buffer, self._position = b"", 0
        is_text = start and buffer[position] & _NOT_FIN == _TEXT
        self._ahead = _TextAhead(buffer[start - 4 : start]) if is_text else None
        self._look_ahead(buffer[start:])

    def _look_ahead(self, data: bytes) -> None:
        """Refuse a text at its first wrong byte, and not only at its end. RFC 6455 section 8.1"""
        if self._ahead is not None:
            try:
                self._ahead.check(data)
            except UnicodeDecodeError as error:
                self._refuse_text(error)

    def _take(self, data: bytes) -> Message | None:
        """Hand one frame to the protocol; return the message that it completes."""
        if data[0] & 0x0F == _CLOSE:
            # A close may stand between the fragments of a message, which the protocol takes for a
            # fault. RFC 6455 section 5.4
            self._protocol.current_size = None
        self._protocol.receive_data(data)
        message = None
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode <= 2:  # no ping, pong or close
                if event.opcode is not CONT:
                    self._parts = bytearray()
                    self._decoder = _UTF8() if event.opcode is TEXT else None
                message = self._add(event.data, is_last=event.fin)
        self._collect_output()
        return message

    def _add(self, data: BytesLike, *, is_last: bool) -> Message | None:
        """Add a piece to its message; return that if it is whole."""
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
        """Return a message as a compressed frame, where that was agreed and is worth it."""
        if isinstance(message, memoryview):
            message = bytes(message)  # its length is in bytes then, not in items
        if not self._protocol.extensions or len(message) < _MIN_COMPRESSED:
            return None
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        else:
            self._protocol.send_binary(message)
        return b"".join(self._protocol.data_to_send())

    def ping(self) -> None:
        """Put a ping into `output`. RFC 6455 section 5.5.2"""
        self._protocol.send_ping(b"")
        self._collect_output()

    def close(self, code: int, reason: str) -> None:
        """Put a close frame into `output`, once. RFC 6455 section 5.5.1"""
        if self._protocol.state is OPEN:
            self._protocol.send_close(code, reason)
            self._collect_output()

    def fail(self, code: int, reason: str) -> None:
        """Close, and read nothing more. RFC 6455 section 7.1.7"""
        self._protocol.fail(code, reason)
        self._buffer, self._position = b"", 0
        self._partial, self._missing, self._parts = bytearray(), 0, None
        self._ahead = None
        self._collect_output()

    def close_parser(self) -> None:
        """End the protocol's parser, which holds the protocol that holds it: read no more."""
        self._protocol.parser.close()
        self._protocol.eof_sent = True  # a later turn may still look for what was buffered

    def _collect_output(self) -> None:
        self.output += b"".join(self._protocol.data_to_send())


_UTF8 = codecs.getincrementaldecoder("utf-8")


class _TextAhead:
    """The text in a frame that is not whole, as far as it has come; it is decoded anew then."""

    __slots__ = ("_decoder", "_mask")

    def __init__(self, mask: bytes) -> None:
        self._mask = mask
        self._decoder = _UTF8()

    def check(self, data: bytes) -> None:
        """Take more of the payload. Raises: UnicodeDecodeError."""
        self._decoder.decode(apply_mask(data, self._mask))
        turn = len(data) % 4
        self._mask = self._mask[turn:] + self._mask[:turn]
