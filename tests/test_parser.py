from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.malformed import ACCEPTED, HOST, REFUSED, Accepted, Refused
from support.reading import Exchange, FakePeer, Outcome, Reader, each_byte, read

from microweb import parser as parser_module
from microweb.errors import (
    HeadTooLarge,
    HTTPError,
    MalformedRequest,
    ProtocolError,
    TargetTooLong,
)
from microweb.http import headers as headers_module
from microweb.http.framing import ChunkedDecoder, LengthDecoder
from microweb.http.headers import MutableHeaders
from microweb.http.hosts import is_host, is_host_value
from microweb.http.limits import Limits
from microweb.http.request_head import PlainSection, RequestLines
from microweb.parser import Parser
from microweb.request import Request

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n7;ext=1\r\n, world\r\n0\r\nX-Sum: 1\r\n\r\n"
)


def cuts_of(data: bytes) -> Iterable[int]:
    """Return every place to cut, but only a few in the middle of long bytes."""
    return itertools.chain(
        range(1, min(len(data), 400)), range(max(400, len(data) - 20), len(data))
    )


# --- the corpus -----------------------------------------------------------------------


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_what_is_no_request_is_refused(case: Refused) -> None:
    outcome = read(case.raw)
    assert (outcome.refusal, outcome.reason) == (case.refusal, case.reason)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_a_refusal_is_the_same_byte_by_byte(case: Refused) -> None:
    assert read(*each_byte(case.raw)) == read(case.raw)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_a_refusal_is_the_same_at_every_cut(case: Refused) -> None:
    whole = read(case.raw)
    for cut in cuts_of(case.raw):
        assert read(case.raw[:cut], case.raw[cut:]) == whole, cut


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_a_refusal_behind_other_requests_is_the_same(case: Refused) -> None:
    outcome = read(GET + POST + GET + CHUNKED + GET + case.raw)
    assert (outcome.refusal, outcome.reason) == (case.refusal, case.reason)
    assert [exchange.body for exchange in outcome.exchanges[:5]] == [
        None,
        b"hello",
        None,
        b"hello, world",
        None,
    ]


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.id)
def test_an_odd_request_is_read(case: Accepted) -> None:
    for reads in ([case.raw], each_byte(case.raw)):
        (exchange,) = read(*reads).exchanges
        assert exchange.is_whole
        assert (exchange.method, exchange.path, exchange.query_string, exchange.body or b"") == (
            case.method,
            case.path,
            case.query_string,
            case.body,
        )


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.id)
def test_the_next_request_stands_behind_an_odd_one(case: Accepted) -> None:
    outcome = read(GET + case.raw + case.raw + GET)
    assert outcome.refusal is None
    assert [exchange.path for exchange in outcome.exchanges] == ["/", case.path, case.path, "/"]
    assert outcome.exchanges[1] == outcome.exchanges[2]


# --- one request ----------------------------------------------------------------------

