"""The base classes of response bodies, tested by one simple subclass each."""

from __future__ import annotations

import pytest
from support.answering import GET, HEAD, HEADS, OLD, encode, make_request, send, split

from microweb import App, Response
from microweb.bodies.body import Body, EncodeHead, Head, RenderedBody, RequestInfo, WrittenBody
from microweb.errors import LocalProtocolError
from microweb.http.bytestream import ResponseStream
from microweb.http.headers import MutableHeaders
from microweb.server.answering import is_streaming, may_read_body, persistence_of


class Method(RenderedBody):
    """A body that shows the request's method, in its content and in a header field."""

    def render(self, request: RequestInfo | None, head: Head) -> bytes:
        method = "none" if request is None else request.line.method
        head.headers["X-Method"] = method
        return method.encode()


class Once(WrittenBody):
    """A body of two letters that counts its calls of `prepare`."""

    def __init__(self) -> None:
        self.prepared = 0

    async def prepare(self, request: RequestInfo, head: Head) -> None:
        self.prepared += 1
        head.status = 201

    def ends_by_close(self, minor_version: int, headers: MutableHeaders) -> bool:
        return minor_version == 0

    async def send(
        self,
        stream: ResponseStream,
        request: RequestInfo,
        head: Head,
        encode_head: EncodeHead,
    ) -> None:
        head.status = 201
        stream.write(encode_head(b"Content-Length: 2\r\n"))
        if request.line.method != "HEAD":
            stream.write(b"ab")


async def test_rendered_body_becomes_bytes_for_each_request() -> None:
    response = Response(Method(), content_type="text/plain")
    for method in ("GET", "POST"):
        prepared = await response.prepare(make_request(method))
        assert prepared is not response
        assert (prepared.body, prepared.source) == (method.encode(), None)
        assert prepared.headers["x-method"] == method
    assert "x-method" not in response.headers
    with pytest.raises(LocalProtocolError, match="was sent"):
        response.status = 404


def test_rendered_body_is_encoded_without_an_application_too() -> None:
    _, fields, body = split(encode(Response(Method())))
    assert (fields[b"x-method"], body) == (b"GET", b"GET")


def test_rendered_body_can_be_looked_at_without_a_request() -> None:
    assert Response(Method()).body == b"none"


async def test_bytes_take_the_place_of_a_rendered_body() -> None:
    response = Response(Method())
    response.body = b"mine"
    assert response.source is None
    assert split(encode(response))[2] == b"mine"


async def test_written_body_writes_itself() -> None:
    response = Response(Once())
    assert response.encode(GET, HEADS, b"") is None
    first, fields, body = split((await send(response)).written)
    assert (first, fields[b"content-length"], body) == (b"HTTP/1.1 201 Created", b"2", b"ab")
    assert split((await send(Response(Once()), HEAD)).written)[2] == b""


def test_written_body_says_how_it_ends_and_what_it_reads() -> None:
    response = Response(Once())
    assert persistence_of(response, OLD, b"") == b"Connection: close\r\n"
    assert persistence_of(response, GET, b"") == b""
    assert may_read_body(response) and not is_streaming(response)
    assert not may_read_body(Response("a"))


async def test_written_body_is_prepared_inside_the_middleware() -> None:
    app, body = App(), Once()
    app.get("/")(lambda: Response(body))
    seen: list[int] = []
    app.after_request(lambda request, response: seen.append(body.prepared))
    async with app.test_client() as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.text) == (201, "ab")
    assert seen and seen[0] > 0


def test_whole_body_has_no_pieces() -> None:
    for response in (Response("a"), Response.json(1), Response(Once())):
        assert not hasattr(response, "pieces")
        with pytest.raises(AttributeError, match=r"use response\.body"):
            response.pieces = ["a"]


async def test_body_must_say_how_it_is_made() -> None:
    head = Response()
    with pytest.raises(NotImplementedError):
        RenderedBody().render(GET, head)
    with pytest.raises(NotImplementedError):
        await WrittenBody().prepare(GET, head)


def test_body_shows_itself() -> None:
    assert repr(Body()) == "<Body>"
    assert repr(Once()) == "<Once>"
