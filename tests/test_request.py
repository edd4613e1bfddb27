from __future__ import annotations

import asyncio
import json
import threading
import tracemalloc
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from microweb import App, ConfigurationError, Headers, HTTPError, Request, Response
from microweb.errors import (
    BadRequest,
    BodyConsumed,
    ContentTooLarge,
    InvalidValue,
    MissingValue,
    TooManyFields,
    UnprocessableContent,
    UnsupportedMediaType,
)
from microweb.http.interfaces import Address
from microweb.http.request_head import RequestLine, decide_framing, parse_request_line
from microweb.request import make_request
from microweb.server.config import ServerConfig


class FakePeer:
    """A connection that says what it is told to."""

    address = Address("10.0.0.9", 4711)
    scheme = "http"
    limits = ServerConfig(max_form_fields=3, max_form_text=1000).limits

    def origin_of(self, headers: Headers) -> tuple[Address | None, str]:
        if "x-forwarded-for" in headers:
            return Address(headers["x-forwarded-for"], 0), "https"
        return self.address, self.scheme


class FakeBody:
    """A body in pieces; an exception among them is raised where it stands, each time again."""

    trailers: Headers | None = None

    def __init__(self, pieces: Iterable[bytes | Exception]) -> None:
        self._pieces = list(pieces)
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    def take_whole(self, limit: int | None) -> bytes | None:
        return None

    def keep(self, size: int) -> None:
        """Count nothing."""

    async def read(self, limit: int | None) -> bytes:
        await self.may_go_on.wait()
        if not self._pieces:
            return b""
        if isinstance(self._pieces[0], Exception):
            raise self._pieces[0]
        return self._pieces.pop(0)  # type: ignore[return-value]


def request_of(
    target: str = "/",
    headers: dict[str, str] | None = None,
    body: FakeBody | None = None,
    method: str = "GET",
) -> Request:
    line: RequestLine = parse_request_line(method, target)
    section = decide_framing(Headers({"Host": "example.org", **(headers or {})}), 1)
    return make_request(line, section, FakePeer(), body)


def posted(*pieces: bytes | Exception, content_type: str = "") -> Request:
    headers = {"Content-Type": content_type} if content_type else {}
    return request_of("/", headers, FakeBody(pieces), "POST")


# --- the head -------------------------------------------------------------------------


def test_target_in_its_parts() -> None:
    request = request_of("/a%20b/c%2Fd?x=%C3%A4&y=1&x=2")
    assert (request.method, request.raw_path) == ("GET", "/a%20b/c%2Fd")
    assert (request.path, request.query_string) == ("/a b/c/d", "x=%C3%A4&y=1&x=2")
    assert request.query.pairs() == [("x", "ä"), ("y", "1"), ("x", "2")]
    assert request.url == "http://example.org/a%20b/c%2Fd?x=%C3%A4&y=1&x=2"
    assert repr(request) == "<Request GET '/a%20b/c%2Fd?x=%C3%A4&y=1&x=2'>"


def test_query_in_all_its_ways() -> None:
    query = request_of("/?a=1&b=x&a=2").query
    assert (query["a"], query.get("a"), query.get_all("a")) == ("1", "1", ["1", "2"])
    assert query.get("a", type=int) == 1
    assert query.get("c") is None and query.get("c", 7, type=int) == 7
    assert "a" in query and "c" not in query
    with pytest.raises(MissingValue, match="'c'"):
        query["c"]
    with pytest.raises(KeyError):
        query["c"]
    with pytest.raises(InvalidValue, match="'b'"):
        query.get("b", type=int)
    with pytest.raises(ValueError, match="'b'"):
        query.get("b", type=int)


def test_query_of_too_many_fields_is_400() -> None:
    assert len(request_of("/?a&b&c").query) == 3
    with pytest.raises(TooManyFields):
        _ = request_of("/?a&b&c&d").query


