"""The values that a request uses: addresses, and limits inside limits."""

from __future__ import annotations

import pytest

from microweb.http.interfaces import Address, BodyLimits


def test_address_is_a_host_and_a_port() -> None:
    address = Address("127.0.0.1", 8000)
    assert address == ("127.0.0.1", 8000)
    assert (address.host, address.port) == ("127.0.0.1", 8000)


def test_limits_of_a_route_go_before_those_of_its_app() -> None:
    route = BodyLimits(max_body=10)
    app = BodyLimits(max_body=100, max_json=50)
    outer = BodyLimits(max_body=1000, max_json=500, max_json_values=5)
    assert route.inside(app) == BodyLimits(10, 50, None)
    assert route.inside(app).inside(outer) == BodyLimits(10, 50, 5)
    assert route.inside(app.inside(outer)) == BodyLimits(10, 50, 5)


def test_limit_of_0_is_a_limit() -> None:
    assert BodyLimits(max_body=0, max_json=0, max_json_values=0).inside(
        BodyLimits(max_body=1, max_json=1, max_json_values=1)
    ) == BodyLimits(0, 0, 0)


def test_limits_can_be_shared_by_requests() -> None:
    with pytest.raises(AttributeError):
        BodyLimits().max_body = 5  # type: ignore[misc]
