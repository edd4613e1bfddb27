"""Faults of a request: their text, their members in problem details, how many one answer names."""

from __future__ import annotations

import json
import re
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.faults import (
    MAX_FAULTS,
    Fault,
    Source,
    body_fault,
    first_bytes_of,
    first_faults,
    json_of,
    place_of_fault,
    shown,
    texts_of,
)
from microweb.http.grammar import CONTENT_LENGTH, FIELD_LINE, TOKEN


@pytest.mark.parametrize(
    ("source", "name", "text"),
    [
        ("body", "#/tags/1", "#/tags/1: missing"),
        ("query", "limit", "query parameter 'limit': missing"),
        ("path", "id", "path parameter 'id': missing"),
        ("header", "x-api-key", "header parameter 'x-api-key': missing"),
        ("cookie", "seen", "cookie 'seen': missing"),
    ],
)
def test_text_names_the_place(source: Source, name: str, text: str) -> None:
    assert str(Fault(source, name, "missing")) == text


def test_members_have_a_pointer_in_the_body_else_a_name() -> None:
    assert Fault("body", "#/a", "missing").members() == {
        "in": "body",
        "pointer": "#/a",
        "detail": "missing",
    }
    assert Fault("query", "a", "missing").members() == {
        "in": "query",
        "name": "a",
        "detail": "missing",
    }


def test_one_answer_names_twenty_faults() -> None:
    faults = [Fault("body", f"#/{number}", "missing") for number in range(MAX_FAULTS + 1)]
    assert first_faults(faults[:-1]) == (tuple(faults[:-1]), False)
    assert first_faults(faults) == (tuple(faults[:-1]), True)
    assert first_faults(iter(())) == ((), False)


def test_one_answer_names_faults_of_six_kibibytes() -> None:
    faults = [Fault("body", "#/" + "x" * 198, "é" * 400)] * 10
    kept, has_more = first_faults(faults)
    assert (len(kept), has_more) == (5, True)


def test_escapes_count() -> None:
    faults = [Fault("body", "#", '"' * 400)] * 10
    assert len(first_faults(faults)[0]) == 2


def test_a_single_fault_is_always_named() -> None:
    fault = Fault("body", "#", "x" * 10_000)
    assert first_faults([fault, fault]) == ((fault,), True)


@pytest.mark.parametrize(
    ("sources", "has_more", "summary"),
    [
        (["body"], False, "1 fault in the body"),
        (["body"] * 3, True, "3 faults in the body and more"),
        (["query"], False, "1 parameter at fault"),
        (["query", "header"], False, "2 parameters at fault"),
    ],
)
def test_summary_counts_them(sources: list[Source], has_more: bool, summary: str) -> None:
    faults = tuple(Fault(source, "a", "missing") for source in sources)
    lines = [str(fault) for fault in faults] + ["and more"] * has_more
    assert texts_of(faults, "", has_more) == (summary, "\n".join(lines))
    assert texts_of(faults, "no", has_more) == ("no", "\n".join(["no", *lines]))


def test_fault_of_a_body_is_a_fault() -> None:
    fault = body_fault("#/a", "missing")
    assert (fault, type(fault)) == (Fault("body", "#/a", "missing"), Fault)
    with pytest.raises(FrozenInstanceError):
        fault.name = "#/b"  # type: ignore[misc]


def test_json_has_the_members_of_each_fault() -> None:
    faults = (Fault("body", '#/"', "got \u00e9"), Fault("query", "a", "missing\n"))
    assert json.loads(json_of(faults)) == [fault.members() for fault in faults]
    assert json_of(()) == "[]"


# --- bytes that break HTTP


@pytest.mark.parametrize(
    ("got", "allowed", "place"),
    [
        (None, None, ""),
        (b"", None, ""),
        (b"GET  / HTTP/1.1", None, ""),
        (b"GET /?a=b\x80", None, " (byte 0x80 at index 9 of 10)"),
        (b"Cookie: a\x01b", FIELD_LINE, " (Cookie: byte 0x01 at index 9 of 11)"),
        (b"Cookie: \xe9\x01b", FIELD_LINE, " (Cookie: byte 0x01 at index 9 of 11)"),
        (b"Cookie: a", None, " (Cookie)"),
        (b"GET\t/ HTTP/1.1", None, " (byte 0x09 at index 3 of 14)"),
        (b"Cookie: a\tb\n", None, " (Cookie: byte 0x0a at index 11 of 12)"),
        (b"Host ", TOKEN, " (byte 0x20 at index 4 of 5)"),
        (b" folded: a", TOKEN, " (byte 0x20 at index 0 of 10)"),
        ("5x", CONTENT_LENGTH, " (byte 0x78 at index 1 of 2)"),
        ("x", CONTENT_LENGTH, " (byte 0x78 at index 0 of 1)"),
        ("name: a\xe9", None, " (byte 0xe9 at index 7 of 8)"),
    ],
)
def test_place(got: bytes | str | None, allowed: re.Pattern[str], place: str) -> None:
    assert place_of_fault(got, allowed) == place


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_place_is_one_short_printable_line(got: bytes | str) -> None:
    place = place_of_fault(got, None)
    assert len(place) < 160 and (not place or place.isprintable())


@pytest.mark.parametrize(
    ("head", "first"),
    [
        (b"", None),
        (b"\r\n\r\n", None),
        (b"?a=b", None),
        (b"GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a"),
        (b"GET /a HTTP/1.1\r\nCookie: a", "GET /a HTTP/1.1"),
        (b"GET /a HTTP/1.1\nCookie: a", "GET /a HTTP/1.1"),
        (b"\r\n\nGET /a\rb", "GET /a"),
        (b"GET http://a/@b HTTP/1.1\r\n", "GET http://a/@b HTTP/1.1"),
        (b"GET http://u:p@a/ HTTP/1.1\r\n", "GET http"),
        (b"Authorization: Bearer a\r\n", "Authorization:"),
        (b"Authorization \t: Bearer a\r\n", "Authorization \\t:"),
        (b"\x16\x03\x01\x02\x00", r"\x16\x03\x01\x02\x00"),
        (b"\x1b[31m\xff" + b"x" * 100, r"\x1b[31m\xff" + "x" * 74),
    ],
)
def test_first_bytes_end_before_a_query_and_the_fields(head: bytes, first: str | None) -> None:
    assert first_bytes_of(head) == first


@pytest.mark.parametrize("got", [b"a\r\n\x1b\xff" * 100, "a\r\n\x1b\u202e\ud800" * 100])
def test_bytes_for_debug_mode_are_cut_and_escaped(got: bytes | str) -> None:
    assert shown(got).isprintable() and shown(got).isascii()
    assert len(shown(got)) <= 80 * len("\\U00000000") + 3
