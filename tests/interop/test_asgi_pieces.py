"""The pieces of an ASGI answer between two tasks."""

from __future__ import annotations

import asyncio

import pytest
from support.serving import DEADLINE_S

from microweb.interop.asgi_pieces import AnswerPieces


async def test_pieces_come_in_order_and_end() -> None:
    pieces = AnswerPieces()
    for piece in (b"a", b"", b"b"):
        await pieces.put(piece)
    pieces.end()
    assert [piece async for piece in pieces] == [b"a", b"b"]


async def test_an_error_comes_behind_the_pieces() -> None:
    pieces = AnswerPieces()
    await pieces.put(b"a")
    pieces.end(RuntimeError("late"))
    assert await anext(pieces) == b"a"
    with pytest.raises(RuntimeError, match="late"):
        await anext(pieces)


async def test_put_waits_while_much_is_buffered() -> None:
    pieces = AnswerPieces()
    putting = asyncio.create_task(pieces.put(b"x" * 64 * 1024))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not putting.done()
    await anext(pieces)
    async with asyncio.timeout(DEADLINE_S):
        await putting


async def test_put_raises_after_the_close() -> None:
    pieces = AnswerPieces()
    putting = asyncio.create_task(pieces.put(b"x" * 64 * 1024))
    await asyncio.sleep(0)
    await pieces.aclose()
    async with asyncio.timeout(DEADLINE_S):
        for task in (putting, asyncio.create_task(pieces.put(b"a"))):
            with pytest.raises(OSError, match="the client has left"):
                await task


async def test_a_cancelled_wait_loses_nothing() -> None:
    pieces = AnswerPieces()
    taking = asyncio.create_task(anext(pieces))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait((taking,))
    await pieces.put(b"a")
    assert await anext(pieces) == b"a"


async def test_a_cancelled_sender_does_not_cancel_another_one() -> None:
    pieces = AnswerPieces()
    one, other = (asyncio.create_task(pieces.put(b"x" * 64 * 1024)) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    await asyncio.wait((one,))
    for _ in range(2):
        await anext(pieces)
    async with asyncio.timeout(DEADLINE_S):
        await other
