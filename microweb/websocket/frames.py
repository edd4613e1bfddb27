"""Frames that a server sends: whole messages and a ping; the codes of a close. RFC 6455"""

from __future__ import annotations

from ..http.charsets import encode_utf8

# RFC 6455 section 7.4.1
NORMAL = 1000
GOING_AWAY = 1001
INVALID_DATA = 1007
POLICY_VIOLATION = 1008
TOO_BIG = 1009
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012  # this and the next from the registry of RFC 6455 section 11.7
TRY_AGAIN_LATER = 1013
LOST = 1006  # never sent: the connection ended without a close frame

PING = b"\x89\x00"


def encode_frame(message: str | bytes) -> bytes:
    """Return a message as one whole frame, which `send_frame` can send to many sockets.

    Raises: TypeError if the message is not a str or bytes. RFC 6455 section 5.2
    """
    if isinstance(message, str):
        payload, first = encode_utf8(message), 0x81
    elif isinstance(message, (bytes, bytearray, memoryview)):
        payload, first = bytes(message), 0x82
    else:
        raise TypeError(f"expected a message as str or bytes, got {type(message).__name__}")
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return b"%c\x7e%b%b" % (first, size.to_bytes(2), payload)
    return b"%c\x7f%b%b" % (first, size.to_bytes(8), payload)
