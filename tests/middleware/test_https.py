from __future__ import annotations

import logging

import httpx
import pytest

from microweb import App, Request
from microweb.middleware.hosts import AllowedHosts
from microweb.middleware.https import HTTPSRedirect
from microweb.testing.transport import MemoryTransport


def redirecting() -> App:
    app = App()
    app.use(HTTPSRedirect())

    @app.route("/", methods=("GET", "POST"))
    async def index(request: Request) -> str:
        return request.scheme

    return app


async def raw(head: bytes, app: App | None = None) -> bytes:
    async with (app or redirecting()).test_client() as client:
        return await client.raw(head + b"\r\nConnection: close\r\n\r\n")


def location(answer: bytes) -> str:
    assert answer.startswith(b"HTTP/1.1 308 Permanent Redirect\r\n")
    return str(answer.split(b"Location: ")[1].split(b"\r\n")[0], "ascii")


@pytest.mark.parametrize(
    ("target", "host", "url"),
    [
        ("/", "example.org", "https://example.org/"),
        (
            "/a%20b/%2e%2e?x=1&y=%0d%0a",
            "example.org",
            "https://example.org/a%20b/%2e%2e?x=1&y=%0d%0a",
        ),
        ("/nowhere", "Example.ORG:8080", "https://example.org/nowhere"),
        ("//evil.example/", "example.org", "https://example.org//evil.example/"),
        ("/@evil.example", "example.org", "https://example.org/@evil.example"),
        ("/\\evil.example", "example.org", "https://example.org/%5Cevil.example"),
        ("/", "[2001:db8::1]:80", "https://[2001:db8::1]/"),
        ("http://example.org?a=b", "evil.example", "https://example.org/?a=b"),
    ],
)
async def test_http_is_sent_to_the_same_place_by_https(target: str, host: str, url: str) -> None:
    assert location(await raw(f"GET {target} HTTP/1.1\r\nHost: {host}".encode())) == url


async def test_redirect_of_a_post_keeps_its_method() -> None:
    async with redirecting().test_client(base_url="http://example.org") as client:
        response = await client.post("/", content=b"secret")
        assert response.status_code == 308
        follow = await client.send(response.next_request)  # type: ignore[arg-type]
    assert (follow.request.method, follow.text) == ("POST", "https")


async def test_options_of_the_server_has_no_path_to_redirect_to() -> None:
    answer = await raw(b"OPTIONS * HTTP/1.1\r\nHost: example.org")
    assert location(answer) == "https://example.org"


async def test_https_passes() -> None:
    async with redirecting().test_client(base_url="https://example.org") as client:
        assert (await client.get("/")).text == "https"


@pytest.mark.parametrize("host", ["localhost", "app.localhost:5000", "127.0.0.1:5000", "[::1]"])
async def test_this_machine_needs_no_https(host: str) -> None:
    answer = await raw(f"GET / HTTP/1.1\r\nHost: {host}".encode())
    assert answer.endswith(b"\r\nhttp")


@pytest.mark.parametrize("host", ["localhost.evil.example", "evillocalhost", "127.0.0.2"])
async def test_names_that_look_like_this_machine_are_redirected(host: str) -> None:
    assert location(await raw(f"GET / HTTP/1.1\r\nHost: {host}".encode())) == f"https://{host}/"


async def test_without_a_host_there_is_nowhere_to_go() -> None:
    for head in (b"GET / HTTP/1.0\r\nAccept: */*", b"GET / HTTP/1.1\r\nHost:"):
        assert (await raw(head)).startswith(b"HTTP/1.1 400 ")


async def test_behind_allowed_hosts_it_sends_nobody_elsewhere() -> None:
    app = App()
    app.use(AllowedHosts(["example.org"]))
    app.use(HTTPSRedirect())
    assert (
        location(await raw(b"GET / HTTP/1.1\r\nHost: example.org", app)) == "https://example.org/"
    )
    answer = await raw(b"GET / HTTP/1.1\r\nHost: evil.example", app)
    assert answer.startswith(b"HTTP/1.1 421 ") and b"Location" not in answer


@pytest.mark.parametrize(("said", "status"), [("https", 200), ("http", 308), ("https, http", 308)])
async def test_trusted_proxy_says_the_scheme(
    said: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    transport = MemoryTransport(redirecting(), trusted_proxies=("127.0.0.0/8",))
    async with httpx.AsyncClient(transport=transport, base_url="http://example.org") as client:
        response = await client.get("/", headers={"X-Forwarded-Proto": said})
    assert response.status_code == status
    assert caplog.records == []


async def test_proxy_that_nobody_trusts_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async with redirecting().test_client(base_url="http://example.org") as client:
        assert (await client.get("/")).status_code == 308
        assert caplog.records == []
        for _ in range(2):
            response = await client.get("/", headers={"X-Forwarded-Proto": "https"})
            assert response.status_code == 308
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("microweb.app", logging.WARNING)
    assert "trusted_proxies" in record.getMessage()
