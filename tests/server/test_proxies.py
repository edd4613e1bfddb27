from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import httpx
import pytest

from microweb import App, Request
from microweb.http.headers import Headers
from microweb.http.interfaces import Address
from microweb.server.proxies import TrustedProxies
from microweb.testing.transport import MemoryTransport

PROXIES = TrustedProxies(["10.0.0.0/8", "2001:db8:1::/48"])
PROXY = Address("10.0.0.1", 4000)
STRANGER = Address("203.0.113.9", 4000)


def client(forwarded_for: str, peer: Address | None = PROXY) -> Address | None:
    headers = Headers([("X-Forwarded-For", forwarded_for)])
    return PROXIES.origin_of(peer, "http", headers)[0]


def scheme(*forwarded: str, peer: Address = PROXY, own: str = "http") -> str:
    headers = Headers([("X-Forwarded-Proto", value) for value in forwarded])
    return PROXIES.origin_of(peer, own, headers)[1]


def test_no_network_is_falsy() -> None:
    assert not TrustedProxies(())
    assert PROXIES


@pytest.mark.parametrize(
    ("forwarded_for", "expected"),
    [
        ("192.0.2.1", Address("192.0.2.1", 0)),
        ("192.0.2.1:51234", Address("192.0.2.1", 51234)),
        ("2001:db8::7", Address("2001:db8::7", 0)),
        ("[2001:db8::7]", Address("2001:db8::7", 0)),
        ("[2001:db8::7]:443", Address("2001:db8::7", 443)),
        ("2001:DB8:0:0::7", Address("2001:db8::7", 0)),
        ("::ffff:192.0.2.1", Address("192.0.2.1", 0)),
        ("[::ffff:192.0.2.1]:80", Address("192.0.2.1", 80)),
        ("  192.0.2.1\t", Address("192.0.2.1", 0)),
    ],
)
def test_client_is_what_the_proxy_says(forwarded_for: str, expected: Address) -> None:
    assert client(forwarded_for) == expected


@pytest.mark.parametrize(
    "forwarded_for",
    [
        "6.6.6.6, 192.0.2.1",
        "10.0.0.9, 192.0.2.1",
        "6.6.6.6, 192.0.2.1, 10.0.0.2",
        "6.6.6.6, 192.0.2.1, 10.0.0.2, 2001:db8:1::5",
        "garbage, 192.0.2.1, [2001:db8:1::5]:80, 10.0.0.2:81",
        "192.0.2.1, , 10.0.0.2,",
        "192.0.2.1, ::ffff:10.0.0.2",
    ],
)
def test_client_is_the_rightmost_that_is_untrusted(forwarded_for: str) -> None:
    assert client(forwarded_for) == Address("192.0.2.1", 0)


