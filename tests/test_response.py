from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from types import SimpleNamespace

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb import response as response_module
from microweb.errors import ClientDisconnected, LocalProtocolError
from microweb.framing import CLOSE, KEEP_ALIVE
from microweb.headers import Headers
from microweb.parser import Limits, Parser, RequestLines
from microweb.request import Address, Request
from microweb.response import (
    HTML,
    JSON,
    OCTETS,
    TEXT,
    ByteStream,
    HeadCache,
    HTMLText,
    JSONResponse,
    Response,
    StreamResponse,
    UpgradeResponse,
    html,
    phrase_of,
    status_line,
)


@dataclass
class FakePeer:
    """A `Peer` that nobody is behind."""

    scheme: str = "http"
    address: Address | None = None
    max_form_fields: int = 1000
    max_form_text: int = 1000

    def origin_of(self, headers: Headers) -> tuple[Address | None, str]:
        return self.address, self.scheme


@dataclass
class FakeStream:
    """A `ByteStream` that keeps what is written, and wants a drain past `high_water` bytes."""

    high_water: int = 1_000_000
    closes_after: int = 1_000_000
    writes: list[bytes] = field(default_factory=list)
    drained_at: list[int] = field(default_factory=list)  # after so many writes

    def write(self, data: bytes | memoryview) -> bool:
        if len(self.writes) >= self.closes_after:
            raise ClientDisconnected("the peer left")
        self.writes.append(bytes(data))
        return len(data) > self.high_water

    async def drain(self) -> None:
        self.drained_at.append(len(self.writes))

    async def read(self) -> bytes:
        return b""

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)


def make_request(
    method: str = "GET", *, version: str = "1.1", scheme: str = "http", host: str = "testserver"
) -> Request:
    parser = Parser(FakePeer(scheme), RequestLines(), Limits())
    parser.feed(f"{method} /page HTTP/{version}\r\nHost: {host}\r\n\r\n".encode())
    request = parser.next_request()
    assert request is not None
    return request


GET = make_request()
HEAD = make_request("HEAD")
OLD = make_request(version="1.0")
HEADS = HeadCache()  # of one second, so that answers can be compared


@pytest.fixture
def heads() -> HeadCache:
    return HeadCache()


def encode(response: Response, request: Request = GET, connection: bytes = b"") -> bytes:
    answer = response.encode(request, HEADS, connection)
    assert answer is not None
    return answer


async def send(response: Response, request: Request = GET, connection: bytes = b"") -> FakeStream:
    stream = FakeStream()
    await response.send_to(stream, request, HEADS, connection)
    return stream


