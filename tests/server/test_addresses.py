from __future__ import annotations

import socket

import httpx
import pytest
from support.serving import on_loopback

from microweb import App, Request
from microweb.http.interfaces import Address
from microweb.server.addresses import (
    UntrustedAddress,
    address_of_peer,
    address_of_user,
    is_unix,
    network_of,
)


@pytest.mark.parametrize(
    ("host", "other", "are_one"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("uid=33", "uid=0", False),
    ],
)
def test_addresses_of_one_client(host: str, other: str, are_one: bool) -> None:
    assert (network_of(host) == network_of(other)) is are_one


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:0:1", "::ffff:0:1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_peer_of_a_dual_stack_socket_has_its_ipv4_address(host: str, shown: str) -> None:
    assert address_of_peer(host, 4711) == Address(shown, 4711)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs a dual-stack socket")
async def test_client_of_all_addresses_is_shown_by_its_ipv4_address() -> None:
    app = App()

    @app.get("/")
    async def index(request: Request) -> str:
        return request.client.host if request.client else ""

    async with on_loopback(app, host="*") as server, httpx.AsyncClient() as client:
        port = server.sockets[0].getsockname()[1]
        assert (await client.get(f"http://127.0.0.1:{port}/")).text == "127.0.0.1"


def test_user_of_a_unix_socket_is_an_address() -> None:
    assert address_of_user(33) == Address("uid=33", 0)
    assert address_of_user(None) == Address("uid=", 0)
    assert is_unix(address_of_user(33)) and is_unix(address_of_user(None))
    assert not is_unix(Address("127.0.0.1", 33))


def test_untrusted_address_is_an_address() -> None:
    address = UntrustedAddress("192.0.2.1", 80)
    assert address == Address("192.0.2.1", 80) and not hasattr(address, "__dict__")


@pytest.mark.parametrize("host", ["192.0.2.1:5678", "a:b", "::1::"])
def test_other_text_with_a_colon_is_its_own_network(host: str) -> None:
    assert network_of(host) == host
