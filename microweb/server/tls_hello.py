"""The first bytes of a connection to a TLS port: a complete ClientHello, or something else.

OpenSSL reserves memory for a hello as soon as the first bytes declare its size, up to 128 KiB. So
it gets a hello only once the first record is complete, and none over 16 KiB. A client that says
nothing costs no more than over plain HTTP. RFC 8446 sections 4, 4.1.2, 5.1.
"""

from __future__ import annotations

from enum import Enum, auto

_HANDSHAKE = 0x16  # the type of the first record
_CLIENT_HELLO = 0x01
_RECORD_HEADER_BYTES = 5  # type, version, length
_MESSAGE_HEADER_BYTES = 4  # type, length
_MAX_HELLO_BYTES = 16 * 1024  # browsers send 2 KiB at most


class Hello(Enum):
    """The state of the first bytes."""

    UNFINISHED = auto()
    COMPLETE = auto()  # its first record is
    HTTP = auto()  # the bytes begin with a letter, as a method does
    INVALID = auto()


def hello_state(data: bytes) -> Hello:
    """Return the state of the first bytes of a connection."""
    if data[:1].isalpha():
        return Hello.HTTP
    if data[:1] and data[0] != _HANDSHAKE:
        return Hello.INVALID
    size = int.from_bytes(data[3:_RECORD_HEADER_BYTES])
    if len(data) < _RECORD_HEADER_BYTES:
        return Hello.UNFINISHED
    if not _MESSAGE_HEADER_BYTES <= size <= _MAX_HELLO_BYTES:
        return Hello.INVALID
    if len(data) < _RECORD_HEADER_BYTES + size:
        return Hello.UNFINISHED
    message = data[_RECORD_HEADER_BYTES:]
    is_hello = message[0] == _CLIENT_HELLO
    declared = int.from_bytes(message[1:_MESSAGE_HEADER_BYTES])
    return Hello.COMPLETE if is_hello and declared <= _MAX_HELLO_BYTES else Hello.INVALID
