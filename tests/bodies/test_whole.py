"""Whole bodies: their conversion to bytes, their length, and the write of a large one."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
from support.answering import GET, HEAD, HEADS, FakeStream, send, split

from microweb.bodies.whole import length_of_whole, whole_body, write_slices
from microweb.errors import ClientDisconnected, LocalProtocolError
from microweb.http.headers import MutableHeaders
from microweb.http.mediatypes import OCTETS
from microweb.response import Response


@pytest.mark.parametrize(
    "buffer", [b"ab", bytearray(b"ab"), memoryview(array("I", [1, 2])), memoryview(b"abcd")[::2]]
)
def test_body_is_the_bytes_of_a_buffer(buffer: Any) -> None:
    body = whole_body(buffer)
    assert type(body) is bytes
    assert body == memoryview(buffer).tobytes()


@pytest.mark.parametrize(
    ("body", "remedy"),
    [
        ("a", "body.encode()"),
        (iter([b"a"]), "Response.stream"),
        (None, "leave it out"),
        ({"a": 1}, "Response.json"),
    ],
)
def test_body_of_another_type_is_refused_with_the_remedy(body: object, remedy: str) -> None:
    with pytest.raises(TypeError) as caught:
        whole_body(body)
    assert remedy in str(caught.value)


def test_length_is_said_once_and_is_right() -> None:
    none, right, wrong = [MutableHeaders(f) for f in ({}, *({"Content-Length": n} for n in "34"))]
    assert length_of_whole(GET.line, 200, none, 3) == b"Content-Length: 3\r\n"
    assert length_of_whole(GET.line, 200, right, 3) == b""
    with pytest.raises(LocalProtocolError, match="Content-Length"):
        length_of_whole(GET.line, 200, wrong, 3)
    assert length_of_whole(HEAD.line, 200, wrong, 0) == b""  # the length of the GET response


async def test_view_is_written_as_it_is() -> None:
    stream = FakeStream()
    await write_slices(stream, memoryview(b"abc"))
    assert (stream.writes, stream.held) == ([b"abc"], [0])


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


@pytest.mark.parametrize(("is_held", "counted"), [(False, [300_000] * 2 + [0]), (True, [0])])
async def test_large_body_is_counted_for_its_client_unless_others_hold_it(
    is_held: bool, counted: list[int]
) -> None:
    body = [b"x" * 300_000]
    stream = FakeStream(high_water=1000)
    response = Response(body[0]) if is_held else Response(body.pop())
    await response.send_to(stream, GET, HEADS, b"")
    assert stream.held == counted
