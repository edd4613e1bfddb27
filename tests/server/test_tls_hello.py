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
        record(b"\x01\x00\x00") + record(b"\x00") + b"GET",  # without content
        record(b"\x01\x00\x00\x05" + bytes(5)),  # too short for its random bytes
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


def message_of(*extensions: tuple[int, bytes], size: int = 0) -> bytes:
    """Return a hello with these extensions, padded by another one to `size` bytes."""
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    listed = b"".join(k.to_bytes(2) + len(c).to_bytes(2) + c for k, c in extensions)
    padding = size - 4 - len(body) - 2 - len(listed) - 4
    if padding >= 0:
        listed += b"\x00\x15" + padding.to_bytes(2) + bytes(padding)
    body += len(listed).to_bytes(2) + listed
    return b"\x01" + len(body).to_bytes(3) + body


def groups(*numbers: int) -> tuple[int, bytes]:
    return 10, (2 * len(numbers)).to_bytes(2) + b"".join(n.to_bytes(2) for n in numbers)


def shares(*numbers: int) -> tuple[int, bytes]:
    items = b"".join(n.to_bytes(2) + b"\x00\x04" + bytes(4) for n in numbers)
    return 51, len(items).to_bytes(2) + items


def server_name(name: bytes) -> tuple[int, bytes]:
    entry = b"\x00" + len(name).to_bytes(2) + name
    return 0, len(entry).to_bytes(2) + entry


X25519, P256, FFDHE2048, FFDHE8192 = 0x1D, 0x17, 0x100, 0x104
UNKNOWN, X25519MLKEM768 = 0x0A0A, 0x11EC  # the first is reserved, by RFC 8701
CHEAP = record(message_of(groups(X25519, FFDHE8192), shares(X25519, P256)))


@pytest.mark.parametrize("cut", range(len(CHEAP)))
def test_hello_of_our_own_is_cut(cut: int) -> None:
    assert hello_state(CHEAP) is Hello.COMPLETE
    assert hello_state(CHEAP[:cut]) is Hello.UNFINISHED


@pytest.mark.parametrize(
    "extensions",
    [
        [groups(FFDHE2048, FFDHE8192)],
        [groups(UNKNOWN, FFDHE8192)],
        [groups(X25519MLKEM768, FFDHE8192), shares(X25519MLKEM768)],
        [groups(X25519), shares(FFDHE8192)],
        [groups(X25519, FFDHE2048), shares(X25519, FFDHE2048)],
    ],
)
def test_groups_of_finite_fields_are_costly(extensions: list[tuple[int, bytes]]) -> None:
    assert hello_state(record(message_of(*extensions))) is Hello.COSTLY


@pytest.mark.parametrize(
    "extensions",
    [
        [],
        [groups(P256)],
        [groups(FFDHE8192, X25519), shares(X25519)],
        [groups(X25519), shares()],
        [groups(X25519MLKEM768), shares(X25519MLKEM768)],
    ],
)
def test_groups_with_a_curve(extensions: list[tuple[int, bytes]]) -> None:
    assert hello_state(record(message_of(*extensions))) is Hello.COMPLETE


@pytest.mark.parametrize(
    "name", [b"localhost", b"EXAMPLE.org.", b"_dmarc.a-b.org", b"10.0.0.1", b"2001:db8::1"]
)
def test_server_name_of_a_host(name: bytes) -> None:
    assert hello_state(record(message_of(server_name(name)))) is Hello.COMPLETE


@pytest.mark.parametrize(
    "name", [b"", b"a\xff", b"\xc3\xa4.org", b"a\nb", b"a b", b"a\x1b[31m", b"a\n"]
)
def test_server_name_of_no_host(name: bytes) -> None:
    assert hello_state(record(message_of(server_name(name)))) is Hello.BAD_NAME


def test_hello_without_extensions() -> None:
    body = message_of()[4:-2]
    assert hello_state(record(b"\x01" + len(body).to_bytes(3) + body)) is Hello.COMPLETE


@pytest.mark.parametrize("size", [1, 3, 5, 50])
def test_hello_in_several_records(size: int) -> None:
    message = message_of(groups(X25519), shares(FFDHE8192))
    first, rest = record(message[:size]), record(message[size:])
    assert hello_state(first) is Hello.UNFINISHED
    assert hello_state(first + rest[:-1]) is Hello.UNFINISHED
    assert hello_state(first + rest) is Hello.COSTLY


def test_hello_in_too_many_records() -> None:
    message = message_of(groups(X25519), shares(X25519))
    pieces = [message[at : at + 8] for at in range(0, len(message), 8)]
    assert hello_state(b"".join(map(record, pieces))) is Hello.INVALID


@pytest.mark.parametrize("kind", [10, 51])
@pytest.mark.parametrize("content", [b"", b"\x00", b"\x00\x04\x00", b"\x00\x03\x00\x1d\x00"])
def test_malformed_extension(kind: int, content: bytes) -> None:
    assert hello_state(record(message_of((kind, content)))) is Hello.INVALID


def test_hello_of_exactly_16_kib() -> None:
    message = message_of(groups(X25519), size=16 * 1024)
    assert hello_state(record(message)) is Hello.COMPLETE
    larger = message_of(groups(X25519), size=4 + 16 * 1024 + 1)
    assert hello_state(record(larger[:-4]) + record(larger[-4:])) is Hello.INVALID