# RFC 9112 section 2.1, with a body
EXAMPLE = (
    b"PUT /hello.txt?v=1&v=2 HTTP/1.1\r\n"
    b"Host: www.example.com\r\n"
    b"User-Agent: curl/7.64.1\r\n"
    b"Accept-Language: en, mi\r\n"
    b"X-Repeated: a\r\n"
    b"x-repeated:b \r\n"
    b"Cookie: a=1\r\n"
    b"Cookie: b=2\r\n"
    b"Expect: 100-Continue\r\n"
    b"Content-Length: 5\r\n"
    b"\r\n"
    b"hello"
)
READ = Exchange(
    "PUT",
    "/hello.txt?v=1&v=2",
    "/hello.txt",
    "v=1&v=2",
    "www.example.com",
    [
        ("host", "www.example.com"),
        ("user-agent", "curl/7.64.1"),
        ("accept-language", "en, mi"),
        ("x-repeated", "a"),
        ("x-repeated", "b"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("expect", "100-Continue"),
        ("content-length", "5"),
    ],
    1,
    True,
    True,
    b"hello",
)


def test_a_request_is_read_whole() -> None:
    assert read(EXAMPLE) == Outcome([READ])


@pytest.mark.parametrize("cut", range(1, len(EXAMPLE)))
def test_a_request_is_read_at_every_cut(cut: int) -> None:
    assert read(EXAMPLE[:cut], EXAMPLE[cut:]) == Outcome([READ])


def test_a_request_is_read_byte_by_byte() -> None:
    assert read(*each_byte(EXAMPLE)) == Outcome([READ])


def test_an_unfinished_head_is_waited_for() -> None:
    for end in range(1, EXAMPLE.index(b"\r\n\r\n") + 4):
        assert read(EXAMPLE[:end]) == Outcome([])


def test_repeated_fields_are_joined() -> None:
    reader = Reader()
    reader.feed(EXAMPLE)
    headers = reader.requests[0].headers
    assert headers["x-repeated"] == "a, b"
    assert headers["cookie"] == "a=1; b=2"


@pytest.mark.parametrize(
    ("version", "connection", "is_persistent"),
    [
        (b"1.1", None, True),
        (b"1.1", b"keep-alive", True),
        (b"1.1", b"close", False),
        (b"1.1", b"CLOSE", False),
        (b"1.1", b"foo, close", False),
        (b"1.1", b"keep-alive ,\tClose", False),
        (b"1.1", b"closed", True),
        (b"1.1", b"", True),
        (b"1.1", b",", True),
        (b"1.2", None, True),
        (b"1.0", None, False),
        (b"1.0", b"keep-alive", True),
        (b"1.0", b"Keep-Alive", True),
        (b"1.0", b"keep-alive, close", False),
        (b"1.0", b"upgrade", False),
    ],
)
def test_persistence_is_decided(
    version: bytes, connection: bytes | None, is_persistent: bool
) -> None:
    field_line = b"" if connection is None else b"Connection: %b\r\n" % connection
    (exchange,) = read(b"GET / HTTP/%b\r\n%b%b\r\n" % (version, HOST, field_line)).exchanges
    assert exchange.is_persistent is is_persistent


def test_close_in_a_second_connection_field_closes() -> None:
    raw = GET[:-2] + b"Connection: keep-alive\r\nConnection: close\r\n\r\n"
    assert not read(raw).exchanges[0].is_persistent


@pytest.mark.parametrize(
    ("version", "expect", "expects_continue"),
    [
        (b"1.1", b"100-continue", True),
        (b"1.1", b"100-CONTINUE", True),
        (b"1.1", b"something-else, 100-Continue", True),
        (b"1.1", b"something-else", False),
        (b"1.0", b"100-continue", False),
    ],
)
def test_the_expectation_is_read(version: bytes, expect: bytes, expects_continue: bool) -> None:
    raw = b"POST / HTTP/%b\r\n%bExpect: %b\r\nContent-Length: 1\r\n\r\nx" % (version, HOST, expect)
    assert read(raw).exchanges[0].expects_continue is expects_continue


def test_the_authority_of_the_absolute_form_wins_over_host() -> None:
    raw = b"GET http://example.org:81/x HTTP/1.1\r\nHost: other.test\r\n\r\n"
    assert read(raw).exchanges[0].host == "example.org:81"


@pytest.mark.parametrize("method", ["PURGE", "get", "Get", "GETTER", "A" * 300, "!#$%&'*+-.^_`|~"])
def test_any_token_is_a_method(method: str) -> None:
    raw = f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    assert [each.method for each in read(raw + raw).exchanges] == [method, method]
    assert read(*each_byte(raw)) == read(raw)


# --- pipelines ------------------------------------------------------------------------

PIPELINE = [
    GET,
    POST,
    b"\r\n" + GET,
    CHUNKED,
    b"GET /other HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\r\n\r\n" + b"GET /?q=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    POST,
    b"GET / HTTP/1.0\r\n\r\n",
    GET,
    CHUNKED,
    GET,
]


def apart(requests: Iterable[bytes]) -> Outcome:
    """Return the exchanges of all requests, each read on a connection of its own."""
    return Outcome([exchange for raw in requests for exchange in read(raw).exchanges])


def test_pipelined_requests_are_read_as_apart() -> None:
    assert read(b"".join(PIPELINE)) == apart(PIPELINE)


def test_pipelined_requests_are_read_byte_by_byte() -> None:
    assert read(*each_byte(b"".join(PIPELINE))) == apart(PIPELINE)


@pytest.mark.parametrize("size", [2, 3, 5, 7, 11, 64, 100])
def test_pipelined_requests_are_read_in_pieces(size: int) -> None:
    raw = b"".join(PIPELINE)
    pieces = [raw[i : i + size] for i in range(0, len(raw), size)]
    assert read(*pieces) == apart(PIPELINE)


def test_two_thousand_pipelined_requests_are_read() -> None:
    requests = [b"GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % i for i in range(2000)]
    outcome = read(b"".join(requests))
    assert [exchange.path for exchange in outcome.exchanges] == [f"/{i}" for i in range(2000)]


def test_a_smuggled_request_stays_in_the_body() -> None:
    raw = b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(GET) + GET
    first, second = read(raw + b"GET /b HTTP/1.1\r\n" + HOST + b"\r\n").exchanges
    assert (first.path, first.body) == ("/a", GET)
    assert second.path == "/b"


# --- first heads ----------------------------------------------------------------------


def first_of(lines: RequestLines, raw: bytes) -> Request:
    """Return the first request of a new connection."""
    request = Parser(FakePeer(), lines, Limits()).next_request(raw)
    assert request is not None
    return request


def test_first_head_that_repeats_is_parsed_once_for_a_server() -> None:
    lines, other_head = RequestLines(), GET.replace(b"localhost", b"other")
    one, same, other = (first_of(lines, raw) for raw in (GET, GET, other_head))
    assert (same.line, same.section) == (one.line, one.section)
    assert same is not one
    assert (one.headers["host"], other.headers["host"]) == ("localhost", "other")
    assert first_of(RequestLines(), GET).section is not one.section


def test_known_first_head_has_the_body_of_its_own_connection() -> None:
    lines = RequestLines()
    for content in (b"hello", b"world"):
        parser = Parser(FakePeer(), lines, Limits())
        assert parser.next_request(POST[:-5]) is not None
        assert parser.next_content() is None
        parser.feed(content + GET)
        assert parser.next_content() == content
    assert POST[:-5] in lines.first_heads


def test_first_heads_are_few_and_short() -> None:
    lines = RequestLines()
    for number in range(1000):
        first_of(lines, b"GET /%d HTTP/1.1\r\n" % number + HOST + b"\r\n")
        assert 0 < len(lines.first_heads) <= 128
    long = GET[:-2] + b"Cookie: " + bytes(b"a" * 1000) + b"\r\n\r\n"
    first_of(lines, long)
    assert long not in lines.first_heads


def test_only_the_first_head_of_a_connection_is_shared() -> None:
    lines = RequestLines()
    parser = Parser(FakePeer(), lines, Limits())
    for target in (b"/a", b"/b", b"/c"):
        assert parser.next_request(b"GET %b HTTP/1.1\r\n" % target + HOST + b"\r\n") is not None
    (head,) = lines.first_heads
    assert head.startswith(b"GET /a ")


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_refused_first_head_is_not_kept(case: Refused) -> None:
    lines = RequestLines()
    for _ in range(2):
        parser = Parser(FakePeer(), lines, Limits())
        try:
            parser.next_request(case.raw)
        except ProtocolError:
            assert case.raw not in lines.first_heads
        else:  # only a later part is wrong
            assert not lines.first_heads or not parser.is_empty or parser.decoder is not None


# --- bodies ---------------------------------------------------------------------------


def test_the_decoder_is_the_one_that_the_head_asks_for() -> None:
    for raw, kind in [(GET, type(None)), (POST, LengthDecoder), (CHUNKED, ChunkedDecoder)]:
        parser = Parser(FakePeer(), RequestLines(), Limits())
        parser.feed(raw)
        assert parser.next_request() is not None
        assert type(parser.decoder) is kind


@pytest.mark.parametrize("raw", [POST, CHUNKED], ids=["length", "chunked"])
def test_a_body_is_read_at_every_cut_with_what_follows(raw: bytes) -> None:
    raw += POST + CHUNKED + GET
    whole = read(raw)
    assert [exchange.is_whole for exchange in whole.exchanges] == [True] * 4
    for cut in range(1, len(raw)):
        assert read(raw[:cut], raw[cut:]) == whole


@pytest.mark.parametrize("raw", [POST, CHUNKED], ids=["length", "chunked"])
def test_a_cut_body_is_never_whole(raw: bytes) -> None:
    for end in range(raw.index(b"\r\n\r\n") + 4, len(raw)):
        (exchange,) = read(raw[:end]).exchanges
        assert not exchange.is_whole


def test_content_comes_as_it_arrives() -> None:
    parser = Parser(FakePeer(), RequestLines(), Limits())
    parser.feed(POST[:-3])
    assert parser.next_request() is not None
    assert parser.next_content() == b"he"
    assert parser.next_content() is None
    parser.feed(b"llo" + GET)
    assert parser.next_content() == b"llo"
    assert parser.next_content() == b""
    parser.decoder = None
    assert parser.next_content() == b""
    assert parser.next_request() is not None


def test_trailers_are_kept_apart_from_the_fields() -> None:
    (exchange,) = read(CHUNKED).exchanges
    assert exchange.trailers == [("x-sum", "1")]
    assert ("x-sum", "1") not in exchange.fields


def test_the_rest_behind_a_request_can_be_taken() -> None:
    parser = Parser(FakePeer(), RequestLines(), Limits())
    parser.feed(GET + b"\x81\x05hello")
    assert parser.next_request() is not None
    assert not parser.is_empty
    assert parser.take_rest() == b"\x81\x05hello"
    assert parser.is_empty
    assert parser.take_rest() == b""


def test_a_parser_knows_whether_it_holds_bytes() -> None:
    parser = Parser(FakePeer(), RequestLines(), Limits())
    assert parser.is_empty
    for raw in (GET, GET, GET, POST[:-5]):  # the last ones by the memo
        parser.feed(raw[:10])
        assert parser.next_request() is None
        assert not parser.is_empty
        parser.feed(raw[10:])
        assert parser.next_request() is not None
        assert parser.is_empty
    parser.feed(b"hello")
    assert not parser.is_empty
    assert parser.next_content() == b"hello"
    assert parser.is_empty


# --- the memos change nothing ---------------------------------------------------------


def with_fields(extra: bytes, target: bytes = b"/") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % (target, extra)


REPEATS = {
    "the same request": [GET] * 5,
    "another target": [GET, GET, GET.replace(b"/ ", b"/a ", 1), GET, GET.replace(b"/ ", b"/b ", 1)],
    "a target with a query": [GET, GET, GET.replace(b"/ ", b"/?a=1 ", 1), GET],
    "another method": [GET, GET, GET.replace(b"GET", b"HEAD"), GET],
    "another header section": [GET, GET, with_fields(b"X: 1\r\n"), with_fields(b"X: 2\r\n"), GET],
    "a longer header section": [GET, GET, with_fields(b"X: 1\r\n"), with_fields(b"X: 1\r\n")],
    "a shorter header section": [with_fields(b"X: 1\r\n")] * 3 + [GET] * 3,
    "Connection: close": [GET, GET, with_fields(b"Connection: close\r\n"), GET],
    "a body by length": [POST] * 4,
    "a body by chunks": [CHUNKED] * 4,
    "a body then none": [POST, POST, GET, GET, POST],
    "a body that looks like the memo": [
        POST,
        POST,
        GET,
        GET,
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n\r\n" + GET[5:],
        GET,
    ],
    "HTTP/1.0 after 1.1": [GET, GET, GET.replace(b"1.1", b"1.0"), GET, GET.replace(b"1.1", b"1.0")],
    "HTTP/1.1 after 1.0": [GET.replace(b"1.1", b"1.0")] * 3 + [GET] * 3,
    "HTTP/1.2 after 1.1": [GET, GET, GET.replace(b"1.1", b"1.2"), GET, GET.replace(b"1.1", b"1.2")],
    "empty lines before each": [b"\r\n" * 8 + GET] * 4,
    "the absolute-form": [with_fields(b"", target) for target in (b"http://a/", b"/", b"http://b/")]
    * 3,
    "a long target": [GET, GET, *[with_fields(b"", b"/" + b"a" * 300)] * 3],
}


@pytest.mark.parametrize("requests", REPEATS.values(), ids=REPEATS)
def test_a_repeated_request_is_read_as_the_first(requests: list[bytes]) -> None:
    expected = apart(requests)
    assert len(expected.exchanges) == len(requests)
    assert read(*requests) == expected
    assert read(b"".join(requests)) == expected
    assert read(*each_byte(b"".join(requests))) == expected
    for size in (7, 20, 33, 50):
        raw = b"".join(requests)
        assert read(*(raw[i : i + size] for i in range(0, len(raw), size))) == expected


@pytest.mark.parametrize("cut", range(1, len(GET)))
def test_a_repeated_head_may_be_split(cut: int) -> None:
    outcome = read(GET, GET, GET[:cut], GET[cut:] + GET[:cut], GET[cut:])
    assert outcome == apart([GET] * 4)


def test_a_repeated_section_is_shared() -> None:
    reader = Reader()
    reader.feed(GET + GET + GET.replace(b"/ ", b"/other ", 1) + GET)
    reader.feed(GET.replace(b"/ ", b"/other ", 1))
    sections = [request.section for request in reader.requests]
    assert sections[-1] is sections[-2]


def test_a_repeated_line_is_shared_between_connections() -> None:
    lines = RequestLines()
    first, second = Reader(lines=lines), Reader(lines=lines)
    first.feed(GET)
    second.feed(with_fields(b"X: 1\r\n"))
    assert first.requests[0].line is second.requests[0].line
    assert first.requests[0].section is not second.requests[0].section


def test_a_forgotten_section_is_parsed_again() -> None:
    reader = Reader()
    for _ in range(3):
        reader.feed(GET)
    reader.parser.forget_head()
    for _ in range(3):
        reader.feed(GET)
    assert Outcome(reader.exchanges) == apart([GET] * 6)
    assert reader.requests[3].section is not reader.requests[2].section


def test_an_idle_connection_keeps_no_body() -> None:
    parser = Parser(FakePeer(), RequestLines(), Limits())
    parser.feed(POST)
    assert parser.next_request() is not None
    assert parser.next_content() == b"hello"
    parser.forget_head()
    assert parser._buffer == b""
    parser.feed(POST + GET[:10])
    assert parser.next_request() is not None
    assert parser.next_content() == b"hello"
    parser.forget_head()  # only what was read
    assert parser.take_rest() == GET[:10]


def test_a_section_can_be_forgotten_before_there_is_one() -> None:
    reader = Reader()
    reader.parser.forget_head()
    reader.feed(GET + GET)
    assert Outcome(reader.exchanges) == apart([GET] * 2)


def test_the_memo_of_lines_is_bounded() -> None:
    lines = RequestLines()
    reader = Reader(lines=lines)
    largest = 0
    for i in range(3000):
        reader.feed(with_fields(b"", b"/%d" % i))
        largest = max(largest, len(lines))
    assert largest == 1024
    assert [exchange.path for exchange in reader.exchanges] == [f"/{i}" for i in range(3000)]


def test_the_memo_holds_no_query_and_no_long_line() -> None:
    lines = RequestLines()
    read(with_fields(b"", b"/?token=secret") + with_fields(b"", b"/" + b"a" * 300), lines=lines)
    assert not lines


def test_empty_lines_are_counted_for_each_request() -> None:
    # The third head is known, and whole only with the second read.
    outcome = read(GET, GET, b"\r\n" * 5, GET, b"\r\n" * 5, GET, b"\r\n" * 5 + GET)
    assert outcome == apart([GET] * 5)


def test_a_known_line_is_checked_for_its_host() -> None:
    outcome = read(GET, GET, b"GET / HTTP/1.1\r\nX: y\r\n\r\n")
    assert outcome.reason == "no Host field in HTTP/1.1"


def test_a_known_section_does_not_excuse_the_line() -> None:
    for line in (
        b"GET  /",
        b"GET /\x00",
        b"GET *",
        b" GET /",
        b"GET",
        b"GET / /",
        b" ",
        b"",
    ):
        raw = line + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
        outcome = read(GET, GET, GET, raw)
        assert outcome.refusal is not None, line
        assert (outcome.refusal, outcome.reason) == (read(raw).refusal, read(raw).reason)


@pytest.mark.parametrize(
    "end", [b"", b" ", b" HTTP/1.0x", b" HTTP/1.11", b" HTTP/2.0", b"HTTP/1.1"]
)
def test_a_known_line_does_not_excuse_its_version(end: bytes) -> None:
    for raw in (b"GET /%b\r\n\r\n" % end, b"GET /%b\r\nHost: localhost\r\n\r\n" % end):
        for behind in (b"", GET, b"\r\n"):
            outcome = read(GET, GET, raw + behind)
            assert outcome.refusal is not None
            assert (outcome.refusal, outcome.reason) == (read(raw).refusal, read(raw).reason)
            assert read(GET + GET + raw + behind) == outcome


def test_the_memos_of_hosts_hold_no_long_one() -> None:
    memos = (is_host, is_host_value)
    for memo in memos:
        memo.cache_clear()
    read(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % (b"a" * 30_000))
    read(b"GET http://%b/ HTTP/1.1\r\n\r\n" % (b"a" * 10_000))
    assert [memo.cache_info().currsize for memo in memos] == [0, 0]


PLAIN_FIELDS = [
    b"Host: a\r\n",
    b"host: a\r\n",
    b"HOST: a\r\n",
    b"Host:a\r\n",
    b"Host: \t a \t\r\n",
    b"Host: a\r\nHost: a\r\n",
    b"Host: a\r\nhost: b\r\n",
    b"Host: a b\r\n",
    b"Host: a,b\r\n",
    b"Host: %zz\r\n",
    b"Host: [::1]:80\r\n",
    b"Host: [::1\r\n",
    b"Host: \r\n",
    b"X: y\r\n",
    b"Hosts: a\r\n",
    b"Host : a\r\n",
    b" Host: a\r\n",
    b"Host: a\r\n b\r\n",
    b"A: b\r\nHost: a\r\nC: d\r\n",
    b"Host: a\r\nConnection: keep-alive\r\n",
    b"Connection: keep-alive\r\nHost: a\r\n",
    b"Connection: close\r\nHost: a\r\n",
    b"A: b\r\nConnection: close\r\nC: d\r\nHost: a\r\n",
    b"Host: a\r\nconnection: keep-alive\r\n",
    b"Host: a\r\nConnection: close\r\n",
    b"Host: a\r\nCONNECTION: Close\r\n",
    b"Host: a\r\nConnection: keep-alive\r\nConnection: close\r\n",
    b"Host: a\r\nConnection: keep-alive, close\r\n",
    b"Host: a\r\nConnection: keep-alive \r\n",
    b"Host: a\r\nContent-Length: 0\r\n",
    b"Host: a\r\ncontent-length: +1\r\n",
    b"Host: a\r\ncOnTeNt-LeNgTh: x\r\n",
    b"Host: a\r\nContent-Lengths: x\r\n",
    b"Host: a\r\nTransfer-Encoding: identity\r\n",
    b"Host: a\r\ntransfer-encoding: x\r\n",
    b"Host: a\r\nexpect: 100-continue\r\n",
    b"Host: a\r\nA: \x00\r\n",
    b"Host: a\r\nA: \x7f\r\n",
    b"Host: a\r\nA: \x0b\r\n",
    b"Host: a\r\nA: \xff\x80\r\n",
    b"Host: a\r\nA: a\tb\r\n",
    b"Host: a\r\nA: a\rb\r\n",
    b"Host: a\r\nA: a\nB: b\r\n",
    b"Host: a\r\nA b: c\r\n",
    b"Host: a\r\nA\r\n",
    b"Host: a\r\n: b\r\n",
    b"Host: a\r\nA:\r\n",
    b"Host: a\r\n\xe4: b\r\n",
    b"A: b\r\n" * 49 + b"Host: a\r\n" + b"A: b\r\n" * 50,
    b"A: b\r\n" * 50 + b"Host: a\r\n" + b"A: b\r\n" * 50,
    b"A: b\r\n" * 90 + b"Host: a\r\n" + b"A: b\r\n" * 90,
    b"Host: a\r\n" + b"A: b\r\n" * 99,
    b"Host: a\r\n" + b"A: b\r\n" * 100,
    b"Host: a\r\n" + b"A: b\r\nB: c\r\nA: d\r\n",
    b"Host: a\r\nA: %b\r\n" % (b"x" * 32_748),
    b"Host: a\r\nA: %b\r\n" % (b"x" * 32_749),
    b"Host: a\r\nA: %b\r\n" % (b"x" * 32_760),
    b"Host: %b\r\n" % (b"x" * 261),
    b"Host: %b\r\n" % (b"x" * 262),
]


@pytest.mark.parametrize("fields", PLAIN_FIELDS, ids=lambda fields: repr(fields[:60]))
def test_a_plain_head_is_read_as_one_that_is_not(fields: bytes) -> None:
    """One regex may take a head at the end of the buffer, but never a head with bytes after it."""
    raw = b"GET /page HTTP/1.1\r\n%b\r\n" % fields
    for before in ([], [GET, GET], [GET, b"GET /b HTTP/1.1\r\n%b\r\n" % fields]):
        assert read(*before, raw) == read(*before, raw + b"G")


LENGTH_FIELDS = [
    b"Host: a\r\nContent-Length: 3\r\n",
    b"content-length: 3\r\nHost: a\r\n",
    b"A: b\r\nContent-length: 003\r\nC: d\r\nHost: a\r\nE: f\r\n",
    b"Host: a\r\nConnection: keep-alive\r\nContent-Length: 3\r\nA: b\r\n",
    b"Host: a\r\nContent-Length: 0\r\n",
    b"Host: a\r\nContent-Length:3\r\n",
    b"Host: a\r\nContent-Length: 3 \r\n",
    b"Host: a\r\nContent-Length: +3\r\n",
    b"Host: a\r\nContent-Length: 3, 3\r\n",
    b"Host: a\r\nContent-Length: 999999999999999999\r\n",
    b"Host: a\r\nContent-Length: 9999999999999999999\r\n",
    b"Host: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n",
    b"Content-Length: 3\r\nHost: a\r\nContent-Length: 3\r\n",
    b"Content-Length: 3\r\nContent-Length: 3\r\nHost: a\r\n",
    b"Host: a\r\nContent-Length: 3\r\nA: b\r\nContent-Length: 4\r\n",
    b"Host: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    b"Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    b"Host: a\r\nContent-Length: 3\r\nConnection: close\r\n",
    b"Connection: close\r\nHost: a\r\nContent-Length: 3\r\n",
    b"Host: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n",
    b"Host: a\r\nContent-Length: 3\r\nHost: a\r\n",
    b"Host: a b\r\nContent-Length: 3\r\n",
    b"Content-Length: 3\r\n",
    b"Host: a\r\nContent-Length: 3\r\nA: \x00\r\n",
    b"Host: a\r\nContent-Length : 3\r\n",
    b"Host: a\r\nContent-Length: 3\r\nA: b\nB: c\r\n",
    b"A: b\r\n" * 25 + b"Host: a\r\nContent-Length: 3\r\n" + b"A: b\r\n" * 25,
    b"A: b\r\n" * 49 + b"Host: a\r\nContent-Length: 3\r\n" + b"A: b\r\n" * 49,
    b"A: b\r\n" * 49 + b"Host: a\r\nContent-Length: 3\r\n" + b"A: b\r\n" * 50,
    b"Host: a\r\nContent-Length: 3\r\nA: %b\r\n" % (b"x" * 32_760),
]


@pytest.mark.parametrize("fields", LENGTH_FIELDS, ids=lambda fields: repr(fields[:60]))
@pytest.mark.parametrize("line", [b"POST /page", b"POST /page?a=%zz", b"po[]st /", b"GET /a"])
def test_a_plain_head_with_a_length_is_read_as_one_that_is_not(line: bytes, fields: bytes) -> None:
    general = Limits()
    object.__setattr__(general, "plain_head", re.compile(rb"(?!)"))
    object.__setattr__(general, "length_head", re.compile(rb"(?!)"))
    raw = b"%b HTTP/1.1\r\n%b\r\nabc" % (line, fields)
    again = b"%b HTTP/1.1\r\n%b\r\ndef" % (line, fields)
    for reads in ((raw,), (raw + again,), (GET, raw, again), (raw, again, raw), (raw[:-3], b"abc")):
        assert read(*reads) == read(*reads, limits=general)


def test_close_before_host_is_the_last_request() -> None:
    outcome = read(b"GET / HTTP/1.1\r\nConnection: close\r\nHost: a\r\n\r\n")
    assert [exchange.is_persistent for exchange in outcome.exchanges] == [False]


def test_fields_on_both_sides_of_host_are_counted_together() -> None:
    fields = b"A: b\r\n" * 90
    outcome = read(b"GET / HTTP/1.1\r\n%bHost: a\r\n%b\r\n" % (fields, fields))
    assert outcome == Outcome([], HeadTooLarge, "more header fields than the limit")


def test_a_short_head_behind_a_longer_one_is_searched_from_its_beginning() -> None:
    long = with_fields(b"X-Pad: %b\r\n" % (b"a" * 500))
    short = b"GET / HTTP/1.0\r\n\r\n"
    for cut in range(1, len(short)):
        outcome = read(long[:-2], long[-2:], short[:cut], short[cut:])
        assert outcome == apart([long, short])
    assert read(long[:-2], long[-2:], short) == apart([long, short])


def test_the_memos_of_hosts_and_names_are_bounded() -> None:
    memos = (is_host, is_host_value)
    for number in range(2000):
        read(b"GET http://h%d/ HTTP/1.1\r\nHost: h%d\r\nX-%d: y\r\n\r\n" % ((number,) * 3))
        read(b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: %d\r\n\r\n" % number)
        MutableHeaders()[f"X-{number}"] = "y"
        assert len(headers_module._VARYING) <= 256
        assert len(headers_module._KEYS) <= 256
        assert len(headers_module._FIELDS) <= 512
    assert [memo.cache_info().currsize for memo in memos] == [512, 512]


def test_the_memos_of_names_hold_no_long_one() -> None:
    for memo in (headers_module._VARYING, headers_module._KEYS):
        memo.clear()
    headers_module._FIELDS.clear()
    long = "X-" + "a" * 63
    read(with_fields(b"%b: y\r\nAccept: %b\r\n" % (long.encode(), b"*" * 300)))
    MutableHeaders()[long] = "y"
    assert long not in headers_module._VARYING and long not in headers_module._KEYS
    assert not any(len(line) > 300 for line in headers_module._FIELDS)
    read(with_fields(b"%b: y\r\n" % long[:-1].encode()))
    MutableHeaders()[long[:-1]] = "y"
    assert long[:-1] in headers_module._VARYING and long[:-1] in headers_module._KEYS


def test_the_cache_of_field_lines_changes_nothing() -> None:
    raw = with_fields(b"Accept: */*\r\nAuthorization: secret\r\n")
    headers_module._FIELDS.clear()
    assert read(raw) == read(raw)
    assert headers_module._FIELDS.get(b"Accept: */*") == ("accept", "*/*")


# --- limits, at the limit and one past ------------------------------------------------


def outcomes(raw: bytes, limits: Limits) -> list[Outcome]:
    """Return the outcomes of `raw` whole, byte by byte, and cut at each place near its end."""
    cuts = [read(raw[:-cut], raw[-cut:], limits=limits) for cut in range(1, min(len(raw), 30))]
    return [read(raw, limits=limits), read(*each_byte(raw), limits=limits), *cuts]


@pytest.mark.parametrize("size", [14, 15, 30])
def test_the_request_line_may_reach_its_limit(size: int) -> None:
    target = b"/" + b"a" * (size - len(b"GET / HTTP/1.1"))
    raw = with_fields(b"", target)
    for outcome in outcomes(raw, Limits(max_request_line=size)):
        assert outcome.exchanges[0].target == target.decode()
    for outcome in outcomes(raw, Limits(max_request_line=size - 1)):
        assert outcome == Outcome([], TargetTooLong, "a request line over the limit")


def test_a_request_line_of_16_kib_is_read() -> None:
    target = b"/" + b"a" * (16 * 1024 - len(b"GET / HTTP/1.1"))
    assert read(with_fields(b"", target)).refusal is None
    assert read(with_fields(b"", target + b"a")).refusal is TargetTooLong


def test_the_header_section_may_reach_its_limit() -> None:
    raw = with_fields(b"X-Pad: aaaaaaaa\r\n")
    size = len(raw) - len(b"GET / HTTP/1.1\r\n")
    for outcome in outcomes(raw, Limits(max_header_section=size)):
        assert outcome.refusal is None
        assert len(outcome.exchanges) == 1
    for outcome in outcomes(raw, Limits(max_header_section=size - 1)):
        assert outcome == Outcome([], HeadTooLarge, "a header section over the limit")


def test_the_fields_may_reach_their_limit() -> None:
    raw = with_fields(b"X: 1\r\n" * 4)
    for outcome in outcomes(raw, Limits(max_header_fields=5)):
        assert len(outcome.exchanges[0].fields) == 5
    for outcome in outcomes(raw, Limits(max_header_fields=4)):
        assert outcome == Outcome([], HeadTooLarge, "more header fields than the limit")


@pytest.mark.parametrize("before", [0, 1, 48, 49, 50, 51, 98, 99])
@pytest.mark.parametrize("pad", [b"", b"x" * 60])
@pytest.mark.parametrize("length", [b"", b"Content-Length: 5\r\n"])
def test_one_regex_reads_all_heads_within_the_limit_of_fields(
    before: int, pad: bytes, length: bytes
) -> None:
    def head(behind: int) -> bytes:
        fields = b"a:%b\r\n" % pad * before, length, b"b:%b\r\n" % pad * behind
        return b"GET / HTTP/1.1\r\n%bHost:a\r\n%b%b\r\n" % fields

    behind = 99 - before - bool(length)
    if behind >= 0:
        parser = Parser(FakePeer(), RequestLines(), Limits())
        request = parser.next_request(head(behind))
        assert request is not None
        assert isinstance(request.section, PlainSection)
    for outcome in outcomes(head(behind + 1), Limits()):
        assert outcome == Outcome([], HeadTooLarge, "more header fields than the limit")


def test_limits_are_of_each_head_and_not_of_the_connection() -> None:
    limits = Limits(max_request_line=20, max_header_section=30, max_header_fields=1)
    assert len(read(GET * 50, limits=limits).exchanges) == 50
    assert len(read(*each_byte(GET * 50), limits=limits).exchanges) == 50


def test_trailers_and_extensions_have_limits() -> None:
    assert read(CHUNKED, limits=Limits(max_trailers=11)).refusal is None
    assert read(CHUNKED, limits=Limits(max_trailers=9)).refusal is HeadTooLarge
    assert read(CHUNKED, limits=Limits(max_chunk_extensions=6)).refusal is None
    assert read(CHUNKED, limits=Limits(max_chunk_extensions=5)).refusal is MalformedRequest


# --- refused immediately --------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16",  # a TLS hello
        b"\x00",
        b" ",
        b"\n",
        b"\rG",
        b"GET /\n",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1 ",
        b"GET / HTTP/1.1\rH",
        b"GET  ",
        b"GET /\x80",
        b"GET /#",
        b"GET / X",
        b"GET /\ra",
        b"G\rE",
        b"GET / HTTP/2.0\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n",
        b"GET index HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: a\n",
        b"GET / HTTP/1.1\r\nHost: a\rX",
        b"GET / HTTP/1.1\r\n\rX",
        b"GET / HTTP/1.1\r\n\n",
        b"\r\n" * 9,
        b"A" * 16_385,
        b"GET /" + b"a" * 16_380,
        b"GET / HTTP/1.1\r\n" + b"X" * 32_769,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 6000,
    ],
    ids=lambda raw: repr(raw[-20:]),
)
def test_bytes_that_can_become_no_request_are_refused_at_once(raw: bytes) -> None:
    assert read(raw).refusal is not None
    assert read(raw[:-1]).refusal is None or len(raw) > 20_000
    assert read(raw[:-1], raw[-1:]) == read(raw)
    assert read(GET, GET, raw).refusal is read(raw).refusal


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1",
        b"!#$%&'*+-.^_`|~ / HTTP/0.9",
        b"OPTIONS * HTTP/9.9",
        b"G http://a/?b=c&d HTTP/1.0",
    ],
)
def test_every_beginning_of_a_request_line_waits_for_more(line: bytes) -> None:
    for end in range(len(line) + 1):
        assert read(line[:end]) == read(*each_byte(line[:end])) == Outcome([])


