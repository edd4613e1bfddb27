from __future__ import annotations

import pytest

from microweb import App, ConfigurationError
from microweb.middleware.hosts import AllowedHosts

HOSTS = ["Example.org", "*.example.net", "192.0.2.1", "[2001:DB8::1]", "::1", "localhost"]
HOSTS += ["shop.example:8443", "*.shop.example:8443", "two.example:81", "two.example:82"]
HOSTS += ["[2001:db8::2]:8443", "https.example:443"]


def app_for(hosts: list[str]) -> App:
    app = App()
    app.use(AllowedHosts(hosts))

    @app.get("/")
    async def index() -> str:
        return "hello"

    return app


async def status_of(head: bytes, hosts: list[str] = HOSTS) -> bytes:
    """Return the status of the response to a head, given without its last two line ends."""
    async with app_for(hosts).test_client() as client:
        answer = await client.raw(head + b"\r\nConnection: close\r\n\r\n")
    return answer.split(b" ", 2)[1]


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "EXAMPLE.ORG",
        "example.org:80",
        "example.org:443",
        "example.org:",
        "example.org.",
        "example.org.:443",
        "a.example.net",
        "a.b.example.net",
        "A.Example.Net.:80",
        "under_score.example.net",
        "192.0.2.1",
        "192.0.2.1:80",
        "[2001:db8::1]",
        "[2001:DB8::1]:80",
        "[2001:db8:0:0:0:0:0:1]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]:5000",
        "localhost:5000",
        "localhost:65535",
        "shop.example:8443",
        "a.shop.example:8443",
        "two.example:81",
        "two.example:82",
        "[2001:db8::2]:8443",
        "https.example",
        "https.example:443",
        "a-b.example.net",
        f"{'x' * 63}.example.net",
    ],
)
async def test_own_host_is_served(host: str) -> None:
    assert await status_of(b"GET / HTTP/1.1\r\nHost: " + host.encode()) == b"200"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "example.net",  # the names below the domain, not the domain
        "a.example.org",
        ".example.net",
        "a..example.net",
        "evilexample.net",
        "example.net.evil.example",
        "example.org..",
        "example.org.evil.example",
        "'onclick.example.net",
        "a%2eexample.net",
        "ex%61mple.org",
        "192.0.2.2",
        "[2001:db8::2]",
        "[::ffff:192.0.2.1]",
        "example.org:8080",
        "example.org:0",
        "a.example.net:8080",
        "192.0.2.1:8080",
        "[2001:db8::1]:8080",
        "shop.example",
        "shop.example:443",
        "a.shop.example",
        "a.shop.example:8080",
        "two.example:83",
        "https.example:80",
        "localhost:0",
        "localhost:65536",
        "localhost:99999",
        "-.example.net",
        "-a.example.net",
        "a-.example.net",
        "a.-.example.net",
        f"{'x' * 64}.example.net",
        f"{'x.' * 125}example.net",
    ],
)
async def test_other_host_is_misdirected(host: str) -> None:
    assert await status_of(b"GET / HTTP/1.1\r\nHost: " + host.encode()) == b"421"


async def test_request_without_a_host_is_misdirected() -> None:
    assert await status_of(b"GET / HTTP/1.0\r\nAccept: */*") == b"421"


async def test_authority_of_the_target_goes_before_the_host_field() -> None:
    own, other = b"GET http://example.org/ HTTP/1.1", b"GET http://evil.example/ HTTP/1.1"
    assert await status_of(own + b"\r\nHost: evil.example") == b"200"
    assert await status_of(other + b"\r\nHost: example.org") == b"421"


async def test_forwarded_host_is_not_looked_at() -> None:
    head = b"GET / HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: example.org"
    assert await status_of(head) == b"421"


async def test_refusal_does_not_repeat_the_host() -> None:
    async with app_for(["example.org"]).test_client(base_url="http://evil.example") as client:
        response = await client.get("/")
    assert response.reason_phrase == "Misdirected Request"
    assert "evil" not in response.text


async def test_404_of_another_host_is_misdirected_too() -> None:
    head = b"GET /nowhere HTTP/1.1\r\nHost: "
    assert await status_of(head + b"evil.example") == b"421"
    assert await status_of(head + b"example.org") == b"404"


async def test_one_route_alone_can_be_for_a_host() -> None:
    app = App()

    @app.get("/admin", use=[AllowedHosts(["admin.example.org"])])
    async def admin() -> str:
        return "admin"

    @app.get("/")
    async def index() -> str:
        return "hello"

    async with app.test_client() as client:
        assert (await client.get("/admin")).status_code == 421
        assert (await client.get("/")).status_code == 200
    async with app.test_client(base_url="http://admin.example.org") as client:
        assert (await client.get("/admin")).text == "admin"


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ("example.org", "write ['example.org']"),
        ([], "got none"),
        (["*"], "without a scheme, got '*'"),
        (["*."], "got '*.'"),
        (["https://example.org"], "got 'https://example.org'"),
        (["example.org:"], "got 'example.org:'"),
        (["example.org:0"], "got 'example.org:0'"),
        (["example.org:65536"], "got 'example.org:65536'"),
        (["example.org:http"], "got 'example.org:http'"),
        (["[::1]:"], "got '[::1]:'"),
        (["[::x]"], "got '[::x]'"),
        (["*.[::1]"], "got '*.[::1]'"),
        (["-.example.org"], "got '-.example.org'"),
        (["*.-a.example.org"], "got '*.-a.example.org'"),
        ([".example.org"], "got '.example.org'"),
        (["a.*.org"], "got 'a.*.org'"),
        ([""], "got ''"),
        (["bücher.example"], "write its xn--"),
    ],
)
def test_what_can_be_no_host_is_told_at_once(hosts: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError) as told:
        AllowedHosts(hosts)
    assert message in str(told.value)
