"""Fields between ASGI and the server: names, values, memos that hold no secret."""

from __future__ import annotations

from typing import Any

import pytest
from support.requesting import request_of

from microweb.errors import LocalProtocolError
from microweb.http.request_head import PlainSection, parse_request_line
from microweb.interop import asgi_fields
from microweb.interop.asgi_fields import fields_of, lines_of, whole_answer


def test_the_fields_of_a_request_have_names_in_lower_case() -> None:
    request = request_of("/", {"Host": "a", "X-One": "1", "Accept": "*/*"})
    assert fields_of(request) == [(b"host", b"a"), (b"x-one", b"1"), (b"accept", b"*/*")]
    request.section = PlainSection()
    request.section.received = b"\r\n"
    assert fields_of(request) == []


def test_a_section_that_comes_again_has_a_list_of_its_own() -> None:
    asgi_fields._SECTIONS.clear()
    request = request_of("/", {"Host": "again", "Accept": "*/*"})
    for _ in range(4):  # from the third one on, the memo has the whole section
        fields = fields_of(request)
        assert fields == [(b"host", b"again"), (b"accept", b"*/*")]
        fields.clear()  # the application may change its list
    assert list(asgi_fields._SECTIONS) == [request.section.raw]


def test_the_authority_of_the_target_is_the_host() -> None:
    request = request_of("/", {"Host": "a", "X-One": "1"})
    request.line = parse_request_line("GET", "http://b:81/")
    assert fields_of(request) == [(b"host", b"b:81"), (b"x-one", b"1")]


def test_the_lines_of_an_answer_are_kept_as_they_were_sent() -> None:
    fields = [(b"X-A", b"1"), (b"x-a", b"2"), (b"Connection", b"close"), (b"B", "\xe9".encode())]
    assert lines_of(fields) == {"x-a": "X-A: 1\r\nx-a: 2\r\n", "b": "B: \xc3\xa9\r\n"}
    assert lines_of([[b"a", b"1"]]) == {"a": "a: 1\r\n"}  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ((b"a\n", b"1"), "a field name"),
        ((b"", b"1"), "a field name"),
        ((b"a", b"1\r\nset-cookie: b=1"), "control characters"),
        ((b"content-type", b"text/plain\x00"), "control characters"),
        (("a", b"1"), "two bytes"),
        ((b"a", "1"), "two bytes"),
        ((b"a", 1), "two bytes"),
        ((b"a",), "two bytes"),
    ],
)
def test_a_field_that_http_cannot_carry_is_refused(field: Any, problem: str) -> None:
    with pytest.raises(LocalProtocolError, match=problem):
        lines_of([field])


def test_the_memos_are_bounded_and_hold_no_secret() -> None:
    received, sent = asgi_fields._REQUEST_FIELDS, asgi_fields._ANSWER_LINES
    for index in range(2000):
        value = f"secret-{index}"
        request = request_of("/", {"Host": f"h{index}", "Cookie": value, "Authorization": value})
        assert (b"cookie", value.encode()) in fields_of(request)
        cookie = (b"set-cookie", value.encode())
        assert lines_of([cookie, (b"content-length", str(index).encode())])["set-cookie"]
        for _ in range(3):
            fields_of(request_of("/", {"Host": f"h{index}"}))
    sections = asgi_fields._SECTIONS
    assert 0 < len(received) <= 512 and 0 < len(sent) <= 512 and 0 < len(sections) <= 256
    assert b"secret" not in b"".join(sections)
    assert b"secret" not in b"".join(received) and "secret" not in str(sent)
    assert lines_of([(b"vary", b"x" * 400)]) and (b"vary", b"x" * 400) not in sent


def test_a_whole_answer_has_the_length_of_its_body() -> None:
    lines = lines_of([(b"content-type", b"text/css"), (b"content-length", b"2")])
    answer = whole_answer(200, lines, b"ab")
    assert answer.body == b"ab" and dict(answer.headers) == {"content-type": "text/css"}
    wrong = whole_answer(200, lines_of([(b"content-length", b"3")]), b"ab")
    assert wrong.headers["content-length"] == "3"  # which is refused when it is sent
    other = whole_answer(404, lines_of([(b"x-a", b"1")]), b"")
    assert other.status == 404 and dict(other.headers) == {"x-a": "1"}
