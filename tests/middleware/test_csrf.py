from __future__ import annotations

import pytest

from microweb import App, ConfigurationError
from microweb.middleware.csrf import CSRFProtection

TRUSTED = ["https://accounts.example.org", "http://[2001:db8::1]:8080"]


def protected() -> App:
    app = App()
    app.use(CSRFProtection(TRUSTED))

    @app.route("/", methods=("GET", "POST", "PUT", "PATCH", "DELETE"))
    async def index() -> str:
        return "hello"

    return app


async def status_of(method: str, fields: dict[str, str], *, host: str = "example.org") -> int:
    async with protected().test_client(base_url=f"https://{host}") as client:
        return (await client.request(method, "/", headers=fields)).status_code


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),  # not a browser
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": ""}, 403),
        ({"Sec-Fetch-Site": "Same-Origin"}, 403),  # browsers send it in lower case
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://example.org"}, 403),
        ({"Origin": "https://example.org"}, 200),
        ({"Origin": "http://example.org"}, 200),  # a proxy that ends TLS hides the scheme
        ({"Origin": "https://EXAMPLE.org"}, 200),
        ({"Origin": "https://example.org:8443"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "https://example.org.evil.example"}, 403),
        ({"Origin": "https://evil.example/example.org"}, 403),
        ({"Origin": "https://evil@example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "example.org"}, 403),
        ({"Origin": "https://example.org, https://example.org"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://accounts.example.org"}, 200),
        ({"Sec-Fetch-Site": "same-site", "Origin": "https://accounts.example.org"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://accounts.example.org"}, 403),
        ({"Origin": "https://accounts.example.org"}, 200),
        ({"Origin": "http://[2001:db8::1]:8080"}, 200),
        ({"Origin": "http://[2001:db8::1]"}, 403),
    ],
)
async def test_what_may_change_something(fields: dict[str, str], status: int) -> None:
    assert await status_of("POST", fields) == status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY"])
async def test_methods_that_change_something_are_looked_at(method: str) -> None:
    assert await status_of(method, {"Sec-Fetch-Site": "cross-site"}) == 403


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("OPTIONS", 204)])
async def test_safe_methods_pass(method: str, status: int) -> None:
    fields = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    assert await status_of(method, fields) == status


async def test_method_that_is_safe_by_another_specification_is_looked_at() -> None:
    assert await status_of("PROPFIND", {"Sec-Fetch-Site": "cross-site"}) == 403


async def test_port_is_compared() -> None:
    origin = {"Origin": "https://example.org:8443"}
    assert await status_of("POST", origin, host="example.org:8443") == 200
    assert (
        await status_of("POST", {"Origin": "https://example.org"}, host="example.org:8443") == 403
    )


async def test_repeated_field_does_not_pass() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n"
    twice = b"Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n\r\n"
    async with protected().test_client() as client:
        assert (await client.raw(head + twice)).startswith(b"HTTP/1.1 403 ")


async def test_origin_without_host_is_not_that_of_a_request_without_host() -> None:
    head = b"POST / HTTP/1.0\r\nOrigin: http://\r\nContent-Length: 0\r\n\r\n"
    async with protected().test_client() as client:
        assert (await client.raw(head)).startswith(b"HTTP/1.1 403 ")


async def test_refusal_says_why_and_repeats_nothing() -> None:
    fields = {"Origin": "https://evil.example", "Accept": "application/json"}
    async with protected().test_client() as client:
        response = await client.post("/", headers=fields)
    assert response.json()["detail"].startswith("another site's page sent this request")
    assert "evil" not in response.text


async def test_one_route_alone_can_be_protected() -> None:
    app = App()

    @app.post("/pay", use=[CSRFProtection()])
    async def pay() -> str:
        return "paid"

    @app.post("/hook")
    async def hook() -> str:
        return "heard"

    async with app.test_client() as client:
        cross_site = {"Sec-Fetch-Site": "cross-site"}
        assert (await client.post("/pay", headers=cross_site)).status_code == 403
        assert (await client.post("/hook", headers=cross_site)).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "example.org",
        "https://example.org/",
        "https://Example.org",
        "https://example.org:443",
        "http://[::1]:80",
        "https://*.example.org",
        "https://user@example.org",
        "null",
        "*",
        "",
    ],
)
def test_what_is_no_origin_as_browsers_write_it_is_told_at_once(origin: str) -> None:
    with pytest.raises(ConfigurationError, match="an origin as browsers write it"):
        CSRFProtection([origin])


def test_one_origin_by_itself_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"write \['https://example\.org'\]"):
        CSRFProtection("https://example.org")