def test_headers_in_any_case() -> None:
    headers = request_of("/", {"X-A": "1"}).headers
    assert (headers["x-a"], headers.get("X-a"), headers.get_all("X-A")) == ("1", "1", ["1"])


def test_first_cookie_of_a_name_wins() -> None:
    request = request_of("/", {"Cookie": "a=1; b=x; a=2"})
    assert request.cookies == {"a": "1", "b": "x"}
    assert request_of("/").cookies == {}


@pytest.mark.parametrize(
    ("target", "host", "shown", "hostname"),
    [
        ("/", "Example.org:8080", "Example.org:8080", "example.org"),
        ("/", "[::1]:80", "[::1]:80", "::1"),
        ("/", "[::1]", "[::1]", "::1"),
        ("/", "", "", ""),
        ("http://other.org:81/x", "example.org", "other.org:81", "other.org"),
    ],
)
def test_host(target: str, host: str, shown: str, hostname: str) -> None:
    request = request_of(target, {"Host": host})
    assert (request.host, request.hostname) == (shown, hostname)


def test_url_of_options_asterisk_has_no_path() -> None:
    request = request_of("*", method="OPTIONS")
    assert (request.url, request.path) == ("http://example.org", "*")


def test_client_is_the_proxys_word_and_peer_the_sockets() -> None:
    direct = request_of("/")
    assert direct.client == direct.peer == Address("10.0.0.9", 4711)
    behind = request_of("/", {"X-Forwarded-For": "1.2.3.4"})
    assert behind.client == Address("1.2.3.4", 0)
    assert (behind.peer, behind.scheme) == (Address("10.0.0.9", 4711), "https")
    assert behind.url == "https://example.org/"


def test_request_outside_an_app() -> None:
    request = request_of("/a")
    assert (request.route, request.path_params, request.prefix) == (None, {}, "")
    with pytest.raises(ConfigurationError, match="did not come through an App"):
        _ = request.app


def test_state_is_its_own() -> None:
    first, second = request_of(), request_of()
    first.state.user = "bob"
    assert first.state.user == "bob"
    assert not hasattr(second.state, "user")


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("args", "request.query"),
        ("get_json", "await request.json()"),
        ("remote_addr", "request.client.host"),
        ("query_params", "request.query"),
        ("path_args", "request.path_params"),
        ("user_agent", 'request.headers.get("user-agent")'),
    ],
)
def test_name_of_another_framework_says_ours(name: str, ours: str) -> None:
    with pytest.raises(AttributeError, match="in microweb it is") as caught:
        getattr(request_of(), name)
    assert f"`{ours}`" in str(caught.value)


async def test_app_route_and_path_params() -> None:
    app = App()

    @app.get("/u/{id:int}/{rest:path}")
    async def show(request: Request, id: int, rest: str) -> object:
        assert request.app is app and request.route is not None
        request.path_params.clear()  # a copy
        return [request.route.path, request.route.name, request.path_params, request.http_version]

    async with app.test_client() as client:
        for _ in range(2):
            assert (await client.get("/u/5/a")).json() == [
                "/u/{id:int}/{rest:path}",
                "show",
                {"id": 5, "rest": "a"},
                "1.1",
            ]


# --- the body, once and again ---------------------------------------------------------


async def stream_of(request: Request) -> list[bytes]:
    return [piece async for piece in request.stream()]


async def test_body_in_small_pieces_is_kept_in_one_buffer() -> None:
    request = posted(*[b"xy"] * 30_000)
    tracemalloc.start()
    try:
        assert len(await request.body()) == 60_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 60_000


async def test_body_read_twice_is_the_same() -> None:
    request = posted(b"ab", b"c")
    assert await request.body() == b"abc"
    assert await request.body() == b"abc"
    assert await request.text() == "abc"


async def test_request_without_a_body_has_an_empty_one() -> None:
    request = request_of()
    assert await request.body() == b""
    assert await stream_of(request) == []
    assert request.trailers is None


async def test_stream_yields_the_pieces() -> None:
    assert await stream_of(posted(b"ab", b"c")) == [b"ab", b"c"]


