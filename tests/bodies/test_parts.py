"""The multipart parser, with bytes alone, compared with the parser of the standard library."""

from __future__ import annotations

from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.bodies.parts import PartHeaders, PartParser
from microweb.errors import BadRequest, ContentTooLarge

HEAD = b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"

Parts = list[tuple[PartHeaders, bytes]]


def parts_of(*pieces: bytes, boundary: bytes = b"b", max_parts: int = 100) -> Parts:
    parser = PartParser(boundary, max_parts=max_parts)
    parts: Parts = []
    is_open = False
    for piece in pieces:
        for event in parser.parse(piece):
            if isinstance(event, list):
                assert not is_open
                parts.append((event, b""))
                is_open = True
            elif event is None:
                assert is_open
                is_open = False
            else:
                assert is_open and event
                parts[-1] = (parts[-1][0], parts[-1][1] + event)
    parser.close()
    assert not is_open
    return parts


def at_each_cut(body: bytes) -> Parts:
    """Return the parts, after a check that they are the same for the body cut at every place."""
    parts = parts_of(body)
    assert parts == parts_of(*[body[at : at + 1] for at in range(len(body))])
    for cut in range(len(body)):
        assert parts == parts_of(body[:cut], body[cut:])
    return parts


def test_parts_as_they_are_sent() -> None:
    body = b"--b\r\nA: 1\r\nb:2 \r\n\r\nx\r\ny\r\n--b\r\nC:\r\n\r\n\r\n--b--\r\n"
    assert at_each_cut(body) == [([("a", b"1"), ("b", b"2")], b"x\r\ny"), ([("c", b"")], b"")]


def test_a_part_without_content_may_end_at_the_line_end_of_its_headers() -> None:
    none = [("a", b"1")], b""
    two = b"--b\r\nA: 1\r\n\r\n--b\r\nA: 1\r\n\r\n%b--b--"
    assert at_each_cut(two % b"") == [none, none]
    assert at_each_cut(two % b"\r\n") == [none, none]
    assert at_each_cut(two % b"--bx\r\n"[:2] + b"\r\n--b--") == [none, (none[0], b"----b--")]


def test_content_may_hold_all_but_its_delimiter() -> None:
    content = b"\r\n--\r\n--a--b\r\r\n-\n--b\r--b\x00\xff\r\n\r\n"
    assert at_each_cut(b"--b\r\nA: 1\r\n\r\n%b\r\n--b--" % content) == [([("a", b"1")], content)]


@pytest.mark.parametrize(
    "body", [b"--b--", b"\r\n--b--", b"text\r\n--b--\r\n", b"--b-- \t\r\n\r\nmore\r\n--b\r\n"]
)
def test_a_body_may_have_no_parts(body: bytes) -> None:
    assert at_each_cut(body) == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "expected the boundary of Content-Type in the body, got none"),
        (b"text", "expected the boundary of Content-Type in the body, got none"),
        (b"text--b\r\n", "expected CRLF before the first boundary, got other bytes"),
        (
            b"text\n--b\r\nA: 1\r\n\r\nx\r\n--b--",
            "expected CRLF before the first boundary, got other bytes",
        ),
        (b"--b", "expected the last boundary at the end of the body, got a body that is cut"),
        (b"--b-", "expected the last boundary at the end of the body, got a body that is cut"),
        (b"--b--\r", "expected the last boundary at the end of the body, got a body that is cut"),
        (
            b"--b\r\nA: 1\r\n\r\nx\r\n--b",
            "expected the last boundary at the end of the body, got a body that is cut",
        ),
        (b"--bb\r\n", "expected CRLF after a boundary, got other bytes"),
        (b"--b-x", "expected CRLF after a boundary, got other bytes"),
        (b"--b\n", "expected CRLF after a boundary, got other bytes"),
        (b"--b\rx", "expected CRLF after a boundary, got other bytes"),
        (b"--b--x", "expected CRLF after a boundary, got other bytes"),
        (b"--b" + b" " * 256, "expected CRLF after a boundary, got other bytes"),
        (b"--b\r\n\r\nx\r\n\r\n--b--", "expected a header field in a part, got b''"),
        (b"--b\r\nA: 1\r\n--b\r\n\r\nx\r\n--b--", "a boundary inside the headers of a part"),
        (b"--b\r\n--b\r\n\r\nx\r\n--b--", "a boundary inside the headers of a part"),
        (b"--b\r\n A: 1\r\n\r\nx\r\n--b--", "expected a header field in a part, got b' A: 1'"),
        (b"--b\r\nA 1\r\n\r\nx\r\n--b--", "expected a header field in a part, got b'A 1'"),
        (b"--b\r\nA: \x00\r\n\r\nx\r\n--b--", "a control character in the headers of a part"),
        (b"--b\r\nA: 1\r\na: 1\r\n\r\nx\r\n--b--", "a part with the same header twice"),
    ],
)
def test_what_is_no_body_of_parts_is_refused_for_its_reason(body: bytes, reason: str) -> None:
    for pieces in ([body], [body[at : at + 1] for at in range(len(body))]):
        with pytest.raises(BadRequest) as caught:
            parts_of(*pieces)
        assert caught.value.detail == f"malformed multipart form: {reason}"


