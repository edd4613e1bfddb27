"""RFC 6454 section 6.2: origins as clients send them."""

from __future__ import annotations

import re

import pytest

from microweb import ConfigurationError
from microweb.http.origins import (
    hostname_of,
    is_origin,
    is_sites_origin,
    is_within,
    parse_origins,
    without_usual_port,
)


@pytest.mark.parametrize(
    "origin",
    [
        "https://shop.example",
        "https://shop.example:8443",
        "http://localhost:5173",
        "http://127.0.0.1",
        "http://[::1]:8080",
        "http://shop.example:443",  # the default port of the other scheme
        "app://x",
        "capacitor://app",
        "chrome-extension://abcdef",
        "file://",
        "null",
    ],
)
def test_scheme_host_and_unusual_port_are_an_origin(origin: str) -> None:
    assert is_origin(origin)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "shop.example",
        "https://",
        "https://shop.example/",
        "https://Shop.example",
        "HTTPS://shop.example",
        "https://*.shop.example",
        "https://shop.example:443",
        "http://shop.example:80",
        "http://shop.example:",
        "http://shop.example:123456",
        "https://shop.example\r\nX: y",
        "https://shop.example\n",
        "https://ada@shop.example",
        "https://a b",
        "https://a, https://b",
        "http://[::1",
        "file:///",
        "file://host/",
        "Null",
        None,
        5,
        b"https://shop.example",
    ],
)
def test_other_text_is_no_origin(text: object) -> None:
    assert not is_origin(text)


@pytest.mark.parametrize(
    ("origin", "plain"),
    [
        ("http://a:80", "http://a"),
        ("https://a:443", "https://a"),
        ("http://a:443", "http://a:443"),
        ("https://a:80", "https://a:80"),
        ("app://a:80", "app://a:80"),
        ("http://a", "http://a"),
        ("null", "null"),
    ],
)
def test_usual_port_is_left_out(origin: str, plain: str) -> None:
    assert without_usual_port(origin) == plain


@pytest.mark.parametrize(
    ("text", "is_sites"),
    [("https://a", True), ("app://x", True), ("null", False), ("file://", False), ("*", False)],
)
def test_origin_that_every_page_can_have_is_no_sites(text: str, is_sites: bool) -> None:
    assert is_sites_origin(text) is is_sites


@pytest.mark.parametrize(
    ("origins", "listed"),
    [
        (None, set()),
        ((), set()),
        ("*", {"*"}),
        ("https://shop.example", {"https://shop.example"}),
        (["https://a.example", "null", "*"], {"https://a.example", "null", "*"}),
    ],
)
def test_origins_of_a_route(origins: str | list[str] | None, listed: set[str]) -> None:
    assert parse_origins(origins) == listed


@pytest.mark.parametrize("wrong", ["shop.example", "https://shop.example/", "https://*.a.example"])
def test_text_that_is_no_origin_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"got {wrong!r}")):
        parse_origins(["https://a.example", wrong])


@pytest.mark.parametrize(
    "url",
    [
        "/",
        "/a//b",
        "page",
        "?q=//b.example",
        "",
        "https://a.example/page",
        "https://A.EXAMPLE/",
        "/%2e%2e//b",
    ],
)
def test_url_on_the_same_origin(url: str) -> None:
    assert is_within(url, "https", "a.example")


@pytest.mark.parametrize(
    "url",
    [
        "//b.example",
        "/%2fb.example",
        "/%5Cb.example",
        "/%09/b.example",
        "https://b.example/",
        "http://a.example/",
        "https://a.example:8443/",
        "https://a.example@b.example/",
        "https:///b.example",
        "https:b.example",
        "https://[a.example/",
        "javascript:alert(1)",
    ],
)
def test_url_that_leaves_the_origin(url: str) -> None:
    assert not is_within(url, "https", "a.example")


def test_no_url_with_a_host_is_within_a_request_without_host() -> None:
    assert not is_within("https:///page", "https", "")


@pytest.mark.parametrize(
    ("host", "hostname"),
    [
        ("Shop.Example:8080", "shop.example"),
        ("shop.example", "shop.example"),
        ("[::1]:8080", "::1"),
        ("[::A]", "::a"),
        ("", ""),
    ],
)
def test_hostname_has_no_port_and_no_brackets(host: str, hostname: str) -> None:
    assert hostname_of(host) == hostname