async def test_stream_after_body_replays_it() -> None:
    request = posted(b"ab", b"c")
    await request.body()
    assert await stream_of(request) == [b"abc"]
    assert await stream_of(request) == [b"abc"]


async def test_second_stream_is_an_error_of_its_own() -> None:
    request = posted(b"ab", b"c")
    await stream_of(request)
    with pytest.raises(BodyConsumed, match=r"read it with body\(\) to have it twice"):
        await stream_of(request)
    with pytest.raises(BodyConsumed):
        await request.body()


async def test_stream_that_was_left_half_way_is_consumed_too() -> None:
    request = posted(b"ab", b"c")
    async for _ in request.stream():
        break
    with pytest.raises(BodyConsumed):
        await request.body()


async def test_cancelled_body_loses_nothing() -> None:
    body = FakeBody([b"ab", b"c"])
    request = request_of("/", body=body)
    body.may_go_on.clear()
    for _ in range(2):
        waiting = asyncio.create_task(request.body())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    body.may_go_on.set()
    assert await stream_of(request) == [b"abc"]


async def test_two_at_once_get_the_same_body() -> None:
    body = FakeBody([b"ab", b"c"])
    request = request_of("/", body=body)
    body.may_go_on.clear()
    waiting = [asyncio.create_task(request.body()) for _ in range(3)]
    await asyncio.sleep(0)
    body.may_go_on.set()
    assert await asyncio.gather(*waiting) == [b"abc"] * 3


async def test_two_at_once_on_a_connection() -> None:
    app = App()

    @app.post("/")
    async def echo(request: Request) -> object:
        first = asyncio.create_task(request.body())
        await asyncio.sleep(0)
        others = [asyncio.create_task(request.text()) for _ in range(2)]
        await asyncio.sleep(0)
        first.cancel()
        return await asyncio.gather(*others)

    gate = asyncio.Event()

    async def pieces() -> Any:
        yield b"ab"
        await gate.wait()
        yield b"c"

    async with app.test_client() as client:
        sending = asyncio.create_task(client.post("/", content=pieces()))
        for _ in range(20):  # steps of the loop, not time
            await asyncio.sleep(0)
        gate.set()
        assert (await sending).json() == ["abc", "abc"]


async def test_fault_of_the_body_is_raised_again() -> None:
    request = posted(b"ab", ContentTooLarge("too much"))
    for _ in range(2):
        with pytest.raises(ContentTooLarge):
            await request.body()


async def test_trailers_come_behind_the_body() -> None:
    app = App()

    @app.post("/")
    async def show(request: Request) -> object:
        before = request.trailers
        body = await request.text()
        assert request.trailers is not None
        return [before, body, request.trailers["x-sum"]]

    async with app.test_client() as client:
        answer = await client.raw(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
            b"\r\n2\r\nab\r\n0\r\nX-Sum: 5\r\n\r\n"
        )
    assert answer.endswith(b'\r\n\r\n[null,"ab","5"]')


# --- text -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "data", "text"),
    [
        ("", "ä".encode(), "ä"),
        ("text/plain", "ä".encode(), "ä"),
        ("text/plain; charset=latin-1", b"\xe4", "ä"),
        ('text/plain; x=1; Charset="ISO-8859-1"', b"\xe4", "ä"),
        ("text/plain; charset=shift_jis", "あ".encode("shift_jis"), "あ"),
        ("text/plain; charset=x-cp1252", b"\x80", "€"),
        ("text/plain; charset=unicode-1-1-utf-8", "ä".encode(), "ä"),
        ("text/plain; charset=UTF-32LE", "ä".encode("utf-32-le"), "ä"),
    ],
)
async def test_text_by_its_charset(content_type: str, data: bytes, text: str) -> None:
    assert await posted(data, content_type=content_type).text() == text


