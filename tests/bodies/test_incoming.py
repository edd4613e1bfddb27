"""Request bodies: read whole or in pieces, and decoded as text, JSON and forms."""

from __future__ import annotations

import asyncio
import json
import threading
import tracemalloc
from dataclasses import dataclass
from typing import Any

import pytest
from support.requesting import FakeBody, posted, request_of
from support.serving import post, statuses

from microweb import App, HTTPError, Request, Response
from microweb.bodies.incoming import IncomingBody, needs_no_check
from microweb.errors import (
    BadRequest,
    BodyConsumed,
    ContentTooLarge,
    MissingValue,
    UnprocessableContent,
    UnsupportedMediaType,
)
from microweb.http.request_head import PlainSection

# --- the fields of JSON ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "is_usual"),
    [
        (b"Host: a\r\nContent-Type: application/json\r\n", True),
        (b"ORIGIN: https://a\r\n", False),
        (b"Sec-Fetch-Site: none\r\n", False),
        (b"Host: a\r\nContent-Encoding: gzip\r\n", False),
        (b"Host: a\r\nContent-Type: application/json; Charset=utf-16\r\n", False),
    ],
)
def test_usual_fields_are_not_parsed_for_json(lines: bytes, is_usual: bool) -> None:
    section = PlainSection()
    section.received, section.parsed = lines + b"\r\n", None
    assert needs_no_check(section) is is_usual
    assert section.parsed is None
    assert section.headers
    assert not needs_no_check(section)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((), 200),
        (("Origin: https://a",), 200),
        (("Content-Type: application/json; charset=utf-8",), 200),
        (("content-type: application/json; CHARSET=UTF-16",), 400),
        (("CONTENT-ENCODING: gzip",), 415),
        (("Content-Type: application/json;", "Content-Encoding: identity"), 200),
    ],
)
async def test_fields_of_json_are_checked_parsed_or_not(
    fields: tuple[str, ...], status: int
) -> None:
    app = App()

    @app.post("/")
    async def index(request: Request) -> str:
        if request.query:
            assert request.headers
        return f"{await request.json()}"

    async with app.test_client() as client:
        for target in ("/", "/?parsed=1", "/", "/?parsed=1"):
            answer = await client.raw(
                post(target, b"{}", *fields, "Content-Length: 2", "Connection: close")
            )
            assert statuses(answer) == [status]


# --- repeated reads of the body -------------------------------------------------------


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
    with pytest.raises(BodyConsumed, match=r"to read it twice, call body\(\) first"):
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
        for _ in range(20):  # turns of the event loop, not seconds
            await asyncio.sleep(0)
        gate.set()
        assert (await sending).json() == ["abc", "abc"]


async def test_fault_of_the_body_is_raised_again() -> None:
    request = posted(b"ab", ContentTooLarge("too much"))
    for _ in range(2):
        with pytest.raises(ContentTooLarge):
            await request.body()


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
    with pytest.raises(UnsupportedMediaType, match="expected a known charset"):
        await posted(b"\\d", content_type=f"text/plain; charset={charset}").text()


async def test_text_of_more_than_a_mebibyte() -> None:
    text = "é" * 600_000
    assert await posted(text.encode()).text() == text
    with pytest.raises(BadRequest, match="expected a body in 'utf-8', got other bytes"):
        await posted(text.encode() + b"\xff").text()


async def test_text_of_wrong_bytes_is_400() -> None:
    with pytest.raises(BadRequest, match="expected a body in 'utf-8', got other bytes"):
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
        (b'{"items": [{"name": "a"}]}', "", UnprocessableContent, "#/items/0/price: missing"),
        (
            b'{"items": [{"name": "a", "price": "x"}]}',
            "",
            UnprocessableContent,
            "#/items/0/price: expected",
        ),
        (b"[]", "", UnprocessableContent, "#: "),
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
    with pytest.raises(UnprocessableContent, match=r"#/6000/x: expected an integer"):
        await request.json(list[Point])


# --- content codings ------------------------------------------------------------------


CODED = ["gzip", "GZIP", "br, gzip", "identity, deflate", "x", "identity," * 3000 + "gzip"]


@pytest.mark.parametrize("coding", CODED, ids=range(len(CODED)))
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
    with pytest.raises(ContentTooLarge, match="expected at most 1000 bytes"):
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


def test_reader_without_a_source_has_an_empty_body() -> None:
    request = request_of("/")
    reader = IncomingBody(request.section, None, request.transport.limits)
    assert (reader.so_far, reader.is_whole) == (None, False)
    assert reader.take(None) == b""
    assert (reader.so_far, reader.is_whole) == (b"", True)


async def test_bytes_so_far_are_those_that_are_kept() -> None:
    body = FakeBody([b"ab", ContentTooLarge("too much")])
    reader = request_of("/", body=body).incoming
    body.may_go_on.clear()
    reading = asyncio.create_task(reader.read(None))
    await asyncio.sleep(0)
    assert reader.so_far == b""
    reading.cancel()
    body.may_go_on.set()
    with pytest.raises(ContentTooLarge):
        await reader.read(None)
    assert reader.so_far is None
