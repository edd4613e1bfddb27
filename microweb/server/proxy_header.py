"""The PROXY protocol: the first bytes of a connection, by which a load balancer names its client.

Version 1 is a line of text, version 2 is binary. The header is complete or refused: its length, its
address family and, if it has one, its checksum must be right. Bytes that can't become a header are
refused at once. https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from ..errors import MalformedRequest
from ..http.interfaces import Address
from .addresses import address_of_peer

_LINE_START = b"PROXY "
_MAX_LINE_BYTES = 107  # with CRLF
_PORT = rb"(0|[1-9][0-9]{0,4})"
_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*+)?|TCP([46]) ([^ ]++) ([^ ]++) %b %b)" % (_PORT, _PORT)
)
_MAX_PORT = 65535

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_START_BYTES = 16  # signature, version and command, family, length
_MAX_BYTES = 16 * 1024  # with all extensions; HAProxy sends about 500
_LOCAL, _PROXY = 0x20, 0x21  # version 2 and a command
_UNSPECIFIED = 0x00
# Family and protocol -> bytes of one address, bytes of all addresses with their ports.
_FAMILIES = {0x11: (4, 12), 0x21: (16, 36), 0x31: (0, 216)}  # TCP4, TCP6, a Unix socket
_CRC32C, _SSL = 0x03, 0x20  # types of extensions
_WAS_TLS = 0x01  # a flag at the start of `_SSL`


class ProxyHeader(NamedTuple):
    """What a PROXY header says. Without `source` the client is the load balancer's own end."""

    size: int  # bytes
    source: Address | None
    has_tls: bool = False  # the client has connected to the load balancer by TLS
    is_local: bool = False  # the load balancer has connected for itself, and relays no client


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """Return the header at the start of a connection's bytes, None if it is not complete.

    Raises: MalformedRequest if the bytes are no PROXY header.
    """
    if data[: len(_SIGNATURE)] == _SIGNATURE[: len(data)]:
        return _parse_binary(data)
    if data[: len(_LINE_START)] == _LINE_START[: len(data)]:
        return _parse_line(data)
    raise MalformedRequest("no PROXY header from a trusted proxy", data)


# --- version 1


def _parse_line(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _MAX_LINE_BYTES)
    if end < 0:
        if len(data) >= _MAX_LINE_BYTES:
            raise MalformedRequest("a PROXY line over 107 bytes", data)
        return None
    match = _LINE.fullmatch(data, 0, end)
    if match is None:
        raise MalformedRequest("a malformed PROXY line", data[:end])
    source = None
    if match[1]:
        source = _address(match[1], match[2], int(match[4]))
        _address(match[1], match[3], int(match[5]))
    return ProxyHeader(end + 2, source)


def _address(family: bytes, host: bytes, port: int) -> Address:
    text = host.decode("latin-1")
    try:
        address = ip_address("" if "%" in text else text)
    except ValueError:
        address = None
    if address is None or address.version != int(family) or port > _MAX_PORT:
        raise MalformedRequest("an invalid address in a PROXY line", host)
    return address_of_peer(_compressed(address), port)


# --- version 2


def _parse_binary(data: bytes) -> ProxyHeader | None:
    if len(data) < _START_BYTES:
        return None
    command, family = data[12:14]
    end = _START_BYTES + int.from_bytes(data[14:16])
    if command not in (_LOCAL, _PROXY):
        raise MalformedRequest("a PROXY header with an unknown version or command", data[12:16])
    if end > _MAX_BYTES:
        raise MalformedRequest("a PROXY header over 16 KiB", data[12:16])
    if len(data) < end:
        return None
    if command == _LOCAL:  # such as a health check
        return ProxyHeader(end, None, is_local=True)
    if family == _UNSPECIFIED:
        return ProxyHeader(end, None)
    if family not in _FAMILIES:
        raise MalformedRequest("a PROXY header of an unknown family", data[12:16])
    size, all_addresses = _FAMILIES[family]
    addresses = data[_START_BYTES : min(_START_BYTES + all_addresses, end)]
    if len(addresses) < all_addresses:
        raise MalformedRequest("a PROXY header that is too short for its addresses", data[12:16])
    has_tls = _check_extensions(data[:end], _START_BYTES + all_addresses)
    source = None
    if size:
        host = _compressed(ip_address(addresses[:size]))
        source = address_of_peer(host, int.from_bytes(addresses[2 * size : 2 * size + 2]))
    return ProxyHeader(end, source, has_tls)


def _check_extensions(header: bytes, start: int) -> bool:
    """Check the extensions; return whether the client has connected by TLS."""
    has_tls = has_checksum = False
    for kind, position, value in _extensions(header, start):
        if kind == _CRC32C:
            if has_checksum or len(value) != 4:
                raise MalformedRequest("a PROXY header with a malformed checksum")
            has_checksum = True
            zeroed = header[:position] + bytes(4) + header[position + 4 :]
            if crc32c(zeroed) != int.from_bytes(value):
                raise MalformedRequest("a PROXY header with a wrong checksum")
        elif kind == _SSL:
            if len(value) < 5:
                raise MalformedRequest("a PROXY header with a malformed extension")
            has_tls = bool(value[0] & _WAS_TLS)
    return has_tls


def _extensions(header: bytes, position: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, position of the value, and value of each extension."""
    while position < len(header):
        start = position + 3
        size = int.from_bytes(header[position + 1 : start])
        if start + size > len(header):
            raise MalformedRequest("a PROXY header with an incomplete extension")
        yield header[position], start, header[start : start + size]
        position = start + size


def _compressed(address: IPv4Address | IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(address if mapped is None else mapped)


def crc32c(data: bytes) -> int:
    """Return the checksum of RFC 3720 section B.4, with the polynomial of Castagnoli."""
    table, checksum = _crc_table(), 0xFFFFFFFF
    for byte in data:
        checksum = table[(checksum ^ byte) & 0xFF] ^ (checksum >> 8)
    return checksum ^ 0xFFFFFFFF


@lru_cache(maxsize=1)
def _crc_table() -> list[int]:
    table = []
    for number in range(256):
        for _ in range(8):
            number = (number >> 1) ^ (0x82F63B78 if number & 1 else 0)
        table.append(number)
    return table
