from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from support.proxying import ADDRESSES, SIGNATURE, TLS, binary, checked, extension

from microweb.errors import MalformedRequest
from microweb.http.interfaces import Address
from microweb.server.proxy_header import ProxyHeader, crc32c, parse_proxy_header

CLIENT = Address("192.0.2.1", 59143)

V6 = ip_address("2001:db8::7").packed + ip_address("::1").packed + struct.pack("!HH", 51, 443)
MAPPED = ip_address("::ffff:192.0.2.1").packed * 2 + struct.pack("!HH", 59143, 443)
VALID = [
    (b"PROXY TCP4 192.0.2.1 10.0.0.1 59143 80\r\n", CLIENT),
    (b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", Address("0.0.0.0", 0)),
    (b"PROXY TCP6 2001:db8::7 ::1 51 443\r\n", Address("2001:db8::7", 51)),
    (b"PROXY TCP6 2001:DB8:0:0:0:0:0:7 ::1 51 443\r\n", Address("2001:db8::7", 51)),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 59143 80\r\n", CLIENT),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 anything at all\r\n", None),
    (binary(ADDRESSES), CLIENT),
    (binary(ADDRESSES + extension(4, b"") + extension(0xEA, b"\1vpce-08d2")), CLIENT),
    (binary(V6, family=0x21), Address("2001:db8::7", 51)),
    (binary(MAPPED, family=0x21), CLIENT),
    (binary(bytes(216), family=0x31), None),
    (binary(family=0), None),
    (binary(b"\xff\xff", family=0), None),
    (binary(command=0x20, family=0), None),
    (binary(b"not looked at", command=0x20, family=0x77), None),
    (checked(ADDRESSES), CLIENT),
    (checked(ADDRESSES + extension(0x05, bytes(range(128)))), CLIENT),
]


@pytest.mark.parametrize(("header", "source"), VALID)
def test_header_at_every_cut_and_with_bytes_behind_it(
    header: bytes, source: Address | None
) -> None:
    for size in range(len(header)):
        assert parse_proxy_header(header[:size]) is None
    is_local = header[12:13] == b"\x20"
    expected = ProxyHeader(len(header), source, is_local=is_local)
    assert parse_proxy_header(header) == expected
    assert parse_proxy_header(header + header) == expected


def test_client_that_has_used_tls() -> None:
    assert parse_proxy_header(binary(ADDRESSES + TLS)) == ProxyHeader(28 + len(TLS), CLIENT, True)
    without = extension(0x20, bytes(5))
    assert parse_proxy_header(binary(ADDRESSES + without)) == ProxyHeader(36, CLIENT, False)


@pytest.mark.parametrize(
    "data",
    [
        b"G",
        b"GET / HTTP/1.1\r\n\r\n",
        b"proxy TCP4 192.0.2.1 10.0.0.1 59143 80\r\n",
        b"PROXY\tTCP4",
        b"PROXY  TCP4 192.0.2.1 10.0.0.1 59143 80\r\n",
        b"PROXY TCP5 192.0.2.1 10.0.0.1 59143 80\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 59143\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 59143 80 \r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 59143 80 1\r\n",
        b"PROXY TCP4 192.0.2.256 10.0.0.1 59143 80\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0 59143 80\r\n",
        b"PROXY TCP4 192.0.2.01 10.0.0.1 59143 80\r\n",
        b"PROXY TCP4 ::1 ::1 59143 80\r\n",
        b"PROXY TCP6 192.0.2.1 10.0.0.1 59143 80\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 59143 80\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 65536 80\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 59143 99999\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 080 80\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 -1 80\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 59143 80\n\r\n",
        b"PROXY UNKNOWNED\r\n",
        b"PROXY " + b"x" * 101,
        b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
        b"\r\n\r\nGET",
        b"\0",
        b"\x16\x03\x01",
        binary(ADDRESSES, command=0x11),  # version 1
        binary(ADDRESSES, command=0x22),
        binary(ADDRESSES, family=0x12),  # UDP
        binary(ADDRESSES, family=0x41),
        binary(ADDRESSES, family=0x10),
        binary(ADDRESSES[:-1]),
        binary(b""),
        binary(ADDRESSES, family=0x21),
        binary(bytes(215), family=0x31),
        SIGNATURE + b"\x21\x11\xff\xff",  # too long, refused before it arrives
        binary(ADDRESSES + b"\x04"),
        binary(ADDRESSES + b"\x04\0"),
        binary(ADDRESSES + b"\x04\0\1"),
        binary(ADDRESSES + extension(3, bytes(4))),
        binary(ADDRESSES + extension(3, b"")),
        binary(ADDRESSES + extension(3, bytes(5))),
        binary(ADDRESSES + extension(0x20, b"\1\0\0\0")),
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse_proxy_header(data)


def test_any_changed_byte_fails_the_checksum() -> None:
    header = checked(ADDRESSES)
    for position in range(16, len(header)):
        changed = bytearray(header)
        changed[position] ^= 1
        try:
            found = parse_proxy_header(bytes(changed))
        except MalformedRequest:
            continue
        assert position == 28 and found is not None  # the type of the checksum itself


def test_two_checksums_are_refused() -> None:
    second = extension(3, b"abcd")
    header = binary(ADDRESSES + extension(3, bytes(4)) + second)
    header = header[:31] + crc32c(header).to_bytes(4) + second
    with pytest.raises(MalformedRequest, match="malformed checksum"):
        parse_proxy_header(header)


@pytest.mark.parametrize(
    ("data", "checksum"),
    [  # RFC 3720 section B.4
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"123456789", 0xE3069283),
    ],
)
def test_checksum(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum
