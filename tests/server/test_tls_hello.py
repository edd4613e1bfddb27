"""The first bytes of a connection: a hello of Python's own `ssl`, cut at each place, and others."""

from __future__ import annotations

import ssl

import pytest

from microweb.server.tls_hello import Hello, hello_state


def hello() -> bytes:
    """Return the first bytes of a client."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


HELLO = hello()


def record(message: bytes, *, kind: int = 0x16, size: int | None = None) -> bytes:
    length = len(message) if size is None else size
    return bytes((kind, 3, 1)) + length.to_bytes(2) + message


@pytest.mark.parametrize("cut", range(len(HELLO)))
def test_unfinished_hello(cut: int) -> None:
    assert hello_state(HELLO[:cut]) is Hello.UNFINISHED


def test_complete_hello() -> None:
    assert hello_state(HELLO) is Hello.COMPLETE
    assert hello_state(HELLO + b"more") is Hello.COMPLETE


@pytest.mark.parametrize("data", [b"G", b"GET / HTTP/1.1\r\n", b"post", b"PRI * HTTP/2.0\r\n"])
def test_http(data: bytes) -> None:
    assert hello_state(data) is Hello.HTTP


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        b"\x80\x2e\x01\x00\x02",  # of SSL 2
        b"SSH-2.0-OpenSSH_9.2\r\n"[3:],
        record(b"", kind=0x17),
        record(b"\x01\x00\x00"),  # too short for a message's header
        record(b"\x02\x00\x00\x00"),  # a ServerHello
        record(b"", size=16 * 1024 + 1),
        record(b"\x01\x00\x40\x01"),  # a hello over 16 KiB
        record(b"\x01\xff\xff\xff"),
    ],
)
def test_other_bytes(data: bytes) -> None:
    assert hello_state(data) is Hello.INVALID


def test_size_that_is_too_large_is_refused_before_the_rest_arrives() -> None:
    assert hello_state(record(b"", size=0xFFFF)) is Hello.INVALID


def test_hello_of_exactly_16_kib() -> None:
    assert hello_state(record(b"\x01\x00\x40\x00")) is Hello.COMPLETE