@pytest.mark.parametrize(
    "charset",
    ["klingon", "", "base64", "rot13", "punycode", "idna", "unicode_escape", "utf-7", "cp037"],
)
async def test_text_of_an_unknown_charset_is_415(charset: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="unknown charset"):
        await posted(b"\\d", content_type=f"text/plain; charset={charset}").text()


async def test_text_of_more_than_a_mebibyte() -> None:
    text = "é" * 600_000
    assert await posted(text.encode()).text() == text
    with pytest.raises(BadRequest, match="the body is not utf-8"):
        await posted(text.encode() + b"\xff").text()


async def test_text_of_wrong_bytes_is_400() -> None:
    with pytest.raises(BadRequest, match="the body is not utf-8"):
        await posted(b"\xff").text()


# --- json -----------------------------------------------------------------------------


@dataclass
class Item:
    name: str
    price: int


@dataclass
class Order:
    items: list[Item]


async def test_json_value() -> None:
    request = posted(b'{"a": [1, ', b"null]}", content_type="application/json")
    assert await request.json() == {"a": [1, None]}
    assert await request.json() == {"a": [1, None]}


async def test_missing_key_of_a_json_object_is_a_400_that_names_it() -> None:
    value = await posted(b'{"a": 1}').json()
    with pytest.raises(MissingValue, match="'title'"):
        value["title"]


async def test_typed_json() -> None:
    request = posted(b'{"items": [{"name": "a", "price": 1}]}')
    assert await request.json(Order) == Order([Item("a", 1)])
    assert await request.json(dict) == {"items": [{"name": "a", "price": 1}]}


@pytest.mark.parametrize(
    ("data", "content_type", "error", "said"),
    [
        (b"{", "", BadRequest, "line 1, column 2"),
        (b'{"a": NaN}', "", BadRequest, "line 1, column 7"),
        (b"", "", BadRequest, "empty body"),
        (b"9" * 5000, "", BadRequest, "line 1, column 1"),
        (b"[" * 100_000, "", BadRequest, "nested too deeply"),
        (b"{}", "application/json; charset=utf-16", BadRequest, "UTF-8, got charset 'utf-16'"),
        (b"{}", "application/json; charset=UTF-32LE", BadRequest, "UTF-8, got charset 'utf-32le'"),
        (b'{"items": [{"name": "a"}]}', "", UnprocessableContent, "$.items[0]"),
        (b'{"items": [{"name": "a", "price": "x"}]}', "", UnprocessableContent, "items[0].price"),
        (b"[]", "", UnprocessableContent, "$"),
    ],
)
async def test_json_that_is_refused(
    data: bytes, content_type: str, error: type[HTTPError], said: str
) -> None:
    with pytest.raises(error) as caught:
        await posted(data, content_type=content_type).json(Order)
    assert said in str(caught.value)


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "us-ascii", "klingon", ""])
async def test_json_is_utf_8_whatever_its_label_says(charset: str) -> None:
    content_type = f"application/json; charset={charset}"
    assert await posted('["é"]'.encode(), content_type=content_type).json() == ["é"]


async def test_key_of_a_json_array_is_a_400_that_names_it() -> None:
    value = await posted(b"[1]").json()
    assert value == [1]
    with pytest.raises(MissingValue, match="'title'"):
        value["title"]


@pytest.mark.parametrize("data", [b'"a"', b"1", b"1.5", b"true", b"null"])
async def test_another_json_value_than_object_or_array_is_a_400(data: bytes) -> None:
    request = posted(data)
    with pytest.raises(BadRequest, match=f"object or array, got {data.decode()}$"):
        await request.json()
    assert await request.json(object) == json.loads(data)


async def test_types_of_many_values_are_made_beside_the_loop() -> None:
    threads = set()

    @dataclass
    class Point:
        x: int

        def __post_init__(self) -> None:
            threads.add(threading.get_ident())

    request = posted(b"[" + b",".join([b'{"x":1}'] * 6000) + b"]")
    assert len(await request.json(list[Point])) == 6000
    assert len(threads) == 1 and threading.get_ident() not in threads
    request = posted(b"[" + b",".join([b'{"x":1}'] * 6000) + b',{"x":"a"}]')
    with pytest.raises(UnprocessableContent, match=r"\$\[6000\]\.x: expected an integer"):
        await request.json(list[Point])


