"""The host of a request: a name, an IPv4 address or an IPv6 address, and a port."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.http.hosts import is_host, is_host_value, with_port


@given(st.ip_addresses(v=6), st.integers(0, 65535))
def test_every_ipv6_address_is_a_host(address: object, port: int) -> None:
    assert is_host(f"[{address}]:{port}")
    assert not is_host(f"{address}]:{port}")


@given(st.text(max_size=20))
def test_a_host_splits_nothing(text: str) -> None:
    if is_host(text):
        assert text.isascii()
        assert not set(text) & set(' \t\r\n/?#@\\,"<>')


def test_a_host_field_may_be_empty_and_padded() -> None:
    assert is_host_value(b"") and is_host_value(b" \t") and is_host_value(b" a.test:80\t")
    assert not is_host_value(b"a b") and not is_host_value(b"%zz")


@pytest.mark.parametrize(
    ("host", "port", "scheme", "expected"),
    [
        ("example.org", 443, "https", "example.org"),
        ("example.org", 80, "http", "example.org"),
        ("example.org", 443, "http", "example.org:443"),
        ("example.org:8000", 443, "https", "example.org"),
        ("example.org:8000", 8443, "https", "example.org:8443"),
        ("[::1]:8000", 8443, "https", "[::1]:8443"),
        ("[::1]", 443, "https", "[::1]"),
    ],
)
def test_a_host_with_another_port(host: str, port: int, scheme: str, expected: str) -> None:
    assert with_port(host, port, scheme) == expected
