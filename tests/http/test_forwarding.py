from __future__ import annotations

import pytest

from microweb.errors import MalformedRequest
from microweb.http.forwarding import (
    Hop,
    check_separators,
    parse_element,
    parse_forwarded,
    parse_host,
    parse_port,
    parse_prefix,
    parse_scheme,
)
from microweb.http.interfaces import Address


@pytest.mark.parametrize(
    ("line", "elements"),
    [
        # The examples of RFC 7239 section 4.
        ('for="_gazonk"', [{"for": "_gazonk"}]),
        ('For="[2001:db8:cafe::17]:4711"', [{"for": "[2001:db8:cafe::17]:4711"}]),
        (
            "for=192.0.2.60;proto=http;by=203.0.113.43",
            [{"for": "192.0.2.60", "proto": "http", "by": "203.0.113.43"}],
        ),
        ("for=192.0.2.43, for=198.51.100.17", [{"for": "192.0.2.43"}, {"for": "198.51.100.17"}]),
        ('for=a;host="b, for=c"', [{"for": "a", "host": "b, for=c"}]),
        (r'for="a\"b\\"', [{"for": 'a"b\\'}]),
        ('for="";proto=http', [{"for": "", "proto": "http"}]),
        ("for=a;;proto=http;", [{"for": "a", "proto": "http"}]),  # a pair may be left out
        (" , for=a,\t,for=b , ", [{"for": "a"}, {"for": "b"}]),
        ("", []),
        ("secret=x;FOR=a", [{"secret": "x", "for": "a"}]),
    ],
)
def test_elements_and_their_pairs(line: str, elements: list[dict[str, str]]) -> None:
    assert parse_forwarded(line) == elements


@pytest.mark.parametrize(
    "line",
    [
        "for",
        "for=",
        "=a",
        "for =a",
        "for= a",
        "for=a; proto=http",
        "for=a ;proto=http",
        "for=a proto=http",
        "for=a:80",  # a colon needs quotes
        "for=[::1]",
        'for="a',
        'for=a"',
        'for="a"b',
        r'for="a\"',
        "for=a;for=b",
        "for=a;FOR=b",
        'for="a\x01"',
        "for=\xe4",
        "192.0.2.1",
        "for=a|, |=",
    ],
)
def test_a_line_that_the_rfc_does_not_allow_is_refused(line: str) -> None:
    with pytest.raises(MalformedRequest):
        parse_forwarded(line)


def test_a_line_with_too_many_elements_is_refused() -> None:
    assert len(parse_forwarded(", ".join(["for=a"] * 32))) == 32
    with pytest.raises(MalformedRequest, match="more elements in Forwarded"):
        parse_forwarded(",".join(["for=a"] * 3400))


@pytest.mark.parametrize(
    ("pairs", "hop"),
    [
        ({"for": "192.0.2.1"}, Hop(Address("192.0.2.1", 0), "", None)),
        ({"for": "192.0.2.1:80", "proto": "HTTPS"}, Hop(Address("192.0.2.1", 80), "https", None)),
        ({"for": "[2001:DB8::7]:443"}, Hop(Address("2001:db8::7", 443), "", None)),
        ({"for": "[::ffff:192.0.2.1]"}, Hop(Address("192.0.2.1", 0), "", None)),
        ({"for": "192.0.2.1:_port"}, Hop(Address("192.0.2.1", 0), "", None)),
        ({"for": "unknown", "proto": "wss"}, Hop(None, "https", None)),
        ({"for": "Unknown:80"}, Hop(None, "", None)),
        ({"for": "_hidden-1.x"}, Hop(None, "", None)),
        ({"proto": "gopher+x"}, Hop(None, "", None)),
        ({"host": "example.org:8080"}, Hop(None, "", "example.org:8080")),
        ({"by": "anything"}, Hop(None, "", None)),
    ],
)
def test_an_element_says(pairs: dict[str, str], hop: Hop) -> None:
    assert parse_element(pairs) == hop