# --- content codings ------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br, gzip", "identity, deflate", "x"])
@pytest.mark.parametrize("read", ["json", "text", "form", "parts"])
async def test_a_coded_body_is_a_415_that_names_what_is_taken(read: str, coding: str) -> None:
    app = App()

    @app.post("/{how}")
    async def show(request: Request, how: str) -> str:
        if how == "parts":
            return str([part.name async for part in request.parts()])
        return str(await getattr(request, how)())

    @app.post("/body")
    async def body(request: Request) -> bytes:
        assert [piece async for piece in request.stream()] == [b"a=1"]
        return b"a=1"

    headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Encoding": coding}
    async with app.test_client() as client:
        answer = await client.post(f"/{read}", content=b"a=1", headers=headers)
        assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "identity")
        assert "expected a body without Content-Encoding" in answer.text
        assert (await client.post("/body", content=b"a=1", headers=headers)).content == b"a=1"
        headers["Content-Encoding"] = "Identity"
        assert (await client.post("/form", content=b"a=1", headers=headers)).status_code == 200


# --- forms ----------------------------------------------------------------------------

FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    "content_type",
    [FORM, f"{FORM}; charset=utf-8", f"{FORM}; charset=utf-16", f"{FORM}; charset=x", FORM.upper()],
)
async def test_form(content_type: str) -> None:
    request = posted(b"title=a+b&x=%C3%A4&x=2", content_type=content_type)
    form = await request.form()
    assert (form["title"], form.get_all("x")) == ("a b", ["ä", "2"])
    assert await request.form() == form
    with pytest.raises(MissingValue, match="'nothing'"):
        form["nothing"]


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/mixed"])
async def test_form_of_another_media_type_is_415(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType) as caught:
        await posted(b"a=1", content_type=content_type).form()
    assert caught.value.headers == {"Accept": f"{FORM}, multipart/form-data"}


async def test_form_of_too_many_fields_is_413() -> None:
    with pytest.raises(ContentTooLarge):
        await posted(b"a&b&c&d", content_type=FORM).form()


async def test_form_of_too_much_text_is_413() -> None:
    assert len((await posted(b"a" * 1000, content_type=FORM).form()).files) == 0
    with pytest.raises(ContentTooLarge, match="larger than 1000 bytes"):
        await posted(b"a" * 1001, content_type=FORM).form()


async def test_form_that_says_it_is_too_large_is_not_read() -> None:
    body = FakeBody([b"a" * 1001])
    with pytest.raises(ContentTooLarge):
        await request_of("/", {"Content-Type": FORM, "Content-Length": "1001"}, body).form()
    assert await body.read(None) == b"a" * 1001


async def test_refused_bodies_over_http() -> None:
    app = App()

    @app.post("/json")
    async def echo(request: Request) -> object:
        return (await request.json())["title"]

    @app.post("/typed")
    async def order(request: Request) -> object:
        return await request.json(Order)

    @app.post("/form")
    async def form(request: Request) -> object:
        return dict(await request.form())

    @app.post("/twice")
    async def twice(request: Request) -> Response:
        await stream_of(request)
        return Response(await request.body())

    async with app.test_client(raise_errors=False) as client:
        response = await client.post("/json", content=b"{}")
        assert (response.status_code, "'title'" in response.text) == (400, True)
        assert (await client.post("/json", content=b"{")).status_code == 400
        assert (await client.post("/typed", json={"items": [{}]})).status_code == 422
        assert (await client.post("/form", json={})).status_code == 415
        assert (await client.post("/form", data={"a": "b c"})).json() == {"a": "b c"}
        assert (await client.post("/twice", content=b"x")).status_code == 500
