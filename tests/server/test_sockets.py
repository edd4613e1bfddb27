from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from support.processes import DEADLINE_S

from microweb import App
from microweb.errors import ConfigurationError
from microweb.server.sockets import bind, has_ended, is_loopback, unsent_bytes, url_of

PLAIN_SOCKET = socket.socket


def has_ipv6() -> bool:
    try:
        with PLAIN_SOCKET(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@contextmanager
def listening(host: str, port: int = 0) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(bound) for bound in bind(host, port)]
        for bound in sockets:
            bound.listen(16)
        yield sockets


def refuse_family(monkeypatch: pytest.MonkeyPatch, refused: int, number: int) -> None:
    """Make sockets of a family fail like on a machine without it."""

    class Socket(PLAIN_SOCKET):
        def __init__(self, family: int = -1, *arguments: int, **options: int) -> None:
            if family == refused:
                raise OSError(number, os.strerror(number))
            super().__init__(family, *arguments, **options)

    monkeypatch.setattr(socket, "socket", Socket)


def refuse_bind(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    class Socket(PLAIN_SOCKET):
        def bind(self, address: object) -> None:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "socket", Socket)


# --- which sockets a host stands for --------------------------------------------------


@needs_ipv6
def test_localhost_is_both_loopback_addresses_on_one_port() -> None:
    with listening("localhost") as bound:
        names = [each.getsockname()[:2] for each in bound]
    port = names[0][1]
    assert names == [("127.0.0.1", port), ("::1", port)]
    assert port > 0


def test_address_is_one_socket() -> None:
    with listening("127.0.0.1") as bound:
        assert [each.getsockname()[0] for each in bound] == ["127.0.0.1"]


@needs_ipv6
def test_any_ipv6_is_dual_stack() -> None:
    with listening("::") as (bound,):
        port = bound.getsockname()[1]
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, port), 5).close()


@needs_ipv6
def test_one_ipv6_address_is_not_dual_stack() -> None:
    with listening("::1") as (bound,):
        assert bound.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def test_any_ipv4_is_ipv4_alone() -> None:
    with listening("0.0.0.0") as bound:
        assert [each.family for each in bound] == [socket.AF_INET]


def test_sockets_do_not_block() -> None:
    with listening("localhost") as bound:
        assert [each.getblocking() for each in bound] == [False] * len(bound)


def test_port_zero_is_tried_again_where_the_other_family_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = [errno.EADDRINUSE, errno.EADDRINUSE]

    class Socket(PLAIN_SOCKET):
        def bind(self, address: tuple[str, int]) -> None:
            if self.family == socket.AF_INET6 and taken:
                raise OSError(taken.pop(), "in use")
            if self.family == socket.AF_INET:
                super().bind(address)

        def listen(self, backlog: int = 0) -> None: ...

    monkeypatch.setattr(socket, "socket", Socket)
    with listening("localhost") as bound:
        assert len(bound) == 2
    assert taken == []


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_localhost_without_ipv6_is_ipv4(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    refuse_family(monkeypatch, socket.AF_INET6, number)
    with listening("localhost") as bound:
        assert [each.getsockname()[0] for each in bound] == ["127.0.0.1"]


@needs_ipv6
def test_localhost_without_ipv4_is_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_family(monkeypatch, socket.AF_INET, errno.EAFNOSUPPORT)
    with listening("localhost") as bound:
        assert [each.getsockname()[0] for each in bound] == ["::1"]


async def test_machine_without_ipv6_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_family(monkeypatch, socket.AF_INET6, errno.EAFNOSUPPORT)
    app = App()

    @app.get("/")
    async def index() -> str:
        return "hello"

    async with app.serve(port=0) as server:
        assert server.url.startswith("http://127.0.0.1:")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url[17:]))
        writer.write(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        assert (await reader.read()).endswith(b"hello")
        writer.close()


# --- what is in the way ---------------------------------------------------------------


def test_busy_port_is_named() -> None:
    with listening("127.0.0.1") as (bound,):
        port = bound.getsockname()[1]
        with pytest.raises(ConfigurationError) as caught, listening("127.0.0.1", port):
            pass
    holder = " by this process" if sys.platform == "linux" else ""
    assert str(caught.value) == f"port {port} on 127.0.0.1 is in use{holder}: choose another port"


@needs_ipv6
@pytest.mark.parametrize("taken", ["127.0.0.1", "::1"])
def test_localhost_is_busy_where_one_of_both_is(taken: str) -> None:
    with listening(taken) as (bound,):
        port = bound.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} .* is in use"):
            bind("localhost", port)
        if taken == "::1":  # the port that was free is free again
            with listening("127.0.0.1", port):
                pass


