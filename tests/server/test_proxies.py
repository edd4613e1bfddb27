from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import httpx
import pytest

from microweb import App, ConfigurationError, Request, Response
from microweb.errors import MalformedRequest
from microweb.http.headers import Headers
from microweb.http.interfaces import Address, Origin
from microweb.interop.asgi_scope import http_scope
from microweb.middleware.sessions import Sessions
from microweb.server.config import ServerConfig
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
    assert found == Origin(Address("10.0.0.2", 0), "http")
    assert looked_at == 33


@pytest.mark.parametrize(("hops", "host"), [(31, "192.0.2.1"), (32, "10.0.0.2")])
def test_client_in_front_of_a_long_chain(hops: int, host: str) -> None:
    assert client("192.0.2.1" + ", 10.0.0.2" * hops) == Address(host, 0)


async def test_client_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    find = TrustedProxies.origin_of

    def count(*given: Any) -> Origin:
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
    assert PROXIES.origin_of(peer, "http", headers) == Origin(peer, "http")


def test_peer_over_a_unix_socket_is_believed_if_unix_is_trusted() -> None:
    proxies = TrustedProxies(["unix"])
    assert proxies
    headers = Headers({"X-Forwarded-For": "uid=0, 192.0.2.1", "X-Forwarded-Proto": "https"})
    peer = Address("uid=33", 0)
    assert proxies.origin_of(peer, "http", headers) == Origin(Address("192.0.2.1", 0), "https")
    assert proxies.origin_of(STRANGER, "http", headers) == Origin(STRANGER, "http")
    forged = Headers({"X-Forwarded-For": "6.6.6.6, uid=33"})  # no field can name such a peer
    assert proxies.origin_of(peer, "http", forged) == Origin(peer, "http")


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


# --- host, port and prefix

ALL = TrustedProxies(["10.0.0.0/8"], ["x-forwarded"])
CLIENT = Address("192.0.2.1", 0)


def origin(
    *fields: tuple[str, str], proxies: TrustedProxies = ALL, peer: Address = PROXY
) -> Origin:
    headers = Headers([("Host", "app:8000"), *((f"X-Forwarded-{n}", v) for n, v in fields)])
    return proxies.origin_of(peer, "http", headers)


def test_host_port_and_prefix_are_ignored_unless_they_are_named() -> None:
    """Most proxies pass them on as the client has sent them."""
    fields = ("For", "192.0.2.1"), ("Host", "evil.example"), ("Port", "1"), ("Prefix", "/evil")
    assert origin(*fields, proxies=PROXIES) == Origin(CLIENT, "http")
    only_host = TrustedProxies(["10.0.0.0/8"], ["x-forwarded-host"])
    assert origin(*fields, proxies=only_host) == Origin(PROXY, "http", "evil.example")
    nothing = TrustedProxies(["10.0.0.0/8"], [])
    assert origin(*fields, proxies=nothing) == Origin(PROXY, "http")


def test_all_fields_of_one_proxy() -> None:
    found = origin(
        ("For", "192.0.2.1"),
        ("Proto", "https"),
        ("Host", "example.org"),
        ("Port", "8443"),
        ("Prefix", "/shop"),
    )
    assert found == Origin(CLIENT, "https", "example.org:8443", "/shop")


def test_a_stranger_is_not_believed_in_any_field() -> None:
    fields = ("Host", "evil.example"), ("Port", "1"), ("Prefix", "/evil")
    assert origin(*fields, peer=STRANGER) == Origin(STRANGER, "http")


@pytest.mark.parametrize(
    ("fields", "host"),
    [
        ([("Host", "[2001:db8::1]"), ("Port", "81")], "[2001:db8::1]:81"),
        ([("Host", "example.org:444")], "example.org:444"),
        ([("Host", "a b"), ("Port", "99999")], None),
        ([("Host", "user@evil.example")], None),
        ([("Host", "example.org"), ("Port", "0")], "example.org"),
        ([("Host", "")], None),
    ],
)
def test_host_and_port(fields: list[tuple[str, str]], host: str | None) -> None:
    assert origin(*fields).host == host