PIECES = st.sampled_from(
    [b"G", b"GET", b" ", b"/", b"\t", b"#", b"HTTP/1.1", b"\r", b"\n", b"\x80"]
)


@given(st.lists(PIECES, max_size=8).map(b"".join))
@example(b"GET / HTTP/1.1")
@example(b"\r\nG /")
def test_a_line_is_refused_at_the_same_byte_however_it_comes(line: bytes) -> None:
    assert read(*each_byte(line)).refusal is read(line).refusal


def test_a_line_that_comes_byte_by_byte_is_matched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    matched = []

    class Counting:
        def __init__(self, part: re.Pattern[bytes]) -> None:
            self.part = part

        def match(self, line: bytes, start: int, end: int) -> re.Match[bytes] | None:
            matched.append(end - start)
            return self.part.match(line, start, end)

    parts = tuple(map(Counting, parser_module.REQUEST_LINE_PARTS))
    monkeypatch.setattr(parser_module, "REQUEST_LINE_PARTS", parts)
    line = b"GET /" + b"a" * 1000
    assert read(*each_byte(line)) == Outcome([])
    assert 0 < sum(matched) <= len(line)


def test_a_refused_parser_refuses_again() -> None:
    parser = Parser(FakePeer(), RequestLines(), Limits())
    parser.feed(b"junk\r\n\r\n")
    for _ in range(2):
        with pytest.raises(MalformedRequest):
            parser.next_request()


