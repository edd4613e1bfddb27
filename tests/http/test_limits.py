"""The limits for a head: the heads that one regex reads."""

from __future__ import annotations

import pytest

from microweb.http.limits import Limits


def head_of(fields: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\n%b\r\n" % fields


@pytest.mark.parametrize(
    ("fields", "is_plain", "has_length"),
    [
        (b"Host: a\r\n", True, True),
        (b"Host: a\r\nConnection: close\r\n", True, False),
        (b"Host: a\r\nContent-Length: 3\r\n", False, True),
        (b"A: b\r\nA: b\r\nHost: a\r\n", True, True),
        (b"A: b\r\nA: b\r\nA: b\r\nHost: a\r\n", False, False),
        (b"Host: a\r\nTransfer-Encoding: chunked\r\n", False, False),
    ],
)
def test_a_usual_head_is_within_the_limits(fields: bytes, is_plain: bool, has_length: bool) -> None:
    limits = Limits(max_header_fields=3)
    assert (limits.plain_head.fullmatch(head_of(fields)) is not None) is is_plain
    assert (limits.length_head.fullmatch(head_of(fields)) is not None) is has_length


def test_a_usual_head_is_not_longer_than_the_smaller_limit() -> None:
    assert Limits(max_request_line=100, max_header_section=50).max_plain_head == 50
