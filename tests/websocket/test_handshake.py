from __future__ import annotations

import pytest
from support.answering import FakePeer
from support.websocketing import ACCEPT, KEY, handshake

from microweb.errors import BadRequest, ConfigurationError, Forbidden, HTTPError
from microweb.http.limits import Limits
from microweb.http.origins import parse_origins
from microweb.http.request_head import RequestLines
from microweb.parser import Parser
from microweb.request import Request
from microweb.websocket.handshake import (
    accept_of,
    check_handshake,
    check_origin,
    offered_subprotocols,
    parse_extensions,
)

EVERY = parse_origins("*")
NONE = parse_origins(None)


def request_of(data: bytes, *, scheme: str = "http") -> Request:
    parser = Parser(FakePeer(scheme), RequestLines(), Limits())
    parser.feed(data)
    request = parser.next_request()
    assert request is not None
    return request


def refusal_of(data: bytes) -> HTTPError:
    with pytest.raises(HTTPError) as caught:
        check_handshake(request_of(data))
    return caught.value


@pytest.mark.parametrize(
    "data",
    [
        handshake(),
        handshake(Upgrade="WebSocket", Connection="keep-alive, upgrade"),
        handshake("/ws", "Connection: keep-alive", "Upgrade: other"),
        handshake(Content_Length="0"),
    ],
)
def test_a_handshake_passes(data: bytes) -> None:
    check_handshake(request_of(data))


@pytest.mark.parametrize(
    "data",
    [
        b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n",
        handshake(Upgrade=None),
        handshake(Upgrade="h2c"),
        handshake(Connection="keep-alive"),
        handshake(Connection=None),
        handshake(method="HEAD"),
        handshake(version="1.0"),
    ],
)
def test_what_asks_for_no_websocket_is_told_what_to_send(data: bytes) -> None:
    error = refusal_of(data)
    assert error.status == 426
    assert error.headers == {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
    }


@pytest.mark.parametrize("version", ["8", "14", "013", "13, 8", "", None])
def test_another_version_is_told_ours(version: str | None) -> None:
    error = refusal_of(handshake(Sec_WebSocket_Version=version))
    assert (error.status, error.headers["Sec-WebSocket-Version"]) == (426, "13")
    assert not version or f"got {version}" not in error.detail


@pytest.mark.parametrize(
    "key",
    [
        "short",
        "",
        None,
        KEY[:-1],
        KEY + "=",
        "dGhlIHNhbXBsZSBub25jZ!==",
        "dGhlIHNhbXBsZSBub25jZTE=",  # 17 bytes
        "dGhlIHNhbXBsZSBub25j",
    ],
)
def test_a_key_that_is_not_16_bytes_in_base64_is_400(key: str | None) -> None:
    assert refusal_of(handshake(Sec_WebSocket_Key=key)).status == 400


def test_two_keys_are_400() -> None:
    assert refusal_of(handshake("/ws", f"Sec-WebSocket-Key: {KEY}")).status == 400


