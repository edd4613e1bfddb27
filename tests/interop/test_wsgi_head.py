"""The status and the fields of a WSGI answer."""

from __future__ import annotations

from typing import Any

import pytest

from microweb.errors import LocalProtocolError
from microweb.interop.wsgi_head import make_head


@pytest.mark.parametrize("status", ["200 OK", "200 ", "200", "200 Anything at all"])
def test_the_first_three_digits_are_the_status(status: str) -> None:
    assert make_head(status, []).status == 200


@pytest.mark.parametrize(
    "status", ["", "20", "OK", "2000 OK", "200OK", "²⁰⁰ OK", "100 Continue", "101 Up", "600 X", 200]
)
def test_a_wrong_status_is_refused(status: Any) -> None:
    with pytest.raises(LocalProtocolError):
        make_head(status, [])


def test_repeated_fields_stay() -> None:
    fields = [("Set-Cookie", "a=1"), ("Content-Type", "text/plain"), ("Set-Cookie", "b=2")]
    assert sorted(make_head("200 OK", fields).headers.pairs()) == sorted(fields)


@pytest.mark.parametrize("name", ["Connection", "keep-alive", "Transfer-Encoding", "UPGRADE", "TE"])
def test_a_hop_by_hop_field_is_left_out(name: str) -> None:
    assert make_head("200 OK", [(name, "x"), ("X-A", "1")]).headers.pairs() == [("X-A", "1")]


@pytest.mark.parametrize("status", ["204 No Content", "205 Reset Content"])
def test_an_answer_without_content_has_no_length(status: str) -> None:
    assert make_head(status, [("Content-Length", "0")]).headers.pairs() == []


@pytest.mark.parametrize(
    "field",
    [
        ("X-A", "1\r\nX-B: 2"),
        ("X-A", "1\n"),
        ("X A", "1"),
        ("X-A:", "1"),
        ("", "1"),
        ("X-A", 1),
        (b"X-A", b"1"),
        ("X-A",),
        ["X-A", "1"],
        "ab",
        ("X-A", "€"),
    ],
)
def test_a_field_that_http_can_not_carry_is_refused(field: Any) -> None:
    with pytest.raises(LocalProtocolError):
        make_head("200 OK", [field])