@pytest.mark.parametrize(
    ("target", "host", "port", "expected"),
    [
        ("/", "app:8000", "8443", "app:8443"),
        ("/", "app:8000", "443", "app"),
        ("/", "app:8000", "0", "app:8000"),
        ("/", "", "443", ""),
        # Host counts for nothing beside the host of a target. RFC 9112 section 3.2.2
        ("http://shop.example:8000/", "evil.example", "8443", "shop.example:8443"),
        ("http://shop.example/", "evil.example", "443", "shop.example"),
    ],
)
async def test_port_alone(target: str, host: str, port: str, expected: str) -> None:
    app = App()
    scopes: list[dict[str, Any]] = []

    @app.get("/")
    async def show(request: Request) -> str:
        scopes.append(http_scope(request, {}))
        return request.host

    trusted = "x-forwarded-proto", "x-forwarded-port"
    async with app.serve(
        host="127.0.0.1", port=0, trusted_proxies=("127.0.0.1",), trust_headers=trusted
    ) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Port: {port}\r\n"
        writer.write(f"{head}X-Forwarded-Proto: https\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    assert answer.partition(b"\r\n\r\n")[2].decode() == expected
    assert dict(scopes[0]["headers"])[b"host"] == expected.encode()


def test_two_proxies_that_append() -> None:
    """The client's own proxy knows its scheme and its host."""
    fields = [
        ("For", "6.6.6.6, 192.0.2.1, 10.0.0.2"),
        ("Proto", "gopher, https, http"),
        ("Host", "evil.example, example.org, inner"),
        ("Port", "1, 443, 8000"),
    ]
    assert origin(*fields) == Origin(CLIENT, "https", "example.org")


def test_two_proxies_of_which_the_last_replaces_the_scheme() -> None:
    assert origin(("For", "192.0.2.1, 10.0.0.2"), ("Proto", "https")) == Origin(CLIENT, "https")


def test_only_the_last_prefix_counts() -> None:
    """A proxy that removes none does not know the field, and passes on that of the client."""
    assert origin(("For", "192.0.2.1, 10.0.0.2"), ("Prefix", "/evil, /shop")).root_path == "/shop"


@pytest.mark.parametrize("name", ["for", "FOR", "For"])
def test_the_names_of_fields_are_in_any_case(name: str) -> None:
    assert origin((name, "192.0.2.1")).client == CLIENT


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        (None, "/own"),
        ("/shop", "/shop"),
        ("/", ""),
        ("", "/own"),
        ("//evil.example", "/own"),
        ("/a/../b", "/own"),
    ],
)
def test_a_reported_prefix_replaces_root_path(prefix: str | None, expected: str) -> None:
    proxies = TrustedProxies(["10.0.0.0/8"], ["x-forwarded"], "/own/")
    fields = [] if prefix is None else [("Prefix", prefix)]
    assert origin(*fields, proxies=proxies).root_path == expected
    assert origin(*fields, proxies=proxies, peer=STRANGER).root_path == "/own"


# --- Forwarded

FORWARDED = TrustedProxies(["10.0.0.0/8"], ["forwarded"])


def forwarded(*lines: str, peer: Address = PROXY) -> Origin:
    fields = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Host", "evil.example")]
    headers = Headers([*fields, *(("Forwarded", line) for line in lines)])
    return FORWARDED.origin_of(peer, "http", headers)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], Origin(PROXY, "http")),
        ([""], Origin(PROXY, "http")),
        (["for=192.0.2.1;proto=https;host=a.b"], Origin(CLIENT, "https", "a.b")),
        (["for=6.6.6.6;host=evil, for=192.0.2.1;host=a.b"], Origin(CLIENT, "http", "a.b")),
        (["for=6.6.6.6;host=evil", "for=192.0.2.1"], Origin(CLIENT, "http")),
        (
            ["for=192.0.2.1;proto=https;host=a.b, for=10.0.0.2;proto=http;host=c"],
            Origin(CLIENT, "https", "a.b"),
        ),
        (["for=192.0.2.1, for=10.0.0.2;proto=https"], Origin(CLIENT, "https")),
        (["for=192.0.2.1, for=unknown;proto=https"], Origin(PROXY, "https")),
        (["for=192.0.2.1, for=_x"], Origin(PROXY, "http")),
        (["for=192.0.2.1, proto=https"], Origin(PROXY, "https")),
        (['for="garbage', "for=192.0.2.1"], Origin(CLIENT, "http")),  # a line of the client
        (["for=no address, for=1", "for=192.0.2.1"], Origin(CLIENT, "http")),
    ],
)
def test_client_in_forwarded(lines: list[str], expected: Origin) -> None:
    assert forwarded(*lines) == expected