@pytest.mark.parametrize("field", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_a_handshake_with_a_body_is_400(field: str) -> None:
    assert refusal_of(handshake("/ws", field)).status == 400


def test_the_key_is_answered_as_the_rfc_has_it() -> None:
    assert accept_of(request_of(handshake())) == ACCEPT


def test_subprotocols_come_in_the_clients_order() -> None:
    data = handshake("/ws", "Sec-WebSocket-Protocol: b, a", "Sec-WebSocket-Protocol: c")
    assert offered_subprotocols(request_of(data)) == ("b", "a", "c")
    assert offered_subprotocols(request_of(handshake())) == ()


# --- extensions


@pytest.mark.parametrize(
    ("field", "offers"),
    [
        ("", []),
        (" , ,\t", []),
        ("a", [("a", [])]),
        (", a,, b ,", [("a", []), ("b", [])]),
        ('a; x; y=1; z="2" , b', [("a", [("x", None), ("y", "1"), ("z", "2")]), ("b", [])]),
        ('a;x = "1\\2"', [("a", [("x", "12")])]),
        (
            'bbf-usp-protocol; eid="proto::agent, \\"1;2\\"", known;x="1"',
            [("bbf-usp-protocol", [("eid", 'proto::agent, "1;2"')]), ("known", [("x", "1")])],
        ),
    ],
)
def test_extensions_are_parsed(field: str, offers: list[object]) -> None:
    assert parse_extensions([field], "known") == offers
    assert parse_extensions(["", field, ""], "known") == offers


@pytest.mark.parametrize(
    "field",
    [
        *(";", "a;", "a;;x", "a;=", "a; x=", "a b", "a=1", "a/b", '"a"', 'a; x="1', 'a; x="1"2'),
        *('known; x="proto::agent"', 'known; x=""', "unknown; x=proto::agent", "a; x=\xe9", "\xe9"),
    ],
)
def test_extensions_that_are_malformed_are_400(field: str) -> None:
    with pytest.raises(BadRequest):
        parse_extensions(["a, known", field], "known")


# --- origins


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        ("http://testserver", "testserver", "http"),
        ("http://TestServer", "testserver", "http"),
        ("http://testserver", "testserver:80", "http"),
        ("http://testserver:8000", "testserver:8000", "http"),
        ("https://testserver", "testserver:443", "https"),
        ("http://[::1]:5000", "[::1]:5000", "http"),
    ],
)
def test_a_page_of_this_origin_may(origin: str, host: str, scheme: str) -> None:
    check_origin(request_of(handshake(Origin=origin, Host=host), scheme=scheme), NONE)


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        ("http://other", "testserver", "http"),
        ("https://testserver", "testserver", "http"),
        ("http://testserver", "testserver", "https"),
        ("http://testserver:8000", "testserver", "http"),
        ("http://testserver.evil", "testserver", "http"),
        ("null", "testserver", "http"),
        ("", "testserver", "http"),
        ("http://", "", "http"),
    ],
)
def test_a_page_of_another_origin_may_not(origin: str, host: str, scheme: str) -> None:
    with pytest.raises(Forbidden):
        check_origin(request_of(handshake(Origin=origin, Host=host), scheme=scheme), NONE)


def test_two_origins_are_none() -> None:
    request = request_of(handshake("/ws", "Origin: http://testserver", Origin="http://testserver"))
    with pytest.raises(Forbidden):
        check_origin(request, NONE)


def test_who_sends_no_origin_is_no_browser() -> None:
    check_origin(request_of(handshake()), NONE)


def test_others_are_let_in_by_name() -> None:
    allowed = parse_origins(["https://example.org", "null"])
    check_origin(request_of(handshake(Origin="https://example.org")), allowed)
    check_origin(request_of(handshake(Origin="null")), allowed)
    check_origin(request_of(handshake(Origin="http://testserver")), allowed)
    with pytest.raises(Forbidden):
        check_origin(request_of(handshake(Origin="https://example.com")), allowed)


@pytest.mark.parametrize("origin", ["file://", "capacitor://app", "null", "app://obsidian.md"])
def test_apps_that_are_pages_are_let_in_by_name(origin: str) -> None:
    check_origin(request_of(handshake(Origin=origin)), parse_origins([origin]))
    with pytest.raises(Forbidden):
        check_origin(request_of(handshake(Origin=origin)), NONE)


def test_all_are_let_in_by_a_star() -> None:
    check_origin(request_of(handshake(Origin="https://example.org")), EVERY)
    assert parse_origins(["*"]) == EVERY


@pytest.mark.parametrize(
    "origin",
    ["a.org", "https://a.org/", "https://A.org", "https://a:443", 5, "", "https://", "file:///"],
)
def test_what_no_browser_sends_is_no_origin(origin: str) -> None:
    with pytest.raises(ConfigurationError, match="origins: expected"):
        parse_origins([origin])


@pytest.mark.parametrize(
    "field",
    [
        ",".join(["a"] * 101),
        "a" + ";b" * 100,
        ",".join(["a;b"] * 51),
        "a," * 15_000 + "=",
        'a;b="' + '";b="' * 6000 + '"',
    ],
    ids=["offers", "parameters", "both", "malformed", "quoted"],
)
def test_more_than_a_hundred_offers_and_parameters_are_refused(field: str) -> None:
    with pytest.raises(BadRequest, match="at most 100 offers"):
        parse_extensions([field], "known")


def test_a_hundred_offers_are_read() -> None:
    assert len(parse_extensions([",".join(["a"] * 100) + "," * 30_000], "known")) == 100
