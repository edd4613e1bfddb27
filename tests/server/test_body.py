"""The body of one request, on a fake connection: a list of reads and a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest
from support.reading import FakePeer

from microweb.errors import (
    BodyConsumed,
    ClientDisconnected,
    ContentTooLarge,
    MalformedRequest,
    ServiceUnavailable,
)
from microweb.http.request_head import RequestLines
from microweb.parser import Parser
from microweb.request import Request
from microweb.response import Response
from microweb.server.body import Body
from microweb.server.buffered import Share
from microweb.server.config import ServerConfig
from microweb.server.network import NetworkStream
from microweb.server.state import ServerState

LENGTH_10 = "Content-Length: 10"
CHUNKED = "Transfer-Encoding: chunked"
EXPECT = "Expect: 100-continue"


async def no_handler(request: Request) -> Response:
    raise AssertionError("no request is handled here")


@dataclass
class FakeConnection:
    """Returns the items of `reads`, each after a wait of `seconds`."""

    reads: list[bytes]
    config: ServerConfig
    seconds: float = 0.0
    now: float = 0.0
    patience: list[float] = field(default_factory=list)
    interim: list[bytes] = field(default_factory=list)
    ended_with: Exception | None = None

    def __post_init__(self) -> None:
        self.parser = Parser(FakePeer(), RequestLines(), self.config.head_limits)
        self.state = ServerState(no_handler, self.config)
        self.state.clock = self.clock

    def share(self, lose: Callable[[], None]) -> Share:
        return Share(self.state.budget, "a", lose)

    def clock(self) -> float:
        return self.now

    def write_interim(self, data: bytes) -> None:
        self.interim.append(data)

    async def read_within(self, seconds: float) -> bytes:
        self.patience.append(seconds)
        self.now += self.seconds
        await asyncio.sleep(0)
        return self.reads.pop(0) if self.reads else b""

    def end_reading(self, error: Exception) -> None:
        self.ended_with = error


def body_of(
    *reads: bytes,
    fields: tuple[str, ...] = (LENGTH_10,),
    seconds: float = 0.0,
    config: ServerConfig | None = None,
) -> tuple[Body, FakeConnection, Request]:
    """Return the body of a request whose head is in the first read."""
    connection = FakeConnection(list(reads[1:]), config or ServerConfig(), seconds)
    head = "".join(f"{line}\r\n" for line in ("POST / HTTP/1.1", "Host: a", *fields, ""))
    connection.parser.feed(head.encode() + reads[0])
    request = connection.parser.next_request()
    assert request is not None
    body = Body(cast(NetworkStream, connection), connection.parser, request.section)
    return body, connection, request


async def read_whole(body: Body, limit: int | None = None) -> bytes:
    pieces = []
    while piece := await body.read(limit):
        pieces.append(piece)
    return b"".join(pieces)


async def test_body_that_came_with_its_head() -> None:
    body, connection, _ = body_of(b"0123456789")
    assert await read_whole(body) == b"0123456789"
    assert await body.read(None) == b""
    assert not connection.patience


async def test_pieces_come_as_they_are_read() -> None:
    body, *_ = body_of(b"01", b"234", b"56789")
    assert [await body.read(None) for _ in range(4)] == [b"01", b"234", b"56789", b""]


async def test_chunks_and_trailers() -> None:
    body, *_ = body_of(b"3\r\nabc\r\n", b"0\r\nX-Sum: 1\r\n\r\n", fields=(CHUNKED,))
    assert body.trailers is None
    assert await read_whole(body) == b"abc"
    assert body.trailers is not None and body.trailers["x-sum"] == "1"


async def test_other_tasks_run_between_many_small_chunks() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    body, connection, _ = body_of(b"1\r\na\r\n" * 10_000 + b"0\r\n\r\n", fields=(CHUNKED,))
    counting = asyncio.create_task(count())
    assert await read_whole(body) == b"a" * 10_000
    counting.cancel()
    assert turns == 10 and not connection.patience


async def test_a_read_cancelled_between_many_small_chunks_loses_nothing() -> None:
    body, *_ = body_of(b"1\r\na\r\n" * 2500 + b"0\r\n\r\n", fields=(CHUNKED,))
    assert await body.read(None) == b"a" * 1000
    reading = asyncio.create_task(body.read(None))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled()
    assert await read_whole(body) == b"a" * 1500


# --- limits


async def test_declared_length_over_the_limit_is_refused_before_reading() -> None:
    config = ServerConfig(max_body=9)
    body, connection, _ = body_of(b"", b"0123456789", config=config, fields=(LENGTH_10, EXPECT))
    with pytest.raises(ContentTooLarge, match="9 bytes"):
        await body.read(None)
    assert not connection.patience and not connection.interim


async def test_chunk_over_the_limit_is_refused_when_it_is_announced() -> None:
    body, connection, _ = body_of(
        b"5\r\nhello\r\n", b"6\r\n", fields=(CHUNKED,), config=ServerConfig(max_body=10)
    )
    assert await body.read(None) == b"hello"
    with pytest.raises(ContentTooLarge):
        await body.read(None)
    assert len(connection.patience) == 1


@pytest.mark.parametrize(("of_match", "of_server", "is_refused"), [(20, 5, False), (5, 20, True)])
async def test_limit_of_the_route_wins(of_match: int, of_server: int, is_refused: bool) -> None:
    config = ServerConfig(max_body=of_server)
    body, *_ = body_of(b"0123456789", config=config)
    if is_refused:
        with pytest.raises(ContentTooLarge):
            await body.read(of_match)
    else:
        assert await read_whole(body, of_match) == b"0123456789"


async def test_what_was_raised_is_raised_again() -> None:
    body, *_ = body_of(b"zz\r\n", fields=(CHUNKED,))
    with pytest.raises(MalformedRequest) as first:
        await body.read(None)
    with pytest.raises(MalformedRequest) as second:
        await body.read(None)
    assert first.value is second.value
    assert not body.can_skim(1000)


# --- 100 Continue


async def test_continue_is_sent_at_the_first_read_and_once() -> None:
    body, connection, _ = body_of(b"", b"01234", b"56789", fields=(LENGTH_10, EXPECT))
    assert not connection.interim
    assert await read_whole(body) == b"0123456789"
    assert connection.interim == [b"HTTP/1.1 100 Continue\r\n\r\n"]


async def test_no_continue_for_what_came_already() -> None:
    body, connection, _ = body_of(b"01234", b"56789", fields=(LENGTH_10, EXPECT))
    assert await read_whole(body) == b"0123456789"
    assert not connection.interim


# --- deadlines


async def test_patience_is_the_body_timeout_at_first() -> None:
    config = ServerConfig(body_timeout_s=20, min_body_rate=256)
    body, connection, _ = body_of(b"", b"01234", b"56789", config=config)
    await read_whole(body)
    assert connection.patience == [20, 20]


async def test_patience_shrinks_below_the_minimum_rate() -> None:
    config = ServerConfig(body_timeout_s=20, min_body_rate=1)
    body, connection, _ = body_of(b"", *[b"x"] * 10, config=config, seconds=3)
    await read_whole(body)
    # Each byte takes 3 s and earns 1 s.
    assert connection.patience == [20 - 2 * n for n in range(10)]


async def test_time_that_the_endpoint_takes_is_not_the_peers() -> None:
    config = ServerConfig(body_timeout_s=20, min_body_rate=1)
    body, connection, _ = body_of(b"", *[b"01"] * 5, config=config)
    for _ in range(5):
        await body.read(None)
        connection.now += 1000
    assert connection.patience == [20] * 5


async def test_quick_start_pays_for_a_minute_of_a_slow_end() -> None:
    config = ServerConfig(body_timeout_s=20, min_body_rate=256)
    size = 1 << 20  # an hour's worth at the minimum rate
    head = f"Content-Length: {size + 10}"
    body, connection, _ = body_of(bytes(size), *[b"x"] * 10, fields=(head,), config=config)
    connection.seconds = 15
    await read_whole(body)
    assert connection.patience[:4] == [20] * 4
    assert connection.patience[4] == pytest.approx(20, abs=0.1)
    assert connection.patience[5] == pytest.approx(5, abs=0.1)
    assert connection.patience[6] < 0


async def test_rate_of_0_is_none() -> None:
    config = ServerConfig(body_timeout_s=20, min_body_rate=0)
    body, connection, _ = body_of(b"", *[b"x"] * 10, config=config, seconds=19)
    await read_whole(body)
    assert connection.patience == [20] * 10


# --- the end


async def test_end_of_input_inside_the_body_is_a_client_that_left() -> None:
    body, *_ = body_of(b"01234")
    assert await body.read(None) == b"01234"
    with pytest.raises(ClientDisconnected, match="inside the body"):
        await body.read(None)


async def test_two_tasks_share_a_body() -> None:
    body, connection, _ = body_of(b"", *[b"%d" % n for n in range(10)])
    parts = await asyncio.gather(read_whole(body), read_whole(body))
    assert sorted("".join(part.decode() for part in parts)) == list("0123456789")
    assert len(connection.patience) == 10


@pytest.mark.parametrize(
    ("fields", "came", "is_worth_it"),
    [
        (("Content-Length: 1000",), b"", True),
        (("Content-Length: 1001",), b"", False),
        (("Content-Length: 1005",), b"01234", False),  # no content was taken yet
        ((CHUNKED,), b"3\r\nabc\r\n0\r\n\r\n", True),
        ((CHUNKED,), b"3\r\nabc\r\n", False),
        ((CHUNKED,), b"zz\r\n", False),
        ((CHUNKED,), b"1\r\na\r\n" * 900 + b"0\r\n\r\n", True),
        ((CHUNKED,), b"1\r\na\r\n" * 1000 + b"0\r\n\r\n", False),
        ((LENGTH_10, EXPECT), b"", False),
        ((LENGTH_10, EXPECT), b"0123456789", False),
    ],
)
def test_what_is_worth_skimming(fields: tuple[str, ...], came: bytes, is_worth_it: bool) -> None:
    body, *_ = body_of(came, fields=fields)
    assert body.can_skim(1000) is is_worth_it


async def test_body_that_was_asked_for_is_worth_skimming() -> None:
    body, *_ = body_of(b"", b"01234", fields=(LENGTH_10, EXPECT))
    await body.read(None)
    assert body.can_skim(1000)


@pytest.mark.parametrize("came", [b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", b"3\r\nabc\r\n0\r\nX-S"])
async def test_looking_at_what_is_left_takes_nothing(came: bytes) -> None:
    body, connection, _ = body_of(came, fields=(CHUNKED,))
    body.can_skim(1000)
    connection.reads = [b"um: 1\r\n\r\n"]
    assert await read_whole(body) == b"abc"
    assert body.trailers is not None and body.trailers.pairs() == [("x-sum", "1")]


# --- the end of its exchange


@pytest.mark.parametrize("read_before", [0, 1])
async def test_body_whose_request_is_answered_is_consumed(read_before: int) -> None:
    body, connection, _ = body_of(b"01", b"23456789")
    for _ in range(read_before):
        await body.read(None)
    body.end()
    body.end()
    with pytest.raises(BodyConsumed, match="answered"):
        await body.read(None)
    assert not connection.patience and connection.ended_with is None


async def test_read_that_waits_ends_with_its_exchange() -> None:
    body, connection, _ = body_of(b"01", b"23456789")
    await body.read(None)
    reading = asyncio.create_task(body.read(None))
    await asyncio.sleep(0)  # now it waits in `read_within`
    body.end()
    assert isinstance(connection.ended_with, BodyConsumed)
    with pytest.raises(BodyConsumed):
        await reading


async def test_whole_body_whose_request_is_answered_is_not_taken() -> None:
    body, connection, _ = body_of(b"0123456789", fields=(LENGTH_10, EXPECT))
    body.end()
    with pytest.raises(BodyConsumed):
        body.take_whole(None)
    assert connection.parser.take_body() == b"0123456789"
    assert not connection.interim


async def test_fault_of_the_peer_is_raised_behind_the_answer_too() -> None:
    body, *_ = body_of(b"zz\r\n", fields=(CHUNKED,))
    with pytest.raises(MalformedRequest):
        await body.read(None)
    body.end()
    with pytest.raises(MalformedRequest):
        await body.read(None)


def large_body(config: ServerConfig) -> tuple[Body, FakeConnection]:
    """Return a body of 200,000 bytes, which arrives in two reads."""
    length = "Content-Length: 200000"
    reads = (b"", bytes(100_000), bytes(100_000))
    body, connection, _ = body_of(*reads, fields=(length,), config=config)
    return body, connection


async def test_bytes_read_ahead_are_counted_until_they_are_taken() -> None:
    body, connection = large_body(ServerConfig(max_body=100_000))
    await body.read_ahead(200_000)
    assert connection.state.budget.total == 100_000
    assert len(await body.read(200_000)) == 100_000
    assert connection.state.budget.total == 0
    assert len(await read_whole(body, 200_000)) == 100_000


async def test_bytes_read_ahead_of_a_body_that_is_lost_are_not_kept() -> None:
    body, connection = large_body(ServerConfig(max_body=100_000, max_buffered=90_000))
    await body.read_ahead(200_000)
    assert connection.state.budget.total == 0
    with pytest.raises(ServiceUnavailable):
        await body.read(200_000)