# --- properties -----------------------------------------------------------------------

TCHARS = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VCHARS = bytes(range(0x21, 0x7F)).decode()

names = st.text(TCHARS, min_size=1, max_size=12).filter(
    lambda name: name.lower() not in {"host", "content-length", "transfer-encoding"}
)
values = st.text(VCHARS + " \t" + bytes(range(0x80, 0x100)).decode("latin-1"), max_size=20).map(
    lambda value: value.strip(" \t\x85\xa0")
)
targets = st.text([c for c in VCHARS if c != "#"], max_size=20).map(lambda text: "/" + text)
methods = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "QUERY"])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    fields = [("Host", draw(st.sampled_from(["a", "b:80", "[::1]", ""])))]
    fields += draw(st.lists(st.tuples(names, values), max_size=4))
    body = draw(st.binary(max_size=40))
    match draw(st.sampled_from(["none", "length", "chunked"])):
        case "length":
            fields.append(("Content-Length", str(len(body))))
        case "chunked":
            fields.append(("Transfer-Encoding", "chunked"))
            size = draw(st.integers(1, 20))
            pieces = [body[i : i + size] for i in range(0, len(body), size)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"
        case _:
            body = b""
    head = f"{draw(methods)} {draw(targets)} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in draw(st.permutations(fields)))
    return head.encode("latin-1") + b"\r\n" + body


@st.composite
def connections(draw: st.DrawFn) -> bytes:
    """Requests, of which some are repeated, some refused, and some have changed bytes."""
    raw = b"".join(
        draw(
            st.lists(st.one_of(requests(), st.sampled_from(PIPELINE), st.just(b"\r\n")), max_size=5)
        )
    )
    raw += draw(st.sampled_from([b"", *(case.raw for case in REFUSED if len(case.raw) < 300)]))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(raw)))
        raw = raw[:place] + draw(st.sampled_from(SPICE)) + raw[place + draw(st.integers(0, 2)) :]
    return raw