def test_a_boundary_that_looks_like_a_header_is_one() -> None:
    with pytest.raises(BadRequest, match="a boundary inside the headers"):
        parts_of(b"--b:\r\nA: 1\r\n--b: 2\r\n\r\nx\r\n--b:--", boundary=b"b:")


def test_parts_and_their_headers_have_limits() -> None:
    part = b"--b\r\nA: 1\r\n\r\nx\r\n"
    assert len(parts_of(part * 3 + b"--b--", max_parts=3)) == 3
    with pytest.raises(ContentTooLarge):
        parts_of(part * 4 + b"--b--", max_parts=3)
    for headers, fits in {
        b"A: %b" % (b"x" * 4093): True,
        b"A: %b" % (b"x" * 4094): False,
        b"\r\n".join([b"H%d: x" % number for number in range(8)]): True,
        b"\r\n".join([b"H%d: x" % number for number in range(9)]): False,
        b"A: x" + b"\r\n x" * 1000: True,
        b"A: x" + b"\r\n x" * 10_000: False,
    }.items():
        body = b"--b\r\n%b\r\n\r\nx\r\n--b--" % headers
        if fits:
            assert len(parts_of(body)) == 1
            continue
        for pieces in ([body], [body[at : at + 100] for at in range(0, len(body), 100)]):
            with pytest.raises(ContentTooLarge):
                parts_of(*pieces)


CONTENTS = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b"--", b"-", b"b", b"--b", b" ", b"x", b"\xff"])
).map(b"".join)
PREAMBLES = CONTENTS.filter(lambda text: b"--b" not in text)


@given(
    st.lists(CONTENTS.filter(lambda content: b"\n--b" not in b"\n" + content), max_size=4),
    PREAMBLES,
    CONTENTS,
    st.lists(st.integers(1, 30), min_size=1, max_size=8),
)
def test_the_standard_library_finds_the_same_parts(
    contents: list[bytes], preamble: bytes, epilogue: bytes, cuts: list[int]
) -> None:
    delimited = [b"--b \t\r\nContent-Type: a/b\r\n\r\n%b\r\n" % content for content in contents]
    before, behind = (text and text + b"\r\n" for text in (preamble, b""))
    body = before + b"".join(delimited) + b"--b--\r\n" + epilogue + behind
    pieces, at = [], 0
    while at < len(body):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(body[at : at + size])
        at += size
    found = parts_of(*pieces)
    assert [content for _, content in found] == contents
    if contents and b"\r" not in b"".join(contents).replace(b"\r\n", b""):
        message = message_from_bytes(HEAD + body, policy=policy.HTTP)
        assert message.is_multipart()
        payloads = [each.get_payload(decode=True) for each in message.iter_parts()]
        assert payloads == contents