def test_a_stranger_may_write_any_forwarded() -> None:
    assert forwarded('for="', peer=STRANGER) == Origin(STRANGER, "http")


@pytest.mark.parametrize("line", ['for="6.6.6.6, for=192.0.2.1', "for=1", "for=192.0.2.1;host=a b"])
def test_a_forwarded_that_is_malformed_is_refused(line: str) -> None:
    with pytest.raises(MalformedRequest):
        forwarded(line)


def test_no_more_elements_are_read_than_a_chain_has() -> None:
    line = ",".join(["for=10.0.0.2"] * 30)
    assert forwarded("for=192.0.2.1", line).client == CLIENT
    assert forwarded("for=192.0.2.1", line, line).client == Address("10.0.0.2", 0)


def test_empty_elements_of_all_lines_are_refused_as_too_many() -> None:
    assert forwarded("for=192.0.2.1" + "," * 200).client == CLIENT
    for lines in (["," * 32_000], ["," * 320] * 98, ["for=a" + ";" * 32_000]):
        with pytest.raises(MalformedRequest, match="more elements in Forwarded"):
            forwarded(*lines)


# --- requests


def app_of_origins() -> App:
    app = App(redirect_slashes=True)
    app.use(Sessions("0123456789abcdefghijklmnopqrstuv"))

    @app.get("/who/{id:int}/")
    async def who(request: Request, id: int) -> dict[str, object]:
        request.session["id"] = id
        client = request.client
        return {
            "client": client.host if client else None,
            "url": request.url,
            "link": request.url_for("who", id=id, absolute=True),
            "path": f"{request.prefix} {request.path}",
        }

    @app.get("/away")
    async def away(request: Request) -> Response:
        return Response.redirect("//evil.example/", local=True)

    return app


async def ask(path: str, fields: dict[str, str], **options: Any) -> httpx.Response:
    transport = MemoryTransport(app_of_origins(), trusted_proxies="127.0.0.0/8", **options)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        return await client.get(path, headers=fields)


BEHIND = {
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "example.org",
    "X-Forwarded-Prefix": "/shop",
}


async def test_links_redirects_and_cookies_have_the_prefix() -> None:
    answer = await ask("/who/1/", BEHIND, trust_headers="x-forwarded")
    assert answer.json() == {
        "client": "192.0.2.1",
        "url": "https://example.org/shop/who/1/",
        "link": "https://example.org/shop/who/1/",
        "path": "/shop /who/1/",
    }
    assert "Path=/shop; Secure" in answer.headers["set-cookie"]
    answer = await ask("/who/1?a=b", BEHIND, trust_headers="x-forwarded")
    assert (answer.status_code, answer.headers["location"]) == (308, "/shop/who/1/?a=b")
    answer = await ask("/away", BEHIND, trust_headers="x-forwarded")
    assert answer.headers["location"] == "/shop/"


async def test_root_path_needs_no_field() -> None:
    answer = await ask("/who/1/", {}, root_path="/shop")
    assert answer.json()["link"] == "http://app/shop/who/1/"
    assert "Path=/shop;" in answer.headers["set-cookie"]


async def test_a_mounted_app_is_below_the_prefix() -> None:
    outer = App()
    outer.mount("/inner", app_of_origins())
    transport = MemoryTransport(outer, root_path="/shop")
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        answer = await client.get("/inner/who/1/")
    assert answer.json()["link"] == "http://app/shop/inner/who/1/"
    assert answer.json()["path"] == "/shop/inner /who/1/"
    assert "Path=/shop/inner;" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    ("line", "status"), [("for=192.0.2.1", 200), ("for=x", 400), ('for="a', 400), ("for=a b", 400)]
)
async def test_a_malformed_forwarded_is_a_400(line: str, status: int) -> None:
    answer = await ask("/who/1/", {"Forwarded": line}, trust_headers="forwarded")
    assert answer.status_code == status
    assert answer.headers.get("connection") == ("close" if status == 400 else None)


# --- options


@pytest.mark.parametrize(
    "options",
    [
        {"trust_headers": "forwarded, x-forwarded"},
        {"trust_headers": ("forwarded", "x-forwarded-for")},
        {"trust_headers": ("X-Real-IP",)},
        {"trust_headers": 1},
        {"root_path": "shop"},
        {"root_path": "//shop"},
        {"root_path": "/a/.."},
        {"root_path": None},
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        ServerConfig.from_options(options)  # type: ignore[arg-type]