SPICE = [
    b"",
    b"\r",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b"\x00",
    b":",
    b",",
    b";",
    b"0",
    b"f",
    b"\xff",
    b"/",
]


def in_pieces(raw: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = [0, *sorted({cut % len(raw) for cut in cuts} - {0}), len(raw)] if raw else []
    return [raw[a:b] for a, b in itertools.pairwise(places)]


@given(connections(), st.lists(st.integers(0, 10_000), max_size=8))
@example(b"\r\n" * 5 + GET, [2, 10])
def test_any_cut_gives_the_same_requests(raw: bytes, cuts: list[int]) -> None:
    whole, cut = read(raw), read(*in_pieces(raw, cuts))
    # With two faults the cut decides which of them is found first, but not that one is found.
    assert cut.exchanges == whole.exchanges
    assert (cut.refusal is None) is (whole.refusal is None)


@given(st.lists(requests(), max_size=6))
def test_any_requests_on_one_connection_are_read_as_apart(raws: list[bytes]) -> None:
    doubled = [raw for raw in raws for _ in range(2)]
    assert read(b"".join(doubled)) == apart(doubled)


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=6), st.booleans())
@example([b"GET / HTTP/1.1\r\n", b"\r\n"], True)
def test_arbitrary_bytes_raise_nothing_but_refusals(reads: list[bytes], behind: bool) -> None:
    outcome = read(*([GET, GET] if behind else []), *reads)  # these fill the memo of the last head
    assert len(outcome.exchanges) <= 2 + sum(map(len, reads))