def split(answer: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Return status line, fields in lower case without Date, and body."""
    head, end, body = answer.partition(b"\r\n\r\n")
    assert end
    first, *lines = head.split(b"\r\n")
    fields = dict(line.split(b": ", 1) for line in lines)
    assert len(fields) == len(lines)
    assert re.fullmatch(rb"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", fields.pop(b"Date"))
    return first, {name.lower(): value for name, value in fields.items()}, body


def location(response: Response) -> str:
    return response.headers["location"]


# --- encode ---------------------------------------------------------------------------


def test_a_small_answer_is_one_piece() -> None:
    assert split(encode(Response("hello"))) == (
        b"HTTP/1.1 200 OK",
        {b"content-type": TEXT.encode(), b"content-length": b"5"},
        b"hello",
    )


def test_a_touched_answer_is_the_same() -> None:
    touched = Response("hello")
    touched.headers["X-Name"] = "caf\xe9"
    touched.headers.add("x-name", "b")
    answer = encode(touched)
    assert b"\r\nX-Name: caf\xe9\r\nX-Name: b\r\n" in answer
    assert split(answer.replace(b"X-Name: caf\xe9\r\nX-Name: b\r\n", b"")) == split(
        encode(Response("hello"))
    )


@pytest.mark.parametrize(
    ("response", "content_type", "body"),
    [
        (Response(), None, b""),
        (Response(b"\xff"), OCTETS, b"\xff"),
        (Response("é"), TEXT, "é".encode()),
        (Response(""), TEXT, b""),
        (Response("a", content_type="text/css"), "text/css", b"a"),
        (Response(b"a", content_type="image/png"), "image/png", b"a"),
        (Response(b"a", headers={"content-type": "image/png"}), "image/png", b"a"),
        (Response.text("a"), TEXT, b"a"),
        (Response.html("<b>"), HTML, b"<b>"),
        (Response.json({"a": [1, None]}), JSON, b'{"a":[1,null]}'),
    ],
)
def test_the_content_type_is_that_of_the_body(
    response: Response, content_type: str | None, body: bytes
) -> None:
    _, fields, sent = split(encode(response))
    assert fields.get(b"content-type") == (content_type.encode() if content_type else None)
    assert fields[b"content-length"] == str(len(body)).encode()
    assert sent == body


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (200, b"HTTP/1.1 200 OK\r\n"),
        (201, b"HTTP/1.1 201 Created\r\n"),
        (302, b"HTTP/1.1 302 Found\r\n"),
        (404, b"HTTP/1.1 404 Not Found\r\n"),
        (413, b"HTTP/1.1 413 Content Too Large\r\n"),
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


@pytest.mark.parametrize("status", [0, 100, 101, 199, 600, 1000, -200, "200", 404.0, None])
def test_a_status_that_is_not_final_is_refused(status: int) -> None:
    with pytest.raises(LocalProtocolError, match="expected a final status"):
        Response(status=status)
    with pytest.raises(LocalProtocolError, match="expected a final status"):
        Response().status = status


@pytest.mark.parametrize("is_touched", [False, True])
@pytest.mark.parametrize("body", [b"", b"hello", b"x" * 1000])
def test_head_is_answered_as_get_without_the_body(body: bytes, is_touched: bool) -> None:
    responses = [Response(body), Response(body)]
    if is_touched:
        for response in responses:
            response.headers["X"] = "y"
    to_get, to_head = encode(responses[0]), encode(responses[1], HEAD)
    assert to_head == to_get.removesuffix(body)


@pytest.mark.parametrize("is_touched", [False, True])
@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("body", [b"", b"no content is sent"])
def test_204_and_304_have_no_content_and_no_length(
    status: int, body: bytes, is_touched: bool
) -> None:
    response = Response(body, status)
    if is_touched:
        response.headers["X"] = "y"
    answer = encode(response)
    assert answer.endswith(b"\r\n\r\n")
    _, fields, _ = split(answer)
    assert b"content-length" not in fields
    assert b"transfer-encoding" not in fields


@pytest.mark.parametrize("connection", [b"", CLOSE, KEEP_ALIVE])
async def test_the_connection_field_is_sent_as_the_server_decides(connection: bytes) -> None:
    touched = Response("a")
    touched.headers["Connection"] = "x"
    assert connection in encode(Response("a"), connection=connection)
    assert touched.encode(GET, HEADS, connection) is None  # it may have a word in it
    answer = b"".join((await send(touched, connection=connection)).writes)
    assert answer.count(b"Connection:") == 1
    assert (connection or b"Connection: x\r\n") in answer


@pytest.mark.parametrize(
    ("response", "request_", "wanted", "connection"),
    [
        (Response(), GET, b"", b""),
        (Response(), GET, CLOSE, CLOSE),
        (Response(), OLD, KEEP_ALIVE, KEEP_ALIVE),
        (Response(headers={"connection": "CLOSE"}), GET, b"", CLOSE),
        (Response(headers={"connection": "x, close"}), GET, b"", CLOSE),
        (Response(headers={"connection": "closed"}), GET, b"", b""),
        (Response.stream([]), GET, b"", b""),
        (Response.stream([]), OLD, KEEP_ALIVE, CLOSE),
        (Response.stream([], headers={"Content-Length": "0"}), OLD, KEEP_ALIVE, KEEP_ALIVE),
    ],
)
def test_a_response_says_whether_the_connection_goes_on(
    response: Response, request_: Request, wanted: bytes, connection: bytes
) -> None:
    assert response.persistence(request_, wanted) == connection


def test_no_server_field_is_sent() -> None:
    assert b"server:" not in encode(Response("a")).lower()


def test_a_date_of_the_applications_own_is_kept() -> None:
    answer = encode(Response("a", headers={"Date": "Thu, 01 Jan 1970 00:00:00 GMT"}))
    assert answer.count(b"Date:") == 1
    assert b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n" in answer


# --- framing belongs to the response --------------------------------------------------


def test_a_right_content_length_is_sent_once() -> None:
    answer = encode(Response("hello", headers={"content-length": "5"}))
    assert answer.lower().count(b"content-length: 5\r\n") == 1


@pytest.mark.parametrize("length", ["4", "6", "", "-1", "five", "05", "+5", "5, 5"])
def test_a_wrong_content_length_is_refused(length: str) -> None:
    with pytest.raises(LocalProtocolError, match="Content-Length"):
        encode(Response("hello", headers={"Content-Length": length}))


def test_two_content_lengths_are_refused() -> None:
    response = Response("hello", headers=[("Content-Length", "5"), ("content-length", "5")])
    with pytest.raises(LocalProtocolError, match="Content-Length"):
        encode(response)


def test_the_length_that_get_would_have_may_be_said_without_a_body() -> None:
    to_head = Response(headers={"Content-Length": "1234"})
    assert b"Content-Length: 1234\r\n" in encode(to_head, HEAD)
    not_modified = Response(status=304, headers={"Content-Length": "1234"})
    assert b"Content-Length: 1234\r\n" in encode(not_modified)


@pytest.mark.parametrize(
    ("status", "request_", "length"),
    [(204, GET, "0"), (204, HEAD, "0"), (304, GET, "x"), (200, HEAD, "x"), (200, HEAD, "5, 5")],
)
def test_a_length_that_can_not_be_is_refused_without_a_body(
    status: int, request_: Request, length: str
) -> None:
    response = Response(status=status, headers={"Content-Length": length})
    with pytest.raises(LocalProtocolError, match="Content-Length"):
        encode(response, request_)


@pytest.mark.parametrize("coding", ["chunked", "gzip"])
def test_a_transfer_coding_of_the_applications_own_is_refused(coding: str) -> None:
    with pytest.raises(LocalProtocolError, match="Transfer-Encoding"):
        encode(Response("a", headers={"Transfer-Encoding": coding}))


INJECTIONS = ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rb", "a\x00", "a\r\n\r\n<script>"]


@pytest.mark.parametrize("text", INJECTIONS)
def test_nothing_that_the_application_sets_splits_the_answer(text: str) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: Response("a", headers={"X": text}),
        lambda: Response("a", headers={text: "x"}),
        lambda: Response("a", headers={"Content-Type": text}),
        lambda: Response("a", content_type=text),
        lambda: Response.stream([], content_type=text),
        lambda: Response().headers.add("X", text),
        lambda: Response().headers.__setitem__("X", text),
    ]
    for attempt in attempts:
        with pytest.raises(LocalProtocolError):
            attempt()
    for name, value in [(text, "x"), ("x", text)]:
        with pytest.raises(ValueError, match="expected"):
            Response().set_cookie(name, value)
    assert not set(location(Response.redirect(text))) & set("\r\n\x00")


# --- one exchange ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: Response("hello"),
        lambda: Response(status=204),
        lambda: Response(b"x" * 100, 404),
        lambda: Response.json([1]),
    ],
)
def test_an_untouched_answer_may_be_shared(make: Callable[[], Response]) -> None:
    shared = make()
    first = encode(shared)
    assert [encode(shared), encode(shared, HEAD), encode(shared)][::2] == [first, first]


async def test_an_untouched_large_answer_may_be_shared() -> None:
    shared = Response(b"x" * 100_000)
    first, second = await send(shared), await send(shared)
    assert first.written == second.written


@pytest.mark.parametrize(
    "touch",
    [
        lambda response: response.headers.__setitem__("X", "y"),
        lambda response: response.headers.add("X", "y"),
        lambda response: response.headers.__delitem__("Content-Type"),
        lambda response: response.set_cookie("a", "b"),
        lambda response: response.delete_cookie("a"),
        lambda response: setattr(response, "status", 404),
        lambda response: setattr(response, "body", b"x"),
    ],
)
@pytest.mark.parametrize("status", [200, 204])
def test_an_answer_that_was_sent_is_not_touched(
    touch: Callable[[Response], None], status: int
) -> None:
    response = Response("hello", status)
    touch(response)  # which is no fault before
    response = Response("hello", status)
    before = encode(response)
    with pytest.raises(LocalProtocolError, match="was sent"):
        touch(response)
    assert encode(Response("hello", status)) == before


def test_a_touched_answer_is_not_sent_twice() -> None:
    response = Response("hello")
    response.headers["X"] = "y"
    encode(response)
    with pytest.raises(LocalProtocolError, match="was sent"):
        encode(response)
    with pytest.raises(LocalProtocolError, match="was sent"):
        response.headers["X"] = "z"


async def test_a_stream_is_not_sent_twice() -> None:
    response = Response.stream(["a"])
    await send(response)
    with pytest.raises(LocalProtocolError, match="was sent"):
        await send(response)


def test_what_is_set_before_is_sent() -> None:
    response = Response("hello")
    response.status = 201
    response.body = b"other"
    del response.headers["Content-Type"]
    assert response.body == b"other"
    assert split(encode(response)) == (
        b"HTTP/1.1 201 Created",
        {b"content-length": b"5"},
        b"other",
    )


# --- large bodies ---------------------------------------------------------------------


async def test_a_large_body_is_written_in_slices() -> None:
    body = bytes(range(256)) * 4096  # 1 MiB
    response = Response(body)
    assert response.encode(GET, HEADS, b"") is None
    stream = FakeStream(high_water=100_000)
    await response.send_to(stream, GET, HEADS, b"")
    head, *slices = stream.writes
    assert b"Content-Length: 1048576\r\n" in head
    assert b"".join(slices) == body
    assert max(map(len, slices)) <= 256 * 1024
    assert stream.drained_at == [2, 3, 4, 5]


async def test_a_large_body_is_not_sent_to_head() -> None:
    stream = await send(Response(b"x" * 100_000), HEAD)
    assert split(stream.written) == (
        b"HTTP/1.1 200 OK",
        {b"content-type": OCTETS.encode(), b"content-length": b"100000"},
        b"",
    )


async def test_a_peer_that_leaves_ends_a_large_body() -> None:
    stream = FakeStream(closes_after=2)
    with pytest.raises(ClientDisconnected):
        await Response(b"x" * 1_000_000).send_to(stream, GET, HEADS, b"")
    assert len(stream.writes) == 2


# --- the heads' cache -----------------------------------------------------------------


def test_a_head_is_made_once_a_second(heads: HeadCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("microweb.response.time.time", lambda: 784111777.5)
    heads.refresh()
    first = Response("a").encode(GET, heads, b"")
    assert first is not None
    assert b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" in first
    heads.refresh()
    assert len(heads) == 1
    monkeypatch.setattr("microweb.response.time.time", lambda: 784111778.0)
    heads.refresh()
    assert len(heads) == 0
    second = Response("a").encode(GET, heads, b"")
    assert second == first.replace(b"08:49:37", b"08:49:38")


# --- cookies --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "secure", "is_secure"),
    [
        ("http", None, False),
        ("https", None, True),
        ("http", True, True),
        ("https", False, False),
    ],
)
def test_a_cookie_is_secure_by_the_requests_scheme(
    scheme: str, secure: bool | None, is_secure: bool
) -> None:
    response = Response().set_cookie("a", "b", secure=secure)
    answer = encode(response, make_request(scheme=scheme))
    suffix = b"; Path=/; Secure; HttpOnly" if is_secure else b"; Path=/; HttpOnly"
    assert b"\r\nSet-Cookie: a=b" + suffix + b"; SameSite=Lax\r\n" in answer


def test_cookies_are_lines_of_their_own() -> None:
    response = Response().set_cookie("a", "1", max_age=60).set_cookie("b", "2", httponly=False)
    response.headers.add("Set-Cookie", "c=3")
    answer = encode(response)
    assert answer.count(b"Set-Cookie: ") == 3
    assert b"Set-Cookie: a=1; Max-Age=60; Path=/; HttpOnly; SameSite=Lax\r\n" in answer
    assert b"Set-Cookie: b=2; Path=/; SameSite=Lax\r\n" in answer


def test_a_cookie_has_all_its_attributes() -> None:
    response = Response().set_cookie(
        "a",
        "b",
        expires=datetime(2030, 1, 1, tzinfo=UTC),
        path="/x",
        domain="a.test",
        samesite="none",
        partitioned=True,
    )
    assert (
        b"Set-Cookie: a=b; Expires=Tue, 01 Jan 2030 00:00:00 GMT; Domain=a.test; Path=/x; Secure; "
        b"HttpOnly; SameSite=None; Partitioned\r\n"
    ) in encode(response)


def test_a_deleted_cookie_has_expired() -> None:
    answer = encode(Response().delete_cookie("a", path="/x"))
    assert b"Set-Cookie: a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/x" in answer


def test_a_host_cookie_is_deleted_as_one() -> None:
    answer = encode(Response().delete_cookie("__Host-a"))
    assert b"Set-Cookie: __Host-a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; " in answer
    assert b"; Path=/; Secure; HttpOnly; SameSite=Lax\r\n" in answer


def test_a_cookie_that_is_set_again_is_sent_once() -> None:
    response = Response().set_cookie("a", "1").set_cookie("b", "2").set_cookie("a", path="/x")
    answer = encode(response.set_cookie("a", "3").delete_cookie("b"))
    assert answer.count(b"Set-Cookie: ") == 3
    assert b"Set-Cookie: a=; Path=/x;" in answer
    assert b"Set-Cookie: a=3; Path=/;" in answer
    assert b"Set-Cookie: b=; Expires=" in answer


async def test_a_stream_sets_its_cookies() -> None:
    stream = await send(Response.stream(["a"]).set_cookie("a", "b"))
    assert b"Set-Cookie: a=b" in stream.written


# --- redirects ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("/a?b=c&d#e", "/a?b=c&d#e"),
        ("/a b", "/a%20b"),
        ("/é", "/%C3%A9"),
        ("/%C3%A9", "/%C3%A9"),
        ("https://a.test/x?y=%20", "https://a.test/x?y=%20"),
        ("http://[::1]:80/", "http://[::1]:80/"),
        ("/\r\nSet-Cookie: a=b", "/%0D%0ASet-Cookie:%20a=b"),
        ("/\x00", "/%00"),
        ("\\\\evil.test", "%5C%5Cevil.test"),
        ('/"<>', "/%22%3C%3E"),
        ("//other.test/", "//other.test/"),  # said by the application itself
    ],
)
def test_a_redirect_is_encoded(url: str, sent: str) -> None:
    response = Response.redirect(url)
    assert response.status == 303
    assert location(response) == sent
    assert split(encode(response))[1] == {b"location": sent.encode(), b"content-length": b"0"}


@pytest.mark.parametrize("status", [201, 301, 302, 303, 307, 308])
def test_a_redirect_has_a_status_that_redirects(status: int) -> None:
    assert Response.redirect("/", status).status == status


@pytest.mark.parametrize("status", [200, 204, 300, 304, 305, 404, "303"])
def test_a_redirect_has_no_other_status(status: int) -> None:
    with pytest.raises(LocalProtocolError, match="expected a redirecting status"):
        Response.redirect("/", status)


@pytest.mark.parametrize(
    "url",
    [
        "/",
        "/a/b?c=d#e",
        "/%41",
        "/%C3%A9t%C3%A9",
        "/a//b",
        "/a%5cb",
        "/:80",
        "/@evil.test",
        "a/b",
        "../a",
        "?a=b",
        "?next=https://evil.test/",
        "#top",
        "",
        "http://testserver",
        "http://testserver/a",
        "HTTP://TESTSERVER/a",
        "http://testserver?a",
    ],
)
async def test_a_local_redirect_stays_on_this_origin(url: str) -> None:
    response = await Response.redirect(url, local=True).prepare(GET)
    assert location(response) == url


@pytest.mark.parametrize(
    "url",
    [
        "//evil.test",
        "///evil.test",
        "////evil.test",
        "//testserver@evil.test",
        "/\\evil.test",
        "/\\/evil.test",
        "/%5cevil.test",
        "/%5Cevil.test",
        "/%2fevil.test",
        "/%2F/evil.test",
        "/\t/evil.test",
        "/\n/evil.test",
        "/\r/evil.test",
        "/%09/evil.test",
        "/%0a/evil.test",
        "/%0D/evil.test",
        "https:evil.test",
        "http:evil.test",
        "http:/evil.test",
        "http:///evil.test",
        "http:\\\\evil.test",
        "https://evil.test/",
        "http://evil.test/",
        "https://testserver/",  # another origin: RFC 6454
        "http://testserver:81/",
        "http://testserver.evil.test/",
        "http://testserver@evil.test/",
        "http://evil.test\\@testserver/",
        "http://testserver\\.evil.test/",
        "http://evil.test#@testserver/",
        "http://evil.test?@testserver/",
        "ftp://testserver/",
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "mailto:a@b",
        "http://[evil",
        "http://[::1",
        "//[",
        "http://]",
    ],
)
async def test_a_local_redirect_goes_nowhere_else(url: str) -> None:
    response = await Response.redirect(url, local=True).prepare(GET)
    assert location(response) == "/"


@pytest.mark.parametrize(
    "url",
    [
        " //evil.test",
        "\t//evil.test",
        "\x01//evil.test",
        "\\\\evil.test",
        "\\/evil.test",
        "java\tscript:alert(1)",
        " javascript:alert(1)",
        "\x00javascript:alert(1)",
        "h\ttp://evil.test",
        "\N{FULLWIDTH SOLIDUS}\N{FULLWIDTH SOLIDUS}evil.test",
    ],
)
async def test_what_a_browser_would_drop_or_turn_is_escaped(url: str) -> None:
    sent = location(await Response.redirect(url, local=True).prepare(GET))
    # A relative path now: it begins with an escape, or has one where a scheme has none.
    assert re.match(r"[a-z]*%", sent)


async def test_a_local_redirect_needs_a_host_to_compare() -> None:
    for url in ("http:///evil.test", "http:evil.test", "http://"):
        response = await Response.redirect(url, local=True).prepare(make_request(host=""))
        assert location(response) == "/"


async def test_a_local_redirect_knows_its_port_and_scheme() -> None:
    request = make_request(scheme="https", host="[::1]:8443")
    for url, sent in [
        ("https://[::1]:8443/a", "https://[::1]:8443/a"),
        ("http://[::1]:8443/a", "/"),
        ("https://[::1]/a", "/"),
    ]:
        assert location(await Response.redirect(url, local=True).prepare(request)) == sent


@given(st.text(max_size=20))
def test_no_text_splits_a_redirect(text: str) -> None:
    if not any("\ud800" <= c <= "\udfff" for c in text):
        sent = location(Response.redirect(text))
        assert re.fullmatch(r"[\x21-\x7e]*", sent)
        assert not set(sent) & set('\\"<>^`{|}')


# --- streams --------------------------------------------------------------------------


class Pieces:
    """An asynchronous iterator that knows how far it came and whether it was closed."""

    def __init__(self, *pieces: str | bytes | Exception) -> None:
        self.pieces = pieces
        self.started = 0
        self.is_closed = False

    async def generate(self) -> AsyncIterator[str | bytes]:
        try:
            for piece in self.pieces:
                self.started += 1
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.is_closed = True


async def test_a_stream_is_chunked() -> None:
    pieces = Pieces("é", b"", b"\xff\xfe")
    stream = await send(Response.stream(pieces.generate()))
    assert split(stream.written) == (
        b"HTTP/1.1 200 OK",
        {b"content-type": TEXT.encode(), b"transfer-encoding": b"chunked"},
        b"2\r\n\xc3\xa9\r\n2\r\n\xff\xfe\r\n0\r\n\r\n",
    )
    assert pieces.is_closed


async def test_a_stream_is_never_one_piece() -> None:
    assert Response.stream(["a"]).encode(GET, HEADS, b"") is None


@pytest.mark.parametrize(
    ("pieces", "content_type"),
    [(["a", b"b"], TEXT), ([b"a", "b"], OCTETS), ([""], TEXT), ([b"", ""], OCTETS), ([], None)],
)
async def test_the_first_piece_decides_the_content_type(
    pieces: list[str | bytes], content_type: str | None
) -> None:
    _, fields, _ = split((await send(Response.stream(pieces))).written)
    assert fields.get(b"content-type") == (content_type.encode() if content_type else None)


async def test_a_content_type_that_is_given_goes_before_the_first_piece() -> None:
    seen: list[int] = []
    stream = FakeStream()

    async def pieces() -> AsyncIterator[bytes]:
        seen.append(len(stream.writes))
        yield b"a"

    response = Response.stream(pieces(), content_type="text/csv")
    await response.send_to(stream, GET, HEADS, b"")
    assert seen == [1]
    assert split(stream.written)[1][b"content-type"] == b"text/csv"


async def test_an_empty_stream_has_its_end() -> None:
    _, fields, body = split((await send(Response.stream([]))).written)
    assert fields == {b"transfer-encoding": b"chunked"}
    assert body == b"0\r\n\r\n"


async def test_a_stream_to_http_1_0_ends_with_the_connection() -> None:
    stream = await send(Response.stream(["a", "b"]), OLD, CLOSE)
    _, fields, body = split(stream.written)
    assert fields == {b"content-type": TEXT.encode(), b"connection": b"close"}
    assert body == b"ab"


async def test_a_plain_iterable_is_iterated_in_a_thread() -> None:
    threads: set[int] = set()

    def pieces() -> Iterator[str]:
        try:
            for piece in "abc":
                threads.add(threading.get_ident())
                yield piece
        finally:
            threads.add(threading.get_ident())

    stream = await send(Response.stream(pieces()))
    assert split(stream.written)[2] == b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n"
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("request_", [GET, OLD])
async def test_a_declared_length_frames_a_stream(request_: Request) -> None:
    response = Response.stream(["he", b"llo"], headers={"Content-Length": "5"})
    _, fields, body = split((await send(response, request_)).written)
    assert fields == {b"content-type": TEXT.encode(), b"content-length": b"5"}
    assert body == b"hello"


async def test_a_stream_longer_than_it_said_is_a_fault() -> None:
    pieces = Pieces("hell", "o!", "more")
    response = Response.stream(pieces.generate(), headers={"Content-Length": "5"})
    stream = FakeStream()
    with pytest.raises(LocalProtocolError, match="longer than its Content-Length"):
        await response.send_to(stream, GET, HEADS, b"")
    assert stream.written.endswith(b"\r\n\r\nhell")  # and the rest is never sent
    assert pieces.started == 2
    assert pieces.is_closed


@pytest.mark.parametrize("pieces", [[], ["hell"]])
async def test_a_stream_shorter_than_it_said_is_a_fault(pieces: list[str]) -> None:
    response = Response.stream(pieces, headers={"Content-Length": "5"})
    stream = FakeStream()
    with pytest.raises(LocalProtocolError, match="with Content-Length 5"):
        await response.send_to(stream, GET, HEADS, b"")
    assert bool(stream.writes) is bool(pieces)


@pytest.mark.parametrize("length", ["x", "", "-1", "+1", "1_0", "1, 1", "\xb2"])
async def test_a_stream_says_no_length_that_is_none(length: str) -> None:
    pieces = Pieces("a")
    response = Response.stream(
        pieces.generate(), headers={"Content-Length": length}, content_type=TEXT
    )
    stream = FakeStream()
    with pytest.raises(LocalProtocolError, match="Content-Length"):
        await response.send_to(stream, GET, HEADS, b"")
    assert stream.writes == []


async def test_a_stream_that_fails_at_once_has_written_nothing() -> None:
    pieces = Pieces(RuntimeError("boom"))
    stream = FakeStream()
    with pytest.raises(RuntimeError, match="boom"):
        await Response.stream(pieces.generate()).send_to(stream, GET, HEADS, b"")
    assert stream.writes == []
    assert pieces.is_closed


async def test_a_stream_that_fails_half_way_has_no_end() -> None:
    pieces = Pieces("a", RuntimeError("boom"))
    stream = FakeStream()
    with pytest.raises(RuntimeError, match="boom"):
        await Response.stream(pieces.generate()).send_to(stream, GET, HEADS, b"")
    assert stream.written.endswith(b"1\r\na\r\n")


async def test_a_stream_is_closed_where_the_peer_leaves() -> None:
    pieces = Pieces("a", "b", "c", "d")
    stream = FakeStream(closes_after=3)
    with pytest.raises(ClientDisconnected):
        await Response.stream(pieces.generate()).send_to(stream, GET, HEADS, b"")
    assert pieces.started == 3
    assert pieces.is_closed


async def test_a_plain_iterable_is_closed_where_the_peer_leaves() -> None:
    closed = threading.Event()

    def pieces() -> Iterator[str]:
        try:
            while True:
                yield "a"
        finally:
            closed.set()

    with pytest.raises(ClientDisconnected):
        await Response.stream(pieces()).send_to(FakeStream(closes_after=3), GET, HEADS, b"")
    assert closed.is_set()


async def test_a_stream_waits_for_the_peer() -> None:
    stream = FakeStream(high_water=10)
    response = Response.stream(["a" * 100, "b", "c" * 100], content_type=TEXT)
    await response.send_to(stream, GET, HEADS, b"")
    assert stream.drained_at == [2, 4]


@pytest.mark.parametrize(
    ("method", "status", "framing"),
    [
        ("HEAD", 200, {b"transfer-encoding": b"chunked"}),
        ("GET", 204, {}),
        ("GET", 304, {}),
        ("HEAD", 204, {}),
    ],
)
async def test_a_stream_that_nobody_wants_is_closed_and_never_started(
    method: str, status: int, framing: dict[bytes, bytes]
) -> None:
    pieces = Pieces("a")
    response = Response.stream(pieces.generate(), status)
    _, fields, body = split((await send(response, make_request(method))).written)
    assert (fields, body) == (framing, b"")
    assert pieces.started == 0
    with pytest.raises(StopAsyncIteration):
        assert isinstance(response, StreamResponse)
        await anext(response.pieces)  # type: ignore[call-overload]


async def test_an_open_file_that_nobody_wants_is_closed() -> None:
    class File:
        is_closed = False

        def __iter__(self) -> Iterator[bytes]:
            raise AssertionError("nobody wants it")

        def close(self) -> None:
            self.is_closed = True

    file = File()
    await send(Response.stream(file), HEAD)
    assert file.is_closed


async def test_a_204_stream_says_no_length() -> None:
    response = Response.stream([], 204, {"Content-Length": "0"})
    with pytest.raises(LocalProtocolError, match="Content-Length"):
        await send(response)


def test_a_stream_has_no_whole_body() -> None:
    response = Response.stream(["a"])
    with pytest.raises(LocalProtocolError, match="no whole body"):
        _ = response.body
    with pytest.raises(LocalProtocolError, match="no whole body"):
        response.body = b"a"


@pytest.mark.parametrize("piece", ["hello", b"hello"])
def test_one_piece_is_no_stream(piece: str | bytes) -> None:
    with pytest.raises(TypeError, match="expected an iterable of pieces"):
        Response.stream(piece)


async def test_middleware_can_change_the_pieces() -> None:
    response = Response.stream(["a", "b"])
    assert isinstance(response, StreamResponse)
    before = response.pieces

    async def louder() -> AsyncIterator[str]:
        async for piece in before:
            yield str(piece).upper()

    response.pieces = louder()
    assert split((await send(response)).written)[2] == b"1\r\nA\r\n1\r\nB\r\n0\r\n\r\n"
    with pytest.raises(LocalProtocolError, match="was sent"):
        response.pieces = []


# --- JSON -----------------------------------------------------------------------------


def through(json_default: Callable[[object], object] | None) -> Request:
    request = make_request()
    app = SimpleNamespace(json_default=json_default)
    request.match = SimpleNamespace(app=app)  # type: ignore[assignment]
    return request


class Colour:
    def __init__(self, name: str) -> None:
        self.name = name


async def test_json_uses_the_apps_default() -> None:
    response = Response.json({"c": Colour("red")}, 201)
    prepared = await response.prepare(through(lambda value: vars(value)))
    assert prepared.body == b'{"c":{"name":"red"}}'
    assert split(encode(prepared)) == (
        b"HTTP/1.1 201 Created",
        {b"content-type": b"application/json", b"content-length": b"20"},
        b'{"c":{"name":"red"}}',
    )


async def test_json_of_an_unknown_value_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        await Response.json(Colour("red")).prepare(through(None))
    with pytest.raises(TypeError):
        encode(Response.json(Colour("red")))


def test_json_is_encoded_without_an_app_too() -> None:
    assert Response.json(None).body == b"null"
    assert split(encode(Response.json("é")))[2] in ('"é"'.encode(), b'"\\u00e9"')


async def test_a_json_body_can_be_replaced_also_by_nothing() -> None:
    for body in (b"[]", b""):
        response = Response.json([1])
        response.body = body
        response = await response.prepare(through(None))
        assert response.body == body
        assert split(encode(response))[2] == body


async def test_a_large_json_body_is_written_by_itself() -> None:
    response = JSONResponse(["x" * 100_000])
    assert response.encode(GET, HEADS, b"") is None
    assert len(split((await send(response)).written)[2]) == 100_004


# --- upgrades -------------------------------------------------------------------------


async def speak(stream: ByteStream) -> None:
    stream.write(await stream.read())


async def test_an_upgrade_is_a_101_then_the_other_protocol() -> None:
    async def speak(stream: ByteStream) -> None:
        stream.write(b"hello")

    response = UpgradeResponse({"Upgrade": "echo/1", "X": "y"}, speak)
    assert response.status == 101
    assert response.run is speak
    assert response.encode(GET, HEADS, b"") is None  # it writes itself
    head, hello = (await send(response)).writes
    assert hello == b"hello"
    assert split(head) == (
        b"HTTP/1.1 101 Switching Protocols",
        {b"upgrade": b"echo/1", b"x": b"y", b"connection": b"Upgrade"},
        b"",
    )


def test_an_upgrade_names_its_protocol() -> None:
    with pytest.raises(LocalProtocolError, match="names the protocol"):
        UpgradeResponse({}, speak)


# --- html -----------------------------------------------------------------------------


class Markup:
    def __html__(self) -> str:
        return "<i>&amp;</i>"


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (html("<b>{}</b>", "<script>alert('\"&\"')</script>"),
         "<b>&lt;script&gt;alert(&#x27;&quot;&amp;&quot;&#x27;)&lt;/script&gt;</b>"),
        (html("<b>{name}</b>{}", 1, name="<"), "<b>&lt;</b>1"),
        (html("{}", html("<br>")), "<br>"),
        (html("{}", Markup()), "<i>&amp;</i>"),
        (html("{}", None), "None"),
        (html("{0}{0}", "&"), "&amp;&amp;"),
        (html("<style>b {}</style>"), "<style>b {}</style>"),
        (html("{{}}{}", 1), "{}1"),
        (html("{:>5}", "a"), "    a"),
    ],
)  # fmt: skip
def test_html_escapes_its_arguments(made: HTMLText, text: str) -> None:
    assert made == text
    assert isinstance(made, HTMLText)
    assert made.__html__() == text


# --- names of other frameworks --------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("status_code", "response.status"),
        ("media_type", 'response.headers["content-type"]'),
        ("data", "response.body"),
        ("set_header", 'response.headers["X"] = "y"'),
        ("del_cookie", "response.delete_cookie(...)"),
        ("body_iterator", "response.pieces"),
    ],
)
def test_a_name_of_another_framework_is_answered_with_ours(name: str, ours: str) -> None:
    with pytest.raises(AttributeError, match=re.escape(ours)):
        getattr(Response(), name)
    assert not hasattr(Response(), name)


def test_an_unknown_name_is_plainly_unknown() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'nonsense'$"):
        _ = Response().nonsense  # type: ignore[attr-defined]


def test_every_name_of_ours_is_there() -> None:
    for theirs, ours in response_module._NAMES_ELSEWHERE.items():
        assert not hasattr(Response(), theirs)
        for name in re.findall(r"response\.(\w+)", ours):
            assert hasattr(StreamResponse, name)


def test_a_response_shows_itself() -> None:
    assert repr(Response(status=404)) == "<Response 404>"
    assert repr(Response.stream([])) == "<StreamResponse 200>"


# --- what is written, h11 reads -------------------------------------------------------

TCHARS = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FRAMING = {"content-length", "transfer-encoding", "connection", "date", "content-type", "upgrade"}
names = st.text(TCHARS, min_size=1, max_size=10).filter(lambda name: name.lower() not in FRAMING)
values = st.text([chr(i) for i in [9, *range(0x20, 0x7F), *range(0x80, 0x100)]], max_size=20).map(
    lambda value: value.strip(" \t\x85\xa0")
)
statuses = st.integers(200, 599)
versions = st.sampled_from(["1.0", "1.1"])


def read_by_h11(answer: bytes, method: str, *, is_closed: bool) -> tuple[h11.Response, bytes]:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(answer)
    if is_closed:
        client.receive_data(b"")
    response = client.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data[0] == b""
    return response, body


def check_with_h11(
    answer: bytes, method: str, status: int, fields: list[tuple[str, str]], body: bytes,
    *, is_closed: bool = False,
) -> None:  # fmt: skip
    response, content = read_by_h11(answer, method, is_closed=is_closed)
    assert response.status_code == status
    assert content == (b"" if method == "HEAD" or status in (204, 304) else body)
    got = [(name.decode(), value.decode("latin-1")) for name, value in response.headers]
    wanted = [(name.lower(), value) for name, value in fields]
    assert sorted(pair for pair in got if pair[0] not in FRAMING) == sorted(wanted)
    assert [name for name, _ in got].count("date") == 1


@given(
    st.sampled_from(["GET", "HEAD", "POST"]),
    versions,
    statuses,
    st.lists(st.tuples(names, values), max_size=5),
    st.binary(max_size=100),
)
def test_what_is_encoded_h11_reads(
    method: str, version: str, status: int, fields: list[tuple[str, str]], body: bytes
) -> None:
    request = make_request(method, version=version)
    check_with_h11(encode(Response(body, status, fields), request), method, status, fields, body)
    check_with_h11(encode(Response(body, status), request), method, status, [], body)


@given(
    st.sampled_from(["GET", "HEAD", "POST"]),
    versions,
    statuses,
    st.lists(st.tuples(names, values), max_size=3),
    st.lists(st.binary(max_size=20), max_size=5),
    st.booleans(),
)
async def test_what_is_streamed_h11_reads(
    method: str,
    version: str,
    status: int,
    fields: list[tuple[str, str]],
    pieces: list[bytes],
    has_length: bool,
) -> None:
    request, body = make_request(method, version=version), b"".join(pieces)
    length = [("Content-Length", str(len(body)))] if has_length and status != 204 else []
    response = Response.stream(Pieces(*pieces).generate(), status, [*fields, *length])
    connection = response.persistence(request, KEEP_ALIVE if version == "1.0" else b"")
    stream = await send(response, request, connection)
    assert (connection == CLOSE) is (version == "1.0" and not length)
    check_with_h11(stream.written, method, status, fields, body, is_closed=connection == CLOSE)


@given(st.sampled_from([204, 200, 304]), st.sampled_from(["GET", "HEAD"]), st.binary(max_size=9))
def test_answers_that_are_joined_are_read_apart(status: int, method: str, body: bytes) -> None:
    answers = encode(Response(body, status), make_request(method)) + encode(Response("next"))
    client = h11.Connection(h11.CLIENT)
    got = []
    client.receive_data(answers)
    for request_method in (method, "GET"):
        client.send(h11.Request(method=request_method, target="/", headers=[("Host", "a")]))
        client.send(h11.EndOfMessage())
        response = client.next_event()
        assert isinstance(response, h11.Response)
        content = b""
        while isinstance(event := client.next_event(), h11.Data):
            content += event.data
        assert isinstance(event, h11.EndOfMessage)
        got.append((response.status_code, content))
        if request_method == "GET" and len(got) == 2:
            break
        client.start_next_cycle()
    is_empty = method == "HEAD" or status in (204, 304)
    assert got == [(status, b"" if is_empty else body), (200, b"next")]
