from __future__ import annotations

from http import HTTPStatus

import pytest
from support.answering import (
    GET,
    encode,
)

from microweb.http.response_head import HeadCache, phrase_of, status_line
from microweb.response import Response


@pytest.fixture
def heads() -> HeadCache:
    return HeadCache()


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (200, b"HTTP/1.1 200 OK\r\n"),
        (201, b"HTTP/1.1 201 Created\r\n"),
        (302, b"HTTP/1.1 302 Found\r\n"),
        (404, b"HTTP/1.1 404 Not Found\r\n"),
        (413, b"HTTP/1.1 413 Content Too Large\r\n"),
        (414, b"HTTP/1.1 414 URI Too Long\r\n"),
        (422, b"HTTP/1.1 422 Unprocessable Content\r\n"),
        (503, b"HTTP/1.1 503 Service Unavailable\r\n"),
        (299, b"HTTP/1.1 299 \r\n"),  # RFC 9112 section 4: the space stays
        (599, b"HTTP/1.1 599 \r\n"),
    ],
)
def test_the_status_line_is_that_of_the_status(status: int, line: bytes) -> None:
    assert status_line(status) == line
    assert encode(Response(status=status)).startswith(line)


def test_a_status_has_a_phrase() -> None:
    assert phrase_of(404) == "Not Found"
    assert phrase_of(599) == "Error"
    assert encode(Response(status=HTTPStatus.NOT_FOUND)).startswith(b"HTTP/1.1 404 Not Found\r\n")


def test_a_head_is_made_once_a_second(heads: HeadCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("microweb.http.response_head.time.time", lambda: 784111777.5)
    heads.refresh()
    first = Response("a").encode(GET, heads, b"")
    assert first is not None
    assert b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" in first
    heads.refresh()
    assert len(heads) == 1
    monkeypatch.setattr("microweb.http.response_head.time.time", lambda: 784111778.0)
    heads.refresh()
    assert len(heads) == 0
    second = Response("a").encode(GET, heads, b"")
    assert second == first.replace(b"08:49:37", b"08:49:38")