def test_repeated_field_is_one_list() -> None:
    headers = Headers([("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "192.0.2.1")])
    assert PROXIES.origin_of(PROXY, "http", headers)[0] == Address("192.0.2.1", 0)


def test_leftmost_is_the_client_where_all_are_trusted() -> None:
    assert client("10.0.0.3, 10.0.0.2") == Address("10.0.0.3", 0)


def test_no_more_hops_are_looked_at_than_a_chain_has() -> None:
    """To parse all 3,400 blocked the event loop for 33 ms each time."""
    looked_at = 0

    class Counting(TrustedProxies):
        def _trusts(self, address: IPv4Address | IPv6Address | None) -> bool:
            nonlocal looked_at
            looked_at += 1
            return super()._trusts(address)

    headers = Headers([("X-Forwarded-For", "192.0.2.1" + ",10.0.0.2" * 3400)])
    found = Counting(["10.0.0.0/8"]).origin_of(PROXY, "http", headers)
    assert found == (Address("10.0.0.2", 0), "http")
    assert looked_at == 33


@pytest.mark.parametrize(("hops", "host"), [(31, "192.0.2.1"), (32, "10.0.0.2")])
def test_client_in_front_of_a_long_chain(hops: int, host: str) -> None:
    assert client("192.0.2.1" + ", 10.0.0.2" * hops) == Address(host, 0)


async def test_client_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    find = TrustedProxies.origin_of

    def count(*given: Any) -> tuple[Address | None, str]:
        looks.append(1)
        return find(*given)

    monkeypatch.setattr(TrustedProxies, "origin_of", count)
    app = App()

    @app.get("/")
    async def who(request: Request) -> str:
        assert request.client is request.client
        return f"{request.client.host} {request.scheme} {request.url}"  # type: ignore[union-attr]

    transport = MemoryTransport(app, trusted_proxies="127.0.0.0/8")
    async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        for host in ("192.0.2.1", "192.0.2.2"):
            headers = {"X-Forwarded-For": host, "X-Forwarded-Proto": "https"}
            answer = await client.get("/", headers=headers)
            assert answer.text == f"{host} https https://a/"
    assert len(looks) == 2


@pytest.mark.parametrize("forwarded_for", ["", ",", " , ,"])
def test_proxy_that_says_nothing_is_the_client(forwarded_for: str) -> None:
    assert client(forwarded_for) == PROXY


@pytest.mark.parametrize(
    "garbage",
    [
        "unknown",
        "_hidden",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.1:",
        "192.0.2.1:port",
        "192.0.2.1:65536",
        "192.0.2.1:-1",
        "192.0.2.1:\u0661",
        "192.0.2.1:80:80",
        "[2001:db8::7",
        "2001:db8::7]",
        "[2001:db8::7]80",
        "[2001:db8::7]:",
        "[2001:db8::7]:x",
        "[[::1]]",
        "[]",
        "010.1.1.1",
        "192.0.2.1/24",
        '"192.0.2.1"',
        "for=192.0.2.1",
        "fe80::1%eth0",  # a zone has no meaning on another machine, and may be any text
        "2001:db8::7%\x9b2J GET",
        "[fe80::1%25eth0]:80",
    ],
)
def test_garbage_is_not_believed_and_ends_the_search(garbage: str) -> None:
    headers = {"x-forwarded-for": f"6.6.6.6, {garbage}, 10.0.0.2"}

    class Fields(Headers):  # real fields refuse values that HTTP cannot carry
        def get(self, name: str, default: object = None, /) -> str:  # type: ignore[override]
            return headers.get(name, "")

    assert PROXIES.origin_of(PROXY, "http", Fields())[0] == Address("10.0.0.2", 0)


@pytest.mark.parametrize(
    "peer", [STRANGER, Address("2001:db8:2::1", 1), Address("uid=33", 0), Address("", 0), None]
)
def test_stranger_is_not_believed(peer: Address | None) -> None:
    headers = Headers({"X-Forwarded-For": "10.0.0.7", "X-Forwarded-Proto": "https"})
    assert PROXIES.origin_of(peer, "http", headers) == (peer, "http")


def test_peer_over_a_unix_socket_is_believed_if_unix_is_trusted() -> None:
    proxies = TrustedProxies(["unix"])
    assert proxies
    headers = Headers({"X-Forwarded-For": "uid=0, 192.0.2.1", "X-Forwarded-Proto": "https"})
    peer = Address("uid=33", 0)
    assert proxies.origin_of(peer, "http", headers) == (Address("192.0.2.1", 0), "https")
    assert proxies.origin_of(STRANGER, "http", headers) == (STRANGER, "http")
    forged = Headers({"X-Forwarded-For": "6.6.6.6, uid=33"})  # no field can name such a peer
    assert proxies.origin_of(peer, "http", forged) == (peer, "http")


def test_stranger_that_says_it_is_a_proxy_is_the_client() -> None:
    assert client("10.0.0.1, 10.0.0.2", STRANGER) == STRANGER


@pytest.mark.parametrize("host", ["::ffff:10.0.0.1", "2001:db8:1::9"])
def test_proxy_is_known_by_its_ipv6_forms(host: str) -> None:
    assert client("192.0.2.1", Address(host, 1)) == Address("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        (["https"], "https"),
        (["HTTPS"], "https"),
        (["wss"], "https"),  # Traefik sends this for a WebSocket
        (["http"], "http"),
        (["https, http"], "http"),
        (["http, https"], "https"),
        (["http", "https"], "https"),
        (["javascript"], "http"),
        (["https, gopher"], "http"),
        ([""], "http"),
        ([], "http"),
    ],
)
def test_scheme_is_what_the_last_proxy_says(forwarded: list[str], expected: str) -> None:
    assert scheme(*forwarded) == expected


def test_proxy_may_say_that_tls_is_its_own() -> None:
    assert scheme("http", own="https") == "http"
    assert scheme("ws", own="https") == "http"
    assert scheme("gopher", own="https") == "https"


@pytest.mark.parametrize(
    ("trusted", "expected"),
    [((), "127.0.0.1 http"), (("127.0.0.0/8",), "192.0.2.1 https"), (("::1",), "127.0.0.1 http")],
)
async def test_request_follows_the_configuration(trusted: tuple[str, ...], expected: str) -> None:
    app = App()

    @app.get("/")
    async def who(request: Request) -> str:
        assert request.client is not None and request.peer is not None
        assert request.peer.host == "127.0.0.1"
        return f"{request.client.host} {request.scheme}"

    async with app.serve(host="127.0.0.1", port=0, trusted_proxies=trusted) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(
            b"GET / HTTP/1.0\r\nHost: x\r\n"
            b"X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\r\n"
        )
        answer = await reader.read()
        writer.close()
    assert answer.partition(b"\r\n\r\n")[2].decode() == expected
