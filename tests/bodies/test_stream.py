from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from support.answering import (
    GET,
    HEAD,
    HEADS,
    OLD,
    FakeStream,
    Pieces,
    make_request,
    send,
    split,
)

from microweb import App
from microweb.bodies import stream as streams_module
from microweb.errors import ClientDisconnected, LocalProtocolError
from microweb.http.framing import CLOSE
from microweb.http.mediatypes import OCTETS, TEXT
from microweb.request import Request
from microweb.response import Response

LARGE = 64 * 1024


async def test_a_stream_is_chunked() -> None:
    pieces = Pieces("é", b"", b"\xff\xfe")
    stream = await send(Response.stream(pieces.generate()))
    assert split(stream.written) == (
        b"HTTP/1.1 200 OK",
        {b"content-type": TEXT.encode(), b"transfer-encoding": b"chunked"},
        b"4\r\n\xc3\xa9\xff\xfe\r\n0\r\n\r\n",
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


@pytest.mark.parametrize("content_type", [None, "text/csv"])
async def test_the_head_goes_with_the_first_piece(content_type: str | None) -> None:
    seen: list[int] = []
    stream = FakeStream()

    async def pieces() -> AsyncIterator[str]:
        seen.append(len(stream.writes))
        yield ""
        seen.append(len(stream.writes))
        await asyncio.sleep(0)
        seen.append(len(stream.writes))
        yield "a"

    response = Response.stream(pieces(), content_type=content_type)
    await response.send_to(stream, GET, HEADS, b"")
    assert seen == [0, 0, 1]
    assert split(stream.written)[1][b"content-type"] == (content_type or TEXT).encode()


async def test_what_makes_the_pieces_may_say_what_they_are() -> None:
    async def pieces() -> AsyncIterator[str]:
        response.headers["Content-Type"] = "text/csv"
        yield "a,b"

    response = Response.stream(pieces())
    _, fields, _ = split((await send(response)).written)
    assert fields[b"content-type"] == b"text/csv"


async def test_the_head_does_not_wait_long_for_the_first_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams_module, "_HEAD_WAIT_S", 0.001)
    stream = FakeStream()

    async def pieces() -> AsyncIterator[str]:
        async with asyncio.timeout(10):
            while not stream.writes:
                await asyncio.sleep(0.001)
        assert split(stream.written)[2] == b""
        yield "a"

    await Response.stream(pieces(), content_type="text/csv").send_to(stream, GET, HEADS, b"")
    assert split(stream.written)[2] == b"1\r\na\r\n0\r\n\r\n"


async def test_the_head_of_an_event_stream_goes_out_at_once() -> None:
    seen: list[int] = []
    stream = FakeStream()

    async def pieces() -> AsyncIterator[str]:
        seen.append(len(stream.writes))
        yield "data: a\n\n"

    content_type = "text/event-stream; charset=utf-8"
    await Response.stream(pieces(), content_type=content_type).send_to(stream, GET, HEADS, b"")
    assert seen == [1]


async def test_a_peer_that_left_before_the_late_head_is_met_at_the_first_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams_module, "_HEAD_WAIT_S", 0.001)

    async def pieces() -> AsyncIterator[str]:
        await asyncio.sleep(0.02)
        yield "a"

    response = Response.stream(pieces(), content_type="text/csv")
    with pytest.raises(ClientDisconnected):
        await response.send_to(FakeStream(closes_after=0), GET, HEADS, b"")


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
    with pytest.raises(LocalProtocolError, match="as its Content-Length says, got more"):
        await response.send_to(stream, GET, HEADS, b"")
    assert stream.written.endswith(b"\r\n\r\nhell")  # the rest is never sent
    assert pieces.started == 2
    assert pieces.is_closed


@pytest.mark.parametrize("pieces", [[], ["hell"]])
async def test_a_stream_shorter_than_it_said_is_a_fault(pieces: list[str]) -> None:
    response = Response.stream(pieces, headers={"Content-Length": "5"})
    stream = FakeStream()
    with pytest.raises(LocalProtocolError, match="expected a stream of 5 bytes"):
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


