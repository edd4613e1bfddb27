"""Addresses of the option `bind`: their texts, and the sockets that they open."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from microweb import App
from microweb.errors import ConfigurationError
from microweb.server.binds import (
    Bind,
    FDBind,
    ListeningSockets,
    SystemdBind,
    TCPBind,
    UnixBind,
    parse_bind,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", TCPBind("127.0.0.1", 80)),
        ("localhost:0", TCPBind("localhost", 0)),
        ("*:65535", TCPBind("*", 65535)),
        ("[::1]:80", TCPBind("::1", 80)),
        ("[fe80::1%eth0]:80", TCPBind("fe80::1%eth0", 80)),
        ("unix:/run/app.sock", UnixBind("/run/app.sock", 0o660)),
        ("unix:app.sock", UnixBind("app.sock", 0o660)),
        ("unix:/run/app.sock?mode=600", UnixBind("/run/app.sock", 0o600)),
        ("unix:/run/a:80?mode=0666", UnixBind("/run/a:80", 0o666)),
        ("fd:3", FDBind(3)),
        ("systemd", SystemdBind()),
    ],
)
def test_text_of_an_address(text: str, address: Bind) -> None:
    assert parse_bind(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "80",
        ":80",
        "::1:80",
        "[::1]",
        "[]:80",
        "host:",
        "host:http",
        "host:65536",
        "host:-1",
        "http://host:80",
        "unix",
        "unix:",
        "unix:80?",
        "unix:/run/app.sock?mode=",
        "unix:/run/app.sock?mode=888",
        "unix:/run/app.sock?mode=66",
        "unix:/run/app.sock?group=x",
        "unix:/run/a\0b",
        "fd:",
        "fd:-1",
        "fd:stdin",
        "Systemd",
        b"fd:3",
        3,
        None,
    ],
)
def test_other_text_is_refused(text: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^bind: expected host:port, .*, got "):
        parse_bind(text)


def test_several_addresses_are_opened(tmp_path: Path) -> None:
    path = tmp_path / "s"
    opened = ListeningSockets.open([TCPBind("127.0.0.1", 0), UnixBind(str(path), 0o600)])
    assert [bound.family for bound in opened.sockets] == [socket.AF_INET, socket.AF_UNIX]
    assert path.is_socket()
    opened.close()
    assert not path.exists()


def test_nothing_stays_open_if_one_address_can_not_be_had(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = TCPBind(*other.getsockname())
        with pytest.raises(ConfigurationError, match="is in use"):
            ListeningSockets.open([UnixBind(str(path), 0o600), taken])
    assert not path.exists()


def test_inherited_descriptor_is_adopted() -> None:
    bound = socket.create_server(("127.0.0.1", 0))
    os.set_inheritable(bound.fileno(), True)
    address = FDBind(bound.fileno())
    assert address.is_local()
    (adopted,) = address.open()
    assert bound.detach() == adopted.fileno()
    with adopted:
        assert not adopted.get_inheritable()
        assert not adopted.getblocking()
        twice = FDBind(os.dup(adopted.fileno()))
        with pytest.raises(ConfigurationError, match="is named twice"):
            ListeningSockets.open([twice, twice])
    with pytest.raises(ConfigurationError, match="Bad file descriptor"):
        address.open()


@pytest.mark.parametrize("stops", [1, 2])
async def test_inherited_socket_takes_connections_after_a_stop(stops: int) -> None:
    """Another process has it too: systemd keeps it for the next start."""
    with socket.create_server(("127.0.0.1", 0)) as kept:
        for _ in range(stops):
            async with App().serve(bind=(f"fd:{os.dup(kept.fileno())}",)):
                pass
        socket.create_connection(kept.getsockname(), timeout=5).close()


def test_descriptor_that_is_no_listening_socket_is_refused() -> None:
    one, other = socket.socketpair()
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    reading, writing = os.pipe()
    try:
        for number, reason in (
            (one.fileno(), "a connection: in a socket unit set Accept=no"),
            (datagrams.fileno(), "SOCK_DGRAM"),
            (reading, "Socket operation on non-socket"),
        ):
            with pytest.raises(ConfigurationError, match=reason):
                FDBind(number).open()
            os.fstat(number)  # it is still open
    finally:
        for each in (one, other, datagrams):
            each.close()
        os.close(reading)
        os.close(writing)


def test_which_addresses_only_this_machine_reaches() -> None:
    assert TCPBind("localhost", 80).is_local()
    assert not TCPBind("*", 80).is_local()
    assert UnixBind("/run/app.sock", 0o666).is_local()
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        assert not FDBind(everywhere.fileno()).is_local()


def test_systemd_without_its_sockets_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="systemd has passed no socket"):
        SystemdBind().open()
