"""A body while it arrives, from any source: what is read ahead, errors, memory and speed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from microweb import Request, Response
from microweb.errors import BodyConsumed, ContentTooLarge, MicrowebError, ServiceUnavailable
from microweb.server.arriving import MAX_CREDIT_S, ArrivingBody, over
from microweb.server.buffered import FREE_BYTES, Budget, Share
from microweb.server.config import ServerConfig
from microweb.server.state import ServerState


async def never(request: Request) -> Response:
    raise AssertionError("no request is answered here")


class Pieces:
    """A source that keeps the error of a read that it ends."""

    def __init__(self) -> None:
        self.state = ServerState(
            never, ServerConfig(max_body=10, body_timeout_s=30, min_body_rate=2)
        )
        self.budget = Budget(4 * FREE_BYTES, lambda: 0.0)
        self.error: MicrowebError | None = None

    def share(self, lose: Callable[[], None]) -> Share:
        return Share(self.budget, "client", lose)

    def end_reading(self, error: MicrowebError) -> None:
        self.error = error


class PiecesBody(ArrivingBody[Pieces]):
    def __init__(self, *pieces: bytes | MicrowebError) -> None:
        super().__init__(Pieces())
        self.pieces = list(pieces)

    async def _read(self, limit: int | None) -> bytes:
        if self._source is None:
            raise over()
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, MicrowebError):
            raise piece
        self._earn(len(piece), self._source)
        return piece

    @property
    def source(self) -> Pieces:
        assert self._source is not None
        return self._source

    @property
    def patience_s(self) -> float:
        return self._patience_s(self.source)


async def test_pieces_that_are_read_ahead_are_one() -> None:
    body = PiecesBody(b"ab", b"cd", b"efghij", b"k")
    await body.read_ahead(None)
    assert [await body.read(None) for _ in range(3)] == [b"abcdefghij", b"k", b""]


async def test_an_error_is_raised_by_each_read() -> None:
    body = PiecesBody(b"ab", ContentTooLarge("no"), b"never")
    await body.read_ahead(None)
    assert await body.read(None) == b"ab"
    for _ in range(2):
        with pytest.raises(ContentTooLarge):
            await body.read(None)


async def test_a_read_after_the_answer() -> None:
    body = PiecesBody(b"ab")
    await body.read_ahead(None)
    body._detach()
    await body.read_ahead(None)
    with pytest.raises(BodyConsumed, match="the request is answered"):
        await body.read(None)
    assert body.error is None


async def test_a_body_that_needs_too_much_memory_is_dropped() -> None:
    body = PiecesBody(b"ab")
    body.keep(FREE_BYTES)
    source = body.source
    assert source.budget.total == 0
    body.keep(3 * FREE_BYTES)
    assert source.budget.total == 3 * FREE_BYTES
    body.keep(5 * FREE_BYTES)
    assert source.budget.total == 0
    assert isinstance(source.error, ServiceUnavailable)
    with pytest.raises(ServiceUnavailable):
        await body.read(None)


async def test_the_memory_is_free_after_the_answer() -> None:
    body = PiecesBody()
    body.keep(3 * FREE_BYTES)
    source = body.source
    body._detach()
    assert source.budget.total == 0


async def test_a_slow_body_has_less_time() -> None:
    body = PiecesBody(b"abcd", b"x" * 1000)
    assert body.patience_s == 30
    body._credit_s = -12.0  # it has waited
    await body.read(None)
    assert body.patience_s == 20  # two seconds for four bytes
    await body.read(None)
    assert body.patience_s == 30 and body._credit_s == MAX_CREDIT_S