def written_by_h11(
    method: str, target: str, fields: list[tuple[str, str]], body: bytes, *, is_chunked: bool
) -> bytes:
    client = h11.Connection(h11.CLIENT)
    framing = ("Transfer-Encoding", "chunked") if is_chunked else ("Content-Length", str(len(body)))
    request = h11.Request(
        method=method,
        target=target,
        headers=[("Host", "localhost"), *((n, v.encode("latin-1")) for n, v in fields), framing],
    )
    parts = [
        client.send(request),
        client.send(h11.Data(data=body)),
        client.send(h11.EndOfMessage()),
    ]
    return b"".join(part or b"" for part in parts)


@given(
    methods,
    targets,
    st.lists(st.tuples(names, values), max_size=5),
    st.binary(max_size=99),
    st.booleans(),
)
def test_what_h11_writes_is_read_alike(
    method: str, target: str, fields: list[tuple[str, str]], body: bytes, is_chunked: bool
) -> None:
    raw = written_by_h11(method, target, fields, body, is_chunked=is_chunked)
    (exchange,) = read(raw).exchanges
    assert (exchange.method, exchange.target, exchange.body or b"") == (method, target, body)
    assert exchange.fields[1:-1] == [(name.lower(), value) for name, value in fields]
    assert exchange.is_whole


