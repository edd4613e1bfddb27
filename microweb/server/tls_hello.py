"""The first bytes of a connection to a TLS port: a complete ClientHello, or something else.

OpenSSL gets a hello only once it is complete, and only if it is harmless:

- It reserves memory as soon as the first bytes declare a size, up to 128 KiB. So a hello over
  16 KiB is refused, and a client that says nothing costs no more than over plain HTTP.
- A key share of a finite field costs 207 ms of CPU time with ffdhe8192, and a client may send the
  same one each time. Python can't turn these groups off. So a hello is refused if it has such a
  share, or offers such a group without a curve that OpenSSL prefers. An unknown group is not
  enough: OpenSSL would ask for the share in a second hello. Each browser offers X25519 or P-256.
- Python writes a traceback to stderr for a server name that is not ASCII. So a hello is refused if
  its name has other characters than those of a host.

RFC 6066 section 3. RFC 8446 sections 4, 4.1.2, 4.2.7, 4.2.8, 5.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto

_HANDSHAKE = 0x16  # the type of a record
_CLIENT_HELLO = 0x01
_RECORD_HEADER_BYTES = 5  # type, version, length
_MESSAGE_HEADER_BYTES = 4  # type, length
_MAX_HELLO_BYTES = 16 * 1024  # browsers send 2 KiB at most
_MAX_RECORDS = 8  # of one hello; almost all are one
_SESSION_ID_AT = _MESSAGE_HEADER_BYTES + 2 + 32  # behind the version and the random bytes
_SERVER_NAME, _SUPPORTED_GROUPS, _KEY_SHARE = 0, 10, 51  # types of extensions
_NAME_AT = 5  # behind the length of the list, the type of the name and its own length
_HOST = re.compile(rb"[0-9A-Za-z._:-]+")  # some clients send `_` or an IP address
_CURVES = frozenset((23, 24, 25, 29, 30))  # P-256, P-384, P-521, X25519, X448
_FINITE_FIELDS = range(0x0100, 0x0200)  # groups of RFC 7919


class Hello(Enum):
    """The state of the first bytes."""

    UNFINISHED = auto()
    COMPLETE = auto()
    HTTP = auto()  # they begin with a letter, as a method does
    INVALID = auto()
    COSTLY = auto()  # a hello that chooses a finite field
    BAD_NAME = auto()  # a hello whose server name is not the name of a host


def hello_state(data: bytes) -> Hello:
    """Return the state of the first bytes of a connection."""
    if data[:1].isalpha():
        return Hello.HTTP
    message, position = b"", 0
    for _ in range(_MAX_RECORDS):
        header = data[position : position + _RECORD_HEADER_BYTES]
        if header and header[0] != _HANDSHAKE:
            return Hello.INVALID
        if len(header) < _RECORD_HEADER_BYTES:
            return Hello.UNFINISHED
        size = int.from_bytes(header[3:])
        position += _RECORD_HEADER_BYTES + size
        message += data[position - size : position]
        declared = int.from_bytes(message[1:_MESSAGE_HEADER_BYTES])
        is_hello = message[:1] in (b"", bytes((_CLIENT_HELLO,)))
        if not 0 < size <= _MAX_HELLO_BYTES or not is_hello:
            return Hello.INVALID
        if len(message) >= _MESSAGE_HEADER_BYTES:
            if declared > _MAX_HELLO_BYTES:
                return Hello.INVALID
            if len(message) >= _MESSAGE_HEADER_BYTES + declared:
                return _state_of_message(message)
        if position > len(data):
            return Hello.UNFINISHED
    return Hello.INVALID


def _state_of_message(message: bytes) -> Hello:
    groups, shares, names = list[int](), list[int](), list[bytes]()
    try:
        for kind, content in _extensions(message):
            if kind == _SUPPORTED_GROUPS:
                groups = [number for number, _ in _items(content, 0)]
            elif kind == _KEY_SHARE:
                shares = [number for number, _ in _items(content, 2)]
            elif kind == _SERVER_NAME:
                names.append(content[_NAME_AT:])
    except IndexError:
        return Hello.INVALID
    if not all(map(_HOST.fullmatch, names)):
        return Hello.BAD_NAME
    has_curve = not _CURVES.isdisjoint(groups)
    if _has_finite_field(shares) or (_has_finite_field(groups) and not has_curve):
        return Hello.COSTLY
    return Hello.COMPLETE


def _has_finite_field(groups: list[int]) -> bool:
    return any(number in _FINITE_FIELDS for number in groups)


def _extensions(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the content of each extension. Raises: IndexError if it is malformed."""
    end = _MESSAGE_HEADER_BYTES + int.from_bytes(message[1:_MESSAGE_HEADER_BYTES])
    position = _SESSION_ID_AT
    for size in (1, 2, 1):  # of the length of the session id, of the ciphers, of the compressions
        position += size + int.from_bytes(_take(message, position, size))
    if position < end:  # a client of TLS 1.2 may send no extensions
        yield from _items(message[position:end], 2)


def _items(content: bytes, length_size: int) -> Iterator[tuple[int, bytes]]:
    """Yield the items of a list behind its length: a number, and content behind its own length."""
    position, end = 2, 2 + int.from_bytes(_take(content, 0, 2))
    while position < end:
        number = int.from_bytes(_take(content, position, 2))
        size = int.from_bytes(_take(content, position + 2, length_size)) if length_size else 0
        position += 2 + length_size
        yield number, _take(content, position, size)
        position += size


def _take(content: bytes, position: int, size: int) -> bytes:
    taken = content[position : position + size]
    if len(taken) < size:
        raise IndexError("the hello is malformed")
    return taken