@pytest.mark.parametrize(
    "pairs",
    [
        {"for": ""},
        {"for": "192.0.2"},
        {"for": "192.0.2.1:"},
        {"for": "192.0.2.1:65536"},
        {"for": "192.0.2.1:_"},
        {"for": "2001:db8::7"},  # needs brackets
        {"for": "[2001:db8::7"},
        {"for": "[fe80::1%eth0]"},
        {"for": "[192.0.2.1]x"},
        {"for": "example.org"},
        {"for": "_"},
        {"for": "unknown:port"},
        {"proto": ""},
        {"proto": "http://"},
        {"proto": "1http"},
        {"host": ""},
        {"host": "a b"},
        {"host": "a/b"},
        {"host": "user@a"},
        {"host": "a" * 300},
    ],
)
def test_an_element_with_a_malformed_value_is_refused(pairs: dict[str, str]) -> None:
    with pytest.raises(MalformedRequest, match="a Forwarded field that is malformed"):
        parse_element(pairs)


@pytest.mark.parametrize(
    ("text", "scheme"),
    [("https", "https"), ("WS", "http"), ("wss", "https"), ("gopher", ""), ("", "")],
)
def test_scheme(text: str, scheme: str) -> None:
    assert parse_scheme(text) == scheme


@pytest.mark.parametrize("host", ["example.org", "example.org:80", "[::1]:80", "192.0.2.1"])
def test_a_host_is_taken_as_it_is(host: str) -> None:
    assert parse_host(host) == host


@pytest.mark.parametrize(
    "host", ["", "a b", "a/b", "user@a", "[::1", "a:b", "a:80:80", "a%zz", "a\x01", "b" * 262]
)
def test_other_text_is_no_host(host: str) -> None:
    assert parse_host(host) is None


@pytest.mark.parametrize(("text", "port"), [("1", 1), ("443", 443), ("65535", 65535)])
def test_port(text: str, port: int) -> None:
    assert parse_port(text) == port


@pytest.mark.parametrize(
    "text", ["", "0", "00", "65536", "99999", "-1", "+1", "0443", "1e3", "\u0661"]
)
def test_other_text_is_no_port(text: str) -> None:
    assert parse_port(text) is None


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("", ""),
        ("/", ""),
        ("/shop", "/shop"),
        ("/shop/", "/shop"),
        ("/a/b.c/~d", "/a/b.c/~d"),
        ("/caf%C3%A9", "/caf%C3%A9"),
        ("/..a", "/..a"),
        ("/" + "a" * 254, "/" + "a" * 254),
    ],
)
def test_prefix(text: str, prefix: str) -> None:
    assert parse_prefix(text) == prefix


@pytest.mark.parametrize(
    "text",
    [
        "//",
        "//evil.example",
        "/a//b",
        "/a//",
        "shop",
        "https://evil.example",
        "/..",
        "/a/../b",
        "/./a",
        "/%2e%2E/a",
        "/%2e",
        "/a%2fb",
        "/a%5cb",
        "/\\evil.example",
        "/a%00",
        "/a%0d%0aX",
        "/a\r\nX: y",
        "/a\x01",
        "/a\x7f",
        "/a b",
        "/a?b",
        "/a#b",
        "/a;Domain=evil.example",
        '/a"b',
        "/a'b",
        "/<script>",
        "/a,/b",
        "/%",
        "/%zz",
        "/%ff",
        "/\xe4",
        "/" + "a" * 255,
    ],
)
def test_other_text_is_no_prefix(text: str) -> None:
    assert parse_prefix(text) is None


def test_empty_elements_and_parameters_count() -> None:
    check_separators(["for=a, , ;", "," * 253])
    for lines in (["," * 257], [";" * 257], [",;" * 2] * 65):
        with pytest.raises(MalformedRequest, match="more elements in Forwarded"):
            check_separators(lines)