def read_by_h11(raw: bytes) -> tuple[str, str, list[tuple[str, str]], bytes]:
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=100_000)
    server.receive_data(raw)
    request = server.next_event()
    assert isinstance(request, h11.Request), request
    body = b""
    while isinstance(event := server.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    fields = [(name.decode(), value.decode("latin-1")) for name, value in request.headers]
    return request.method.decode(), request.target.decode(), fields, body


@given(requests())
def test_a_request_that_we_read_h11_reads_alike(raw: bytes) -> None:
    (exchange,) = read(raw).exchanges
    assert read_by_h11(raw) == (
        exchange.method,
        exchange.target,
        exchange.fields,
        exchange.body or b"",
    )


# h11 returns a Transfer-Encoding in capitals in lower case, so the values are not compared.
@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.id)
def test_an_odd_request_h11_reads_alike(case: Accepted) -> None:
    raw = case.raw.lstrip(b"\r\n")  # h11 takes them too, but counts no more than it reads
    method, target, fields, body = read_by_h11(raw)
    (exchange,) = read(raw).exchanges
    assert (method, target, body) == (exchange.method, exchange.target, exchange.body or b"")
    assert [name for name, _ in fields] == [name for name, _ in exchange.fields]


# --- hostile input costs no more than its length --------------------------------------

