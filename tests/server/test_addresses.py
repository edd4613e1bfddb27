from __future__ import annotations

import pytest

from microweb.http.interfaces import Address
from microweb.server.addresses import address_of_user, is_unix, network_of


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


def test_user_of_a_unix_socket_is_an_address() -> None:
    assert address_of_user(33) == Address("uid=33", 0)
    assert address_of_user(None) == Address("uid=", 0)
    assert is_unix(address_of_user(33)) and is_unix(address_of_user(None))
    assert not is_unix(Address("127.0.0.1", 33))
