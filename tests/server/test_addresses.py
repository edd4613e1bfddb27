from __future__ import annotations

import pytest

from microweb.server.addresses import network_of


@pytest.mark.parametrize(
    ("host", "other", "are_one"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("/run/socket", "", False),
    ],
)
def test_addresses_of_one_client(host: str, other: str, are_one: bool) -> None:
    assert (network_of(host) == network_of(other)) is are_one