@pytest.mark.parametrize(
    ("platform", "port", "is_named"),
    [("darwin", 5000, True), ("darwin", 5001, False), ("linux", 5000, False)],
)
def test_airplay_is_named_on_macos(
    monkeypatch: pytest.MonkeyPatch, platform: str, port: int, is_named: bool
) -> None:
    refuse_bind(monkeypatch, errno.EADDRINUSE)
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(ConfigurationError) as caught:
        bind("127.0.0.1", port)
    assert ("AirPlay Receiver" in str(caught.value)) is is_named
    assert f"port {port} on 127.0.0.1 is in use" in str(caught.value)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EACCES, "this user may not listen on port 80 of 127.0.0.1: choose a port from 1024"),
        (errno.EADDRNOTAVAIL, "host '127.0.0.1' is not an address of this machine"),
        (errno.ENOBUFS, f"can't listen on 127.0.0.1 port 80: {os.strerror(errno.ENOBUFS)}"),
    ],
)
def test_fault_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    refuse_bind(monkeypatch, number)
    with pytest.raises(ConfigurationError) as caught:
        bind("127.0.0.1", 80)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("host", ["", "no such host", "999.0.0.1", "a\0b", "x" * 300, "[::1]"])
def test_host_that_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="is not an address of this machine"):
        bind(host, 0)


@needs_ipv6
def test_star_is_every_address() -> None:
    with listening("*") as (bound,):
        port = bound.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port), timeout=DEADLINE_S):
                pass


def test_star_is_every_address_of_ipv4_where_ipv6_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse_family(monkeypatch, socket.AF_INET6, errno.EAFNOSUPPORT)
    with listening("*") as (bound,):
        assert bound.getsockname()[0] == "0.0.0.0"


def test_star_is_not_this_machine_alone() -> None:
    assert not is_loopback("*")


def link_local() -> str:
    """Return a link-local address of this machine with its interface, or an empty text."""
    try:
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    except OSError:
        return ""
    for digits, *_, scope, _, interface in map(str.split, lines):
        if scope == "20":
            return f"{ip_address(int(digits, 16))}%{interface}"
    return ""


@pytest.mark.skipif(not link_local(), reason="this machine has no link-local address")
def test_link_local_address_has_an_interface() -> None:
    host = link_local()
    with listening(host) as (bound,):
        place = bound.getsockname()
        assert url_of(bound) == f"http://[{host.replace('%', '%25')}]:{place[1]}"
        with socket.create_connection((host, place[1]), timeout=DEADLINE_S):
            pass


# --- loopback, URLs -------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1"])
def test_other_addresses_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_url_of_ipv4() -> None:
    with listening("127.0.0.1") as (bound,):
        assert url_of(bound) == f"http://127.0.0.1:{bound.getsockname()[1]}"


def test_url_of_a_server_with_certificates() -> None:
    with listening("127.0.0.1") as (bound,):
        assert url_of(bound, "https") == f"https://127.0.0.1:{bound.getsockname()[1]}"


@needs_ipv6
def test_url_of_ipv6_has_brackets() -> None:
    with listening("::1") as (bound,):
        assert url_of(bound) == f"http://[::1]:{bound.getsockname()[1]}"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count otherwise, or not at all")
@pytest.mark.skipif(not hasattr(select, "POLLRDHUP"), reason="the system does not tell")
def test_end_is_seen_behind_what_is_unread() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"unread")
        assert not has_ended(ours)
        theirs.shutdown(socket.SHUT_WR)
        assert has_ended(ours)
        assert ours.recv(9) == b"unread"


def test_unsent_bytes_fall_as_the_peer_reads() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        connected, _ = server.accept()
    with peer, connected:
        assert unsent_bytes(connected) == 0
        connected.setblocking(False)
        peer.settimeout(DEADLINE_S)
        with pytest.raises(BlockingIOError):
            while True:
                connected.send(bytes(1 << 20))
        held = unsent_bytes(connected)
        assert held > 0
        while unsent_bytes(connected) >= held:
            assert peer.recv(1 << 20)
    assert unsent_bytes(connected) == 0  # a closed socket
