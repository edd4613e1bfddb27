from __future__ import annotations

import pytest

from microweb.http.negotiation import (
    accept_of,
    choose_coding,
    negotiate_coding,
    parse_accept,
    parse_weights,
    refuses_identity,
)
from microweb.http.request_head import PlainSection

ALL = ("zstd", "br", "gzip")


@pytest.mark.parametrize(
    ("field", "coding"),
    [
        ("", "identity"),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("deflate", "identity"),
        ("br;q=0.5, gzip;q=0.9, zstd;q=0.1", "gzip"),
        ("br ; q=0.5 , gzip;Q=0.9", "gzip"),
        ("gzip;q=0", "identity"),
        ("gzip;q=0.000, br;q=0.001", "br"),
        ("*", "zstd"),
        ("*, zstd;q=0", "br"),
        ("*;q=0.1, gzip", "gzip"),
        ("*;q=0", "identity"),
        ("*;q=0, gzip", "gzip"),
        ("identity", "identity"),
        ("identity, gzip;q=0.5", "identity"),
        ("identity;q=0.5, gzip", "gzip"),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity;q=0, gzip;q=0.001", "gzip"),
        # RFC 9110 section 12.5.3
        ("compress, gzip", "gzip"),
        ("gzip;q=1.0, identity; q=0.5, *;q=0", "gzip"),
    ],
)
def test_the_coding_that_the_client_likes_best(field: str, coding: str) -> None:
    assert choose_coding(field, ALL) == coding


def test_of_equals_the_first_that_is_available() -> None:
    assert choose_coding("gzip, br", ("gzip", "br")) == "gzip"
    assert choose_coding("gzip, br", ()) == "identity"


@pytest.mark.parametrize(
    "weight", ["q=nan", "q=inf", "q=1e0", "q=1.001", "q=2", "q=-1", "q=0.1234", "q=", "level=9", ""]
)
def test_what_is_no_weight_takes_its_member_out(weight: str) -> None:
    assert parse_weights(f"br;{weight}, gzip;q=0.5") == {"gzip": 0.5}


@pytest.mark.parametrize(
    ("field", "refuses"),
    [
        ("", False),
        ("gzip", False),
        ("identity;q=0", True),
        ("identity;q=0.001", False),
        ("*;q=0", True),
        ("*;q=0, identity", False),
        ("*;q=0.5, identity;q=0", True),
    ],
)
def test_identity_is_taken_unless_it_is_refused(field: str, refuses: bool) -> None:
    assert refuses_identity(field) is refuses


def test_a_long_field_is_negotiated_alike() -> None:
    long = "unknown, " * 90 + "br, identity;q=0"
    for field in (long, "br, identity;q=0"):
        assert negotiate_coding(field, ALL) == ("br", True)


@pytest.mark.parametrize(
    ("field", "ranges"),
    [
        ("", []),
        ("*/*", [("*/*", 1.0)]),
        ("TEXT/HTML;q=0.5, text/plain", [("text/html", 0.5), ("text/plain", 1.0)]),
        ("text/html ; level=1 ; Q=0.25", [("text/html", 0.25)]),
        ("text/html;level=1", [("text/html", 1.0)]),
        ("text/html;q=nan, a/b;q=2, c/d;q=0", [("c/d", 0.0)]),
    ],
)
def test_media_ranges_have_weights(field: str, ranges: list[tuple[str, float]]) -> None:
    assert parse_accept(field) == ranges


@pytest.mark.parametrize(
    "lines",
    [
        b"Host: a\r\n",
        b"Accept: text/html\r\n",
        b"Host: a\r\naccept:\t TEXT/html;q=0.5 \r\nX: y\r\n",
        b"Host: a\r\nAccept: text/html\r\nX: y\r\nACCEPT: */*\r\n",
        b"Host: a\r\nAccept:\r\nX: y\r\n",
        b"Host: a\r\nX-Accept: text/html\r\nAccept-Encoding: gzip\r\n",
        b"Host: a\r\nX: accept: b\r\nAccept: \xe9\r\n",
    ],
)
def test_accept_is_found_as_it_is_parsed(lines: bytes) -> None:
    section = PlainSection()
    section.received, section.parsed = lines + b"\r\n", None
    found = accept_of(section)
    assert section.parsed is None or b"ACCEPT" in lines  # repeated, so joined
    assert found == section.headers.get("accept", "") == accept_of(section)


def test_the_first_hundred_members_count_empty_ones_too() -> None:
    field = ["a/b"] * 99 + ["text/html", "application/json"]
    assert [name for name, _ in parse_accept(",".join(field))] == field[:100]
    assert parse_accept("," * 99 + "text/html,a/b") == [("text/html", 1.0)]
    assert parse_accept("," * 100 + "text/html") == []
    assert parse_weights("," * 99 + "gzip,br") == {"gzip": 1.0}
    assert negotiate_coding("a," * 99 + "gzip", ALL) == ("gzip", False)
    assert negotiate_coding("a," * 100 + "gzip", ALL) == ("identity", False)


@pytest.mark.parametrize(
    ("member", "weight"),
    [
        ("a/b;c=d ; q=0.5", 0.5),
        ("a/b ;\tq=0.5 ;q=1", 0.5),
        ("a/b;q=0.5;c", 0.5),
        ("a/b;xq=0.1", 1.0),
        ("a/b;" + ";" * 30_000 + "q=0.25", 0.25),
        ("a/b;c=d;q=2", None),
        ("a/b;q=", None),
        ("a/b;q", 1.0),
    ],
)
def test_weight_of_a_range_is_its_first_q(member: str, weight: float | None) -> None:
    assert parse_accept(member) == ([] if weight is None else [("a/b", weight)])
