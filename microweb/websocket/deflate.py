"""permessage-deflate for the server: RFC 7692, based on the extension of `websockets`.

`websockets` compresses the frames that we send. Received frames are inflated here, for two reasons.
The limit of a message is for its inflated size, to the byte, and not for its size on the wire. And
a block with BFINAL, which some compressors write at the end of each message, ends the stream for
zlib. A new decompressor then continues, with the end of the inflated data as its window.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from ..errors import MissingExtra

try:
    from websockets.exceptions import NegotiationError, PayloadTooBig, ProtocolError
    from websockets.extensions import Extension
    from websockets.extensions.permessage_deflate import (
        PerMessageDeflate,
        ServerPerMessageDeflateFactory,
    )
    from websockets.frames import CONT, CTRL_OPCODES, Frame
    from websockets.headers import build_extension
    from websockets.typing import BytesLike
except ImportError as error:
    raise MissingExtra("a WebSocket", "websockets") from error

NAME = "permessage-deflate"

# A window of 4 KiB in each direction, and none kept between sent messages: 32 KiB less for each
# connection.
_FACTORY = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,
    server_max_window_bits=12,
    client_max_window_bits=12,
    compress_settings={"memLevel": 5},
)
_END = b"\x00\x00\xff\xff"  # the end of each message, not sent. RFC 7692 section 7.2.1
_MAX_FINAL_BLOCKS = 16  # in a message: each costs a new decompressor


class Deflate(Extension):
    """The extension of one connection; a message inflates to at most `max_message` bytes."""

    name = _FACTORY.name

    def __init__(self, agreed: PerMessageDeflate, max_message: int) -> None:
        self._agreed = agreed
        self._max_message = max_message
        self._keeps_window = not agreed.remote_no_context_takeover
        if self._keeps_window:
            del agreed.decoder  # 7 KiB
        self._window = bytearray()  # the end of the inflated data, up to 1.5 windows of it
        self._window_size = 1 << agreed.remote_max_window_bits
        self._inflater: zlib._Decompress | None = None  # None until there is data to inflate
        self._final_blocks = 0  # in the current message
        self._left = 0  # bytes that the current message may still inflate to
        self.is_inside = False  # more frames of a compressed message follow

    def encode(self, frame: Frame) -> Frame:
        """Compress a frame to send."""
        return self._agreed.encode(frame)

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Inflate a received frame. Raises: ProtocolError, PayloadTooBig. RFC 7692 section 7.2.2"""
        if frame.opcode in CTRL_OPCODES:
            return frame
        if frame.opcode is CONT:
            if not self.is_inside:
                return frame
            if frame.rsv1:
                raise ProtocolError("RSV1 bit set in continuation frame")
        elif frame.rsv1:
            self._left, self._final_blocks = self._max_message, 0
        else:
            return frame
        self.is_inside = not frame.fin
        data = self._inflate(bytes(frame.data) + _END if frame.fin else frame.data)
        if frame.fin and not self._keeps_window:
            self._window.clear()
            self._inflater = None
        return Frame(frame.opcode, data, frame.fin, False, frame.rsv2, frame.rsv3)

    def _inflate(self, data: BytesLike) -> bytes:
        inflater = self._inflater
        if inflater is None:
            inflater = self._inflater = self._new_inflater()
        try:
            inflated = inflater.decompress(data, self._left + 1)
        except zlib.error as error:
            raise ProtocolError("decompression failed") from error
        self._left -= len(inflated)
        if self._left < 0:
            raise PayloadTooBig(None, self._max_message)
        window, size = self._window, self._window_size
        window += inflated[-size:]
        if len(window) > size + size // 2:
            del window[:-size]
        return inflated if not inflater.eof else inflated + self._continue(inflater.unused_data)

    def _continue(self, data: bytes) -> bytes:
        """Inflate the data after a final block."""
        self._inflater = None
        self._final_blocks += 1
        if self._final_blocks > _MAX_FINAL_BLOCKS:
            raise ProtocolError("too many final blocks in a message")
        return self._inflate(data)

    def _new_inflater(self) -> zlib._Decompress:
        window = bytes(self._window[-self._window_size :])
        return zlib.decompressobj(-self._agreed.remote_max_window_bits, zdict=window)


def agree(
    parameters: Sequence[tuple[str, str | None]], max_message: int
) -> tuple[str, Deflate] | None:
    """Return the answer to an offer of the extension, and the extension; None to decline it."""
    try:
        answer, agreed = _FACTORY.process_request_params(parameters, [])
    except NegotiationError:
        return None
    return build_extension([(_FACTORY.name, answer)]), Deflate(agreed, max_message)
