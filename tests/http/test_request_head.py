"""The request line, Host, and the framing that a header section decides. RFC 9112"""

from __future__ import annotations

import pytest

from microweb.errors import MalformedRequest, ProtocolError, UnknownCoding, UnknownMethod
from microweb.http.framing import CLOSE, KEEP_ALIVE
from microweb.http.headers import Headers
from microweb.http.request_head import (
    HeaderSection,
    LastSection,
    PlainSection,
    decide_framing,
    parse_request_line,
)


def framing(fields: dict[str, str], minor_version: int = 1) -> HeaderSection:
    return decide_framing(Headers({"Host": "a.test", **fields}), minor_version)


# --- request lines --------------------------------------------------------------------


def test_request_lines_of_every_form() -> None:
    line = parse_request_line("GET", "http://a.test:80/p%20q?x=/y?")
    assert (line.raw_path, line.query_string, line.authority) == ("/p%20q", "x=/y?", "a.test:80")
    line = parse_request_line("OPTIONS", "*")
    assert (line.raw_path, line.query_string, line.authority) == ("*", "", None)
    with pytest.raises(UnknownMethod):
        parse_request_line("CONNECT", "a.test:443")


@pytest.mark.parametrize(
    ("method", "target", "raw_path"),
    [
        ("GET", "http://a.test", "/"),
        ("GET", "http://a.test?q", "/"),
        ("OPTIONS", "http://a.test", "*"),
        ("OPTIONS", "http://a.test?q", "/"),
    ],
)
def test_an_empty_path_is_the_root_or_the_server(method: str, target: str, raw_path: str) -> None:
    assert parse_request_line(method, target).raw_path == raw_path


@pytest.mark.parametrize(
    "target", ["*", "a", "http://", "http://a b/", "http://[::1/", "http:///x"]
)
def test_a_target_in_no_form_is_refused(target: str) -> None:
    with pytest.raises(MalformedRequest):
        parse_request_line("GET", target)


def test_an_authority_that_is_no_host_is_refused() -> None:
    for authority in ("[::g]", "a:b", "a" * 262):
        with pytest.raises(MalformedRequest, match="that is not a host"):
            parse_request_line("GET", f"http://{authority}/")


# --- framing --------------------------------------------------------------------------


def test_a_section_without_framing_fields_has_no_body_and_persists() -> None:
    section = framing({"Accept": "*/*"})
    assert (section.has_body, section.persistence, section.minor_version) == (False, b"", 1)
    assert section.headers["accept"] == "*/*"


def test_a_length_or_chunks_are_a_body() -> None:
    section = framing({"Content-Length": "12"})
    assert (section.has_body, section.content_length, section.is_chunked) == (True, 12, False)
    section = framing({"Transfer-Encoding": "Chunked"})
    assert (section.has_body, section.content_length, section.is_chunked) == (True, 0, True)
    assert not framing({"Content-Length": "0"}).has_body


@pytest.mark.parametrize(
    ("fields", "minor_version", "persistence"),
    [
        ({"Connection": "close"}, 1, CLOSE),
        ({"Connection": "keep-alive"}, 1, b""),
        ({"Connection": "keep-alive"}, 0, KEEP_ALIVE),
        ({"Connection": "keep-alive, Close"}, 0, CLOSE),
        ({}, 0, CLOSE),
    ],
)
def test_a_connection_persists_by_its_version_and_options(
    fields: dict[str, str], minor_version: int, persistence: bytes
) -> None:
    assert framing(fields, minor_version).persistence == persistence


def test_only_http_1_1_expects_a_continue() -> None:
    fields = {"Expect": "100-Continue", "Content-Length": "1"}
    assert framing(fields).expects_continue
    assert not framing(fields, 0).expects_continue


@pytest.mark.parametrize(
    ("fields", "minor_version", "refusal"),
    [
        ({"Content-Length": "+1"}, 1, MalformedRequest),
        ({"Content-Length": "1, 1"}, 1, MalformedRequest),
        ({"Content-Length": "1" * 19}, 1, MalformedRequest),
        ({"Transfer-Encoding": "chunked", "Content-Length": "1"}, 1, MalformedRequest),
        ({"Transfer-Encoding": "chunked"}, 0, MalformedRequest),
        ({"Transfer-Encoding": "chunked, chunked"}, 1, MalformedRequest),
        ({"Transfer-Encoding": "chunked;"}, 1, MalformedRequest),
        ({"Transfer-Encoding": "gzip, chunked"}, 1, UnknownCoding),
    ],
)
def test_framing_that_two_readers_may_read_apart_is_refused(
    fields: dict[str, str], minor_version: int, refusal: type[ProtocolError]
) -> None:
    with pytest.raises(refusal):
        framing(fields, minor_version)


def test_host_is_needed_by_http_1_1_alone() -> None:
    with pytest.raises(MalformedRequest, match="no Host"):
        decide_framing(Headers({}), 1)
    assert decide_framing(Headers({}), 0).minor_version == 0
    with pytest.raises(MalformedRequest, match="more than one Host"):
        decide_framing(Headers({"Host": "a, b"}), 1)


# --- sections -------------------------------------------------------------------------


def test_a_section_gives_its_bytes() -> None:
    assert framing({"X": "y"}).raw == b"host: a.test\r\nx: y\r\n\r\n"
    section = framing({})
    section.received = b"host:a.test\r\n\r\n"
    assert section.raw == b"host:a.test\r\n\r\n"


@pytest.mark.parametrize(("kind", "persistence"), [(PlainSection, b""), (LastSection, CLOSE)])
def test_a_plain_section_parses_its_fields_once(
    kind: type[PlainSection], persistence: bytes
) -> None:
    section = kind()
    section.received, section.parsed = b"Host: a\r\nX: y\r\n\r\n", None
    assert section.headers["x"] == "y"
    assert section.headers is section.headers
    assert (section.persistence, section.has_body) == (persistence, False)


def test_the_first_hundred_options_of_connection_count() -> None:
    for number, persistence in ((99, CLOSE), (100, b"")):
        headers = Headers({"Host": "a", "Connection": "a," * number + "close"})
        assert decide_framing(headers, 1).persistence == persistence


def test_a_long_list_of_codings_is_refused() -> None:
    headers = Headers({"Host": "a", "Transfer-Encoding": "chunked," * 4000})
    with pytest.raises(ProtocolError):
        decide_framing(headers, 1)