HOSTILE = {
    "spaces in a value": with_fields(b"X: " + b" " * 32_000 + b"\r\n"),
    "spaces and a control byte": with_fields(b"X: " + b" " * 32_000 + b"\x00\r\n"),
    "spaces inside a value": with_fields(b"X: a" + b" " * 32_000 + b"b\r\n"),
    "tabs": with_fields(b"X:" + b"\t" * 32_000 + b"\r\n"),
    "colons": with_fields(b":" * 32_000 + b"\r\n"),
    "colons in a value": with_fields(b"X" + b":" * 32_000 + b"\r\n"),
    "tchars without a colon": with_fields(b"a" * 32_000 + b"\r\n"),
    "carriage returns": with_fields(b"X: " + b"\r" * 32_000 + b"\r\n"),
    "line feeds": with_fields(b"X: " + b"\n" * 32_000 + b"\r\n"),
    "carriage returns at the start": b"\r" * 32_000,
    "half empty lines": b"\r\n\r" * 10_000,
    "commas in Connection": with_fields(b"Connection: " + b"," * 32_000 + b"\r\n"),
    "commas in Transfer-Encoding": with_fields(b"Transfer-Encoding: " + b"," * 32_000 + b"\r\n"),
    "chunkeds": with_fields(b"Transfer-Encoding: " + b"chunked," * 4_000 + b"\r\n"),
    "digits": with_fields(b"Content-Length: " + b"1" * 32_000 + b"\r\n"),
    "colons in Host": b"GET / HTTP/1.1\r\nHost: " + b":" * 32_000 + b"\r\n\r\n",
    "brackets in Host": b"GET / HTTP/1.1\r\nHost: " + b"[" * 32_000 + b"\r\n\r\n",
    "IPv6 groups in Host": b"GET / HTTP/1.1\r\nHost: [" + b"1:" * 16_000 + b"]\r\n\r\n",
    "escapes in Host": b"GET / HTTP/1.1\r\nHost: " + b"%" * 32_000 + b"\r\n\r\n",
    "a repeated field": with_fields(b"X: y\r\n" * 5000),
    "slashes in the target": with_fields(b"", b"/" * 16_000),
    "question marks in the target": with_fields(b"", b"/" + b"?" * 16_000),
    "spaces in the line": b"GET " + b" " * 16_000 + b"HTTP/1.1\r\n\r\n",
    "versions in the line": b"GET /" + b" HTTP/1.1" * 1500 + b"\r\n\r\n",
    "an authority without end": with_fields(b"", b"http://" + b"a" * 16_000),
    "empty requests": b"\r\n\r\n" * 8_000,
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_hostile_input_is_done_with(raw: bytes, size: int) -> None:
    # A quadratic step would take minutes here with reads of one byte, and seconds with one read.
    for _ in range(20 if size > 1 else 1):
        outcome = read(*(raw[i : i + size] for i in range(0, len(raw), size)))
        assert outcome.refusal is not None or len(outcome.exchanges) == 1


class CountingBytes(bytes):
    """Bytes that count how many of them `find` has searched."""

    searched = 0

    def find(self, *arguments: object) -> int:
        start = arguments[1] if len(arguments) > 1 else 0
        found = super().find(*arguments)  # type: ignore[arg-type]
        assert isinstance(start, int)
        CountingBytes.searched += (len(self) if found < 0 else found) - start
        return found


def test_a_pipeline_is_searched_once() -> None:
    requests = 500
    raw = CountingBytes(b"".join(with_fields(b"", b"/%d?q" % i) for i in range(requests)))
    CountingBytes.searched = 0
    reader = Reader()
    reader.feed(raw)
    assert len(reader.exchanges) == requests
    assert CountingBytes.searched < 3 * len(raw)


def test_message_of_a_refusal_is_short_and_printable() -> None:
    for case in REFUSED:
        reader = Reader()
        with pytest.raises((ProtocolError, HTTPError)) as refused:
            reader.feed(case.raw)
        assert len(str(refused.value)) < 240
        assert str(refused.value).isprintable()
