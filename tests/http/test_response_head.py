from __future__ import annotations

from http import HTTPStatus

import pytest
from support.answering import (
    GET,
    encode,
)

from microweb.errors import LocalProtocolError
from microweb.http.response_head import (
    HeadCache,
    check_status,
    encode_head,
    length_field,
    phrase_of,
    status_line,
)
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


def test_a_head_has_fields_cookies_framing_and_connection_in_this_order(heads: HeadCache) -> None:
    lines = {"a": "A: b\r\n", "connection": "Connection: upgrade\r\n"}
    head = encode_head(
        heads, 200, lines, "Set-Cookie: c=d\r\n", b"X: 1\r\n", b"Connection: close\r\n"
    )
    rest = b"A: b\r\nSet-Cookie: c=d\r\nX: 1\r\nConnection: close\r\n\r\n"
    assert head == b"HTTP/1.1 200 OK\r\n" + heads.date + rest
    head = encode_head(heads, 200, lines, "", b"", b"")
    assert head.endswith(b"A: b\r\nConnection: upgrade\r\n\r\n")
    head = encode_head(heads, 200, {"date": "Date: then\r\n"}, "", b"", b"")
    assert head == b"HTTP/1.1 200 OK\r\nDate: then\r\n\r\n"


def test_transfer_encoding_is_the_servers(heads: HeadCache) -> None:
    with pytest.raises(LocalProtocolError, match="leave it out"):
        encode_head(heads, 200, {"transfer-encoding": "Transfer-Encoding: x\r\n"}, "", b"", b"")


@pytest.mark.parametrize(
    ("status", "size", "declared", "is_head", "line"),
    [
        (200, 5, None, False, b"Content-Length: 5\r\n"),
        (200, 5, "5", False, b""),
        (205, 5, None, False, b"Content-Length: 0\r\n"),
        (205, 5, "0", False, b""),
        (204, 0, None, False, b""),
        (304, 0, None, False, b""),
        (304, 0, "7", False, b""),
        (200, 0, "7", True, b""),
    ],
)
def test_a_length_is_said_once(
    status: int, size: int, declared: str | None, is_head: bool, line: bytes
) -> None:
    assert length_field(status, size, declared, is_head=is_head) == line


@pytest.mark.parametrize(
    ("status", "size", "declared", "is_head"),
    [
        (200, 5, "6", False),
        (200, 5, "6", True),
        (200, 0, "7", False),
        (200, 0, "x", True),
        (304, 0, "-1", False),
        (204, 0, "0", False),
        (205, 5, "5", False),
    ],
)
def test_a_wrong_length_is_refused(status: int, size: int, declared: str, is_head: bool) -> None:
    with pytest.raises(LocalProtocolError, match="Content-Length"):
        length_field(status, size, declared, is_head=is_head)


def test_a_status_ends_an_exchange() -> None:
    assert type(check_status(HTTPStatus.OK)) is int
    for status in (100, 199, 600, "200", None):
        with pytest.raises(LocalProtocolError, match="from 200 to 599"):
            check_status(status)  # type: ignore[arg-type]
