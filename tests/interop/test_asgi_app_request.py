"""Scopes as request lines and header sections."""

from __future__ import annotations

from typing import Any

import pytest
from support.asgi import http_scope, socket_scope

from microweb.errors import MalformedRequest, ProtocolError, UnknownMethod
from microweb.interop.asgi_app_request import (
    line_of,
    may_have_body,
    root_path_of,
    section_of,
)

HOST = (b"host", b"a.test")


@pytest.mark.parametrize(
    ("scope", "target"),
    [
        (http_scope("/a%2Fb?x=%20"), "/a%2Fb?x=%20"),
        (http_scope(path="/a b/é", raw_path=None), "/a%20b/%C3%A9"),
        (http_scope(path="/50%", raw_path=None), "/50%25"),
        (http_scope(raw_path=b"/\xc3\xa9 x"), "/%C3%A9%20x"),
        (http_scope(raw_path=b"/a?b=c"), "/a"),
        (http_scope(raw_path=b""), "/"),
        (http_scope("*", "OPTIONS"), "*"),
        (http_scope("/?a=\x01\xff"), "/?a=%01%C3%BF"),
    ],
)
def test_targets(scope: Any, target: str) -> None:
    assert line_of(scope, "").target == target


def test_a_line_without_a_query_is_made_once() -> None:
    assert line_of(http_scope("/same"), "") is line_of(http_scope("/same"), "")
    assert line_of(http_scope("/same?x"), "") is not line_of(http_scope("/same?x"), "")


@pytest.mark.parametrize(
    ("raw_path", "full"),
    [(b"/api/x", "/api/x"), (b"/api", "/api"), (b"/x", "/api/x"), (b"/apix", "/api/apix")],
)
def test_the_path_begins_with_the_root(raw_path: bytes, full: str) -> None:
    assert line_of(http_scope(raw_path=raw_path), "/api").raw_path == full


def test_root_paths() -> None:
    assert root_path_of({}) == root_path_of({"root_path": "/"}) == ""
    assert root_path_of({"root_path": "/a b/"}) == "/a%20b"


def test_connect_and_a_wrong_method_are_refused() -> None:
    with pytest.raises(UnknownMethod):
        line_of(http_scope("/", "CONNECT"), "")
    with pytest.raises(MalformedRequest, match="method"):
        line_of(http_scope("/", "GET /"), "")


def test_fields_and_version() -> None:
    fields = [HOST, (b"X-Upper", b" a\xe9 "), (b"x-upper", b"b")]
    section = section_of(http_scope(headers=fields))
    assert section.headers.get_all("x-upper") == ["aé", "b"]
    assert section.raw == b"host: a.test\r\nx-upper: a\xe9\r\nx-upper: b\r\n\r\n"
    for version in ("1.0", "1.1", "2", "3"):
        section = section_of(http_scope(http_version=version))
        assert section.http_version == version and not section.takes_chunks
        assert section.minor_version == (0 if version == "1.0" else 1)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [HOST, HOST],
        [(b"host", b"a/b")],
        [HOST, (b"x y", b"z")],
        [HOST, (b"x", b"a\r\nb")],
        [HOST, (b"x", b"a\0")],
        [HOST, (b"content-length", b"+1")],
        [HOST, (b"content-length", b"1"), (b"content-length", b"2")],
        [HOST, (b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
    ],
)
def test_malformed_fields_are_refused(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(ProtocolError):
        section_of(http_scope(headers=fields))


def test_http_2_needs_no_host() -> None:
    assert section_of(http_scope(http_version="2", headers=[])).headers.get("host") is None
    section = section_of(http_scope(http_version="2", headers=[(b":authority", b"b.test")]))
    assert section.headers["host"] == "b.test" and ":authority" not in section.headers


@pytest.mark.parametrize(
    ("version", "method", "fields", "has_body", "may_have"),
    [
        ("1.1", "POST", [], False, False),
        ("1.1", "POST", [(b"content-length", b"0")], False, False),
        ("1.1", "GET", [(b"content-length", b"2")], True, True),
        ("1.1", "POST", [(b"transfer-encoding", b"chunked")], True, True),
        ("2", "POST", [], True, True),
        ("2", "GET", [], False, True),
        ("2", "POST", [(b"content-length", b"0")], False, False),
        ("2", "POST", [(b"content-length", b"9")], True, True),
    ],
)
def test_bodies(
    version: str,
    method: str,
    fields: list[tuple[bytes, bytes]],
    has_body: bool,
    may_have: bool,
) -> None:
    scope = http_scope("/", method, http_version=version, headers=[HOST, *fields])
    section = section_of(scope)
    assert (section.has_body, may_have_body(section)) == (has_body, may_have)


def test_a_websocket_has_the_fields_of_a_handshake() -> None:
    sent = [HOST, (b"sec-websocket-extensions", b"permessage-deflate"), (b"cookie", b"a=b")]
    scope = socket_scope("/", headers=sent, subprotocols=["a", "b"], http_version="2")
    headers = section_of(scope).headers
    assert headers["sec-websocket-protocol"] == "a, b"
    assert (headers["upgrade"], headers["connection"]) == ("websocket", "Upgrade")
    assert headers["cookie"] == "a=b" and "sec-websocket-extensions" not in headers
    assert not section_of(scope).has_body
