from __future__ import annotations

import asyncio

import pytest
from support.reading import FakePeer

from microweb.http.limits import Limits
from microweb.http.request_head import RequestLines
from microweb.parser import Parser
from microweb.server.delivery import Delivery, Discard, take_buffered


async def test_what_a_reader_holds_is_taken_without_waiting() -> None:
    reader = asyncio.StreamReader()
    assert take_buffered(reader, 4) == b""
    reader.feed_data(b"0123456789")
    assert take_buffered(reader, 4) == b"0123456789"
    assert take_buffered(reader, 4) == b""
    reader.feed_data(b"more")
    assert await reader.read(10) == b"more"  # no pending read is left
    reader.feed_data(b"last")
    reader.feed_eof()
    assert take_buffered(reader, 10) == b"last"
    assert reader.at_eof()


class Noting(asyncio.Protocol):
    """A protocol and receiver that records its calls."""

    def __init__(self, notes: list[str], name: str) -> None:
        self.notes = notes
        self.name = name

    def note(self, what: str) -> None:
        self.notes.append(f"{self.name} {what}")

    def data_received(self, data: bytes) -> None:
        self.note(f"data {data!r}")

    def end_received(self) -> None:
        self.note("end")

    def eof_received(self) -> bool:
        self.note("eof")
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.note("lost")

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")


def test_all_but_the_bytes_goes_to_the_streams() -> None:
    notes: list[str] = []
    delivery = Delivery(Noting(notes, "streams"), Noting(notes, "receiver"))
    delivery.data_received(b"x")
    delivery.pause_writing()
    delivery.resume_writing()
    assert delivery.eof_received() is True
    delivery.connection_lost(None)
    assert notes == [
        "receiver data b'x'",
        "streams pause",
        "streams resume",
        "streams eof",
        "receiver end",
        "streams lost",
        "receiver end",
    ]


# --- the rest of a body


def discarding(fields: str, came: bytes) -> tuple[Parser, Discard, asyncio.Future[None]]:
    parser = Parser(FakePeer(), RequestLines(), Limits())
    parser.feed(f"POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode() + came)
    assert parser.next_request() is not None
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    return parser, Discard(parser, ended), ended


@pytest.mark.parametrize(
    ("fields", "came", "pieces"),
    [
        ("Content-Length: 6\r\n", b"ab", [b"cd", b"e", b"f"]),
        ("Content-Length: 6\r\n", b"ab", [b"cdef and more"]),
        ("Transfer-Encoding: chunked\r\n", b"2\r\nab\r", [b"\n2\r\nc", b"d\r\n0\r", b"\n\r\n"]),
    ],
)
async def test_the_end_of_a_body_ends_its_discarding(
    fields: str, came: bytes, pieces: list[bytes]
) -> None:
    _, discard, ended = discarding(fields, came)
    for piece in pieces:
        assert not ended.done()
        discard.data_received(piece)
    assert ended.done()


async def test_what_is_discarded_may_be_over_the_limit() -> None:
    parser, discard, ended = discarding("Transfer-Encoding: chunked\r\n", b"")
    discard.data_received(b"ffff\r\n")
    discard.data_received(bytes(0xFFFF))
    assert parser.is_empty and not ended.done()


@pytest.mark.parametrize("came", [b"zz", b"1\r\na\r\n" * 1000])
async def test_a_body_without_a_known_end_is_discarded_until_the_peer_ends(came: bytes) -> None:
    """It is malformed, or in so many small chunks that to find its end would take too long."""
    parser, discard, ended = discarding("Transfer-Encoding: chunked\r\n", came)
    discard.data_received(b"\r\n0\r\n\r\n" * 1000)
    assert parser.is_empty and not ended.done()
    discard.end_received()
    discard.end_received()
    assert ended.done()
