"""Headers of the PROXY protocol, version 2."""

from __future__ import annotations

import struct

from microweb.server.proxy_header import crc32c

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ADDRESSES = bytes.fromhex("c0000201 0a000001 e707 0050")  # 192.0.2.1:59143 -> 10.0.0.1:80


def binary(content: bytes = b"", *, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(content)) + content


def extension(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def checked(content: bytes) -> bytes:
    """Return a header with `content` and a right checksum."""
    header = binary(content + extension(3, bytes(4)))
    return header[:-4] + crc32c(header).to_bytes(4)


# The client has used TLS.
TLS = extension(0x20, bytes([1, 0, 0, 0, 0]) + extension(0x21, b"TLSv1.3"))