@pytest.mark.parametrize("content_type", [None, "text/csv"])
async def test_a_stream_that_fails_at_once_has_written_nothing(content_type: str | None) -> None:
    pieces = Pieces(RuntimeError("boom"))
    stream = FakeStream()
    response = Response.stream(pieces.generate(), content_type=content_type)
    with pytest.raises(RuntimeError, match="boom"):
        await response.send_to(stream, GET, HEADS, b"")
    assert stream.writes == []
    assert pieces.is_closed


async def test_a_stream_that_fails_half_way_has_no_end() -> None:
    pieces = Pieces("a", RuntimeError("boom"))
    stream = FakeStream()
    with pytest.raises(RuntimeError, match="boom"):
        await Response.stream(pieces.generate()).send_to(stream, GET, HEADS, b"")
    assert stream.written.endswith(b"1\r\na\r\n")


async def test_a_stream_is_closed_where_the_peer_leaves() -> None:
    pieces = Pieces(*[bytes(LARGE)] * 4)
    stream = FakeStream(closes_after=2)
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
    response = Response.stream(["a" * LARGE, "b", "c" * LARGE], content_type=TEXT)
    await response.send_to(stream, GET, HEADS, b"")
    assert stream.drained_at == [1, 3]


async def test_pieces_of_one_turn_of_the_loop_are_one_chunk_in_one_write() -> None:
    stream, seen = FakeStream(), []

    async def pieces() -> AsyncIterator[str]:
        yield "a"
        yield "b"
        await asyncio.sleep(0)
        seen.append(stream.written)
        yield "c"

    await Response.stream(pieces()).send_to(stream, GET, HEADS, b"")
    assert [split(data)[2] for data in seen] == [b"2\r\nab\r\n"]
    assert stream.writes[1:] == [b"1\r\nc\r\n0\r\n\r\n"]


async def test_pieces_without_a_wait_are_joined_up_to_a_bound_and_others_have_their_turn() -> None:
    stream, turns = FakeStream(), 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await Response.stream(Pieces(*[bytes(1024)] * 640).generate()).send_to(stream, GET, HEADS, b"")
    counting.cancel()
    assert max(map(len, stream.writes)) < 112 * 1024 + 2048
    assert len(stream.writes) == 6  # five writes of 112 pieces, and the others with the end
    assert turns >= 5


@pytest.mark.parametrize(("size", "count"), [(0, 1000), (1, 1000), (64, 556), (1025, 64)])
async def test_bound_of_a_turn_is_one_of_bytes_and_of_pieces(size: int, count: int) -> None:
    stream, made = FakeStream(), list[int]()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3 * count):
            made[-1] += 1
            yield bytes(size)

    async def note() -> None:
        while True:
            made.append(0)
            await asyncio.sleep(0)

    noting = asyncio.create_task(note())
    await asyncio.sleep(0)
    await Response.stream(pieces()).send_to(stream, GET, HEADS, b"")
    noting.cancel()
    assert count - 8 < max(made) <= count  # pieces that are joined count as one more
    assert unchunked(split(stream.written)[2]) == bytes(size * 3 * count)


async def test_small_and_large_pieces_without_a_wait_keep_their_order() -> None:
    made = [bytes([number % 251]) * (number * 7 % 3000) for number in range(700)]
    stream = FakeStream()
    await Response.stream(Pieces(*made).generate()).send_to(stream, GET, HEADS, b"")
    assert unchunked(split(stream.written)[2]) == b"".join(made)


def unchunked(content: bytes) -> bytes:
    """Return the bytes of all chunks."""
    whole = b""
    while content != b"0\r\n\r\n":
        size, _, content = content.partition(b"\r\n")
        assert content[int(size, 16) :][:2] == b"\r\n"
        whole, content = whole + content[: int(size, 16)], content[int(size, 16) + 2 :]
    return whole


