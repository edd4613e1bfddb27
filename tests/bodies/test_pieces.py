"""The pieces of a stream: their sources, and their conversion to bytes."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from support.answering import Pieces

from microweb import App, Response
from microweb.bodies.pieces import (
    END,
    check_source,
    iterate,
    of_length,
    resumed,
    take_next,
    to_bytes,
)
from microweb.concurrency.begun import Begun
from microweb.errors import LocalProtocolError


@pytest.mark.parametrize("source", ["a", b"a", bytearray(b"a"), memoryview(b"a"), None, 7])
def test_object_without_pieces_is_refused(source: Any) -> None:
    with pytest.raises(TypeError, match="expected an iterable of pieces"):
        check_source(source)


async def test_asynchronous_source_is_iterated_here() -> None:
    class Source:
        async def __aiter__(self) -> AsyncIterator[str]:
            yield "a"
            yield "b"

    check_source(Source())
    assert [piece async for piece in iterate(Source())] == ["a", "b"]
    generator = Pieces("a").generate()
    assert iterate(generator) is generator


async def test_plain_source_is_iterated_in_a_thread() -> None:
    app = App()
    app.get("/")(lambda: Response.stream(plain()))

    def plain() -> Iterator[str]:
        yield from "ab"

    async with app.test_client() as client:
        assert (await client.get("/")).text == "ab"


async def test_first_piece_that_was_taken_comes_first() -> None:
    pieces = Pieces("a", "b").generate()
    first = Begun(take_next(pieces))
    await first.run_for(0.0)
    assert first.result == "a"
    assert [piece async for piece in resumed(first, pieces)] == ["a", "b"]
    assert await take_next(pieces) is END
    assert [piece async for piece in resumed(Begun(take_next(pieces)), pieces)] == []


@pytest.mark.parametrize(("length", "said"), [(1, "got more"), (3, "got 2")])
async def test_pieces_of_another_length_are_refused(length: int, said: str) -> None:
    pieces = Pieces("a", "b")
    with pytest.raises(LocalProtocolError, match=said):
        _ = [piece async for piece in of_length(resumed(None, pieces.generate()), length)]


async def test_pieces_of_the_length_pass() -> None:
    pieces = of_length(resumed(None, Pieces("é", b"b").generate()), 3)
    assert [piece async for piece in pieces] == ["é", b"b"]


def test_piece_becomes_bytes() -> None:
    wide = array("I", [1, 2])
    assert to_bytes("é") == "é".encode()
    assert to_bytes(b"a") == b"a"
    assert to_bytes(memoryview(wide)) == wide.tobytes()  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected str or bytes as a piece of a stream, got int"):
        to_bytes(7)  # type: ignore[arg-type]


class Made:
    """A source whose `__aiter__` is an async generator, and the task that has left it."""

    def __init__(self) -> None:
        self.left_by: list[object] = []

    async def __aiter__(self) -> AsyncIterator[str]:
        begun_by = asyncio.current_task()
        try:
            while True:
                await asyncio.sleep(0)
                yield "a"
        finally:
            self.left_by.append(asyncio.current_task() is begun_by)


@pytest.mark.parametrize("make", [Response.stream, Response.events], ids=["stream", "events"])
async def test_generator_that_aiter_has_made_is_closed_by_its_own_task(
    make: Callable[[Any], Response],
) -> None:
    app, source = App(), Made()
    app.get("/")(lambda: make(source))
    async with app.test_client() as client, client.stream("GET", "/") as response:
        async for _ in response.aiter_bytes():
            break
    assert source.left_by == [True]