async def test_buffer_may_be_filled_again_once_it_was_taken() -> None:
    buffer = bytearray(1)

    async def pieces() -> AsyncIterator[bytes]:
        for byte in b"abc":
            buffer[0] = byte
            yield buffer

    _, _, body = split((await send(Response.stream(pieces()))).written)
    assert body == b"3\r\nabc\r\n0\r\n\r\n"


async def test_peer_that_left_between_two_pieces_is_met_at_the_next() -> None:
    async def pieces() -> AsyncIterator[str]:
        yield "a"
        await asyncio.sleep(0)
        yield "b"  # passed to the outlet, but not written
        raise AssertionError("for nobody")

    with pytest.raises(ClientDisconnected):
        await Response.stream(pieces()).send_to(FakeStream(closes_after=0), GET, HEADS, b"")


@pytest.mark.parametrize(
    ("method", "status", "framing"),
    [
        ("HEAD", 200, {b"transfer-encoding": b"chunked"}),
        ("GET", 204, {}),
        ("GET", 304, {}),
        ("GET", 205, {b"content-length": b"0"}),
        ("HEAD", 204, {}),
        ("HEAD", 205, {b"content-length": b"0"}),
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


@pytest.mark.parametrize("piece", [1, None, {"a": 1}, ("a", 200)])
async def test_a_piece_of_another_type_is_named(piece: Any) -> None:
    app = App()

    @app.get("/")
    async def show() -> AsyncIterator[Any]:
        yield piece

    expected = f"expected str or bytes as a piece of a stream, got {type(piece).__name__}"
    async with app.test_client() as client:
        with pytest.raises(TypeError, match=expected):
            await client.get("/")


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
    before = response.pieces

    async def louder() -> AsyncIterator[str]:
        async for piece in before:
            yield str(piece).upper()

    response.pieces = louder()
    assert split((await send(response)).written)[2] == b"1\r\nA\r\n1\r\nB\r\n0\r\n\r\n"
    with pytest.raises(LocalProtocolError, match="was sent"):
        response.pieces = []


class Swallowing:
    """A context manager that suppresses every error of its block, and records it."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces
        self.errors: list[type[BaseException] | None] = []

    async def __aenter__(self) -> list[str]:
        return list(self.pieces)

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> bool:
        self.errors.append(kind)
        return True


async def test_pieces_before_a_suppressed_error_are_a_chunk() -> None:
    async def pieces() -> AsyncIterator[str]:
        yield "a"
        yield "b"
        raise RuntimeError("boom")

    @asynccontextmanager
    async def source() -> AsyncIterator[AsyncIterator[str]]:
        with suppress(RuntimeError):
            yield pieces()

    stream = await send(Response.stream(source()))
    assert split(stream.written)[2] == b"2\r\nab\r\n0\r\n\r\n"


async def test_pieces_go_out_before_a_context_manager_that_waits_at_its_end() -> None:
    stream, before = FakeStream(), list[bytes]()

    @asynccontextmanager
    async def source() -> AsyncIterator[list[str]]:
        yield ["a"]
        await asyncio.sleep(0)
        before.extend(stream.writes)

    await Response.stream(source()).send_to(stream, GET, HEADS, b"")
    assert before[-1].endswith(b"1\r\na\r\n")
    assert stream.written.endswith(b"1\r\na\r\n0\r\n\r\n")


@pytest.mark.parametrize("field", ["Transfer-Encoding", "Content-Length"])
async def test_fault_in_the_head_of_a_stream_is_not_swallowed(field: str) -> None:
    resource, stream = Swallowing("a"), FakeStream()
    response = Response.stream(resource, headers={field: "x"})
    with pytest.raises(LocalProtocolError, match=field):
        await response.send_to(stream, GET, HEADS, b"")
    assert (stream.writes, resource.errors) == ([], [LocalProtocolError])


# --- trailers


def counted(length: str | None = None) -> Response:
    """Return a stream that counts its pieces in a trailer."""

    async def pieces() -> AsyncIterator[str]:
        yield "a"
        await asyncio.sleep(0)
        yield "b"
        response.trailers["X-Count"] = "2"

    response = Response.stream(pieces(), headers={"Trailer": "X-Count"})
    if length is not None:
        response.headers["Content-Length"] = length
    return response


async def test_trailers_follow_the_last_chunk() -> None:
    _, fields, content = split((await send(counted())).written)
    assert fields[b"trailer"] == b"X-Count"
    assert content == b"1\r\na\r\n1\r\nb\r\n0\r\nX-Count: 2\r\n\r\n"


async def test_trailers_that_are_not_announced_are_sent_too() -> None:
    async def pieces() -> AsyncIterator[str]:
        response.trailers["X-Early"] = "1"  # before the head
        yield "a"
        response.trailers["X-Late"] = "2"

    response = Response.stream(pieces())
    _, fields, content = split((await send(response)).written)
    assert fields[b"trailer"] == b"X-Early"
    assert content.endswith(b"\r\n0\r\nX-Early: 1\r\nX-Late: 2\r\n\r\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [(OLD, 200), (HEAD, 200), (GET, 204), (GET, 205), (GET, 304)],
    ids=["1.0", "HEAD", "204", "205", "304"],
)
async def test_answer_without_chunks_has_no_trailers(request_: Request, status: int) -> None:
    response = counted()
    response.status = status
    response.trailers["X-Before"] = "1"
    head, _, content = (await send(response, request_)).written.partition(b"\r\n\r\n")
    assert content == (b"ab" if request_ is OLD else b"")
    assert (b"Trailer: X-Count, X-Before" in head) == (request_ is HEAD)


async def test_trailers_need_a_stream_of_unknown_length() -> None:
    stream = FakeStream()
    with pytest.raises(LocalProtocolError, match="expected no Content-Length"):
        await counted("2").send_to(stream, GET, HEADS, b"")
    assert stream.writes == []  # so the answer can become a 500


async def test_trailers_of_a_known_length_cut_the_answer() -> None:
    response = counted("2")
    del response.headers["trailer"]
    with pytest.raises(LocalProtocolError, match="expected no Content-Length"):
        await send(response)


async def test_context_manager_may_set_trailers_at_its_end() -> None:
    @asynccontextmanager
    async def manager() -> AsyncIterator[list[str]]:
        yield ["a"]
        response.trailers["X-Closed"] = "1"

    response = Response.stream(manager())
    assert (await send(response)).written.endswith(b"0\r\nX-Closed: 1\r\n\r\n")


async def test_failed_stream_has_no_trailers() -> None:
    async def pieces() -> AsyncIterator[str]:
        yield "a"
        response.trailers["X-Count"] = "1"
        raise OSError("the disk is gone")

    response = Response.stream(pieces())
    stream = FakeStream()
    with pytest.raises(OSError, match="the disk is gone"):
        await response.send_to(stream, GET, HEADS, b"")
    assert stream.written.endswith(b"1\r\na\r\n")


async def test_forbidden_trailer_is_an_error_of_the_generator() -> None:
    async def pieces() -> AsyncIterator[str]:
        yield "a"
        response.trailers["Set-Cookie"] = "a=b"

    response = Response.stream(pieces())
    with pytest.raises(LocalProtocolError, match="got 'set-cookie'"):
        await send(response)


async def test_trailers_are_refused_after_the_answer() -> None:
    response = counted()
    await send(response)
    with pytest.raises(LocalProtocolError, match="was sent"):
        response.trailers["X-More"] = "1"


@pytest.mark.parametrize(
    "response", [Response("whole"), Response.json({}), Response.file(__file__)], ids=str
)
def test_answer_of_a_known_length_has_no_trailers(response: Response) -> None:
    assert not hasattr(response, "trailers")
    with pytest.raises(AttributeError, match=r"set the field in response\.headers"):
        response.trailers["X"] = "1"
