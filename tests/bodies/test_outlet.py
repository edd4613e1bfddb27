"""The pieces of a stream: joined in one turn of the event loop, and written after the head."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from support.answering import FakeStream

from microweb.bodies.outlet import Outlet
from microweb.errors import ClientDisconnected


async def put(outlet: Outlet, *pieces: bytes) -> None:
    """Pass the pieces of one turn of the event loop to the outlet."""
    for piece in pieces:
        if not outlet.joined and outlet.is_full:
            await outlet.drain()
        outlet.joined.append(piece)


async def run(outlet: Outlet, joining: Coroutine[Any, Any, str]) -> str:
    return await outlet.run(joining)


async def put_and_wait(outlet: Outlet, *pieces: bytes) -> None:
    """Pass the pieces of one turn, and then wait until the next turn."""
    await put(outlet, *pieces)
    await asyncio.sleep(0)


async def test_head_and_pieces_of_a_turn_are_one_write_and_one_chunk() -> None:
    stream = FakeStream()
    outlet = Outlet(stream, b"head\r\n\r\n", is_chunked=True)
    await outlet.run(put(outlet, b"a", b"bc"))
    assert stream.writes == []
    await outlet.run(put_and_wait(outlet, b"d"))
    assert stream.writes == [b"head\r\n\r\n4\r\nabcd\r\n"]
    await outlet.run(put_and_wait(outlet, b"e"))
    assert stream.writes[1:] == [b"1\r\ne\r\n"]


async def test_pieces_are_written_before_a_wait_begins() -> None:
    stream = FakeStream()
    outlet = Outlet(stream, b"head", is_chunked=False)
    event = asyncio.Event()

    async def joining() -> str:
        outlet.joined.append(b"a")
        await event.wait()
        outlet.joined.append(b"b")
        return "end"

    task = asyncio.create_task(run(outlet, joining()))
    before = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: before.set_result([*stream.writes]))
    assert await before == [b"heada"]
    event.set()
    assert await task == "end"
    assert outlet.joined == [b"b"]


async def test_cancellation_reaches_the_coroutine_that_waits() -> None:
    stream = FakeStream()
    outlet = Outlet(stream, b"", is_chunked=True)

    async def joining() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            outlet.joined.append(b"last")
            await asyncio.sleep(0)
        return "end"

    task = asyncio.create_task(run(outlet, joining()))
    asyncio.get_running_loop().call_soon(task.cancel)
    assert await task == "end"
    assert stream.writes == [b"4\r\nlast\r\n"]


async def test_end_goes_out_with_the_last_pieces() -> None:
    stream = FakeStream()
    outlet = Outlet(stream, b"head", is_chunked=True)
    await put(outlet, b"x" * 10, b"y" * 10)
    outlet.end(20)
    assert stream.writes == [b"head14\r\n" + b"x" * 10 + b"y" * 10 + b"\r\n0\r\n\r\n"]


async def test_trailers_go_out_behind_the_last_chunk_only() -> None:
    for is_chunked, end in ((True, b"1\r\na\r\n0\r\nX: 1\r\n\r\n"), (False, b"a")):
        stream = FakeStream()
        outlet = Outlet(stream, b"head", is_chunked=is_chunked)
        await put(outlet, b"a")
        outlet.end(1, b"0\r\nX: 1\r\n\r\n")
        assert stream.writes == [b"head" + end]


async def test_stream_without_pieces_is_a_head_and_an_end() -> None:
    stream = FakeStream()
    Outlet(stream, b"head", is_chunked=True).end(0)
    assert stream.writes == [b"head0\r\n\r\n"]


async def test_pieces_of_a_known_length_are_no_chunks() -> None:
    stream = FakeStream()
    outlet = Outlet(stream, b"head", is_chunked=False)
    outlet.write_head()
    outlet.end(0)
    assert stream.writes == [b"head"]  # the end writes no bytes
    await put(outlet, b"a", b"b")
    outlet.end(2)
    assert stream.writes == [b"head", b"ab"]


async def test_others_have_their_turn_behind_a_write() -> None:
    stream = FakeStream()
    outlet = Outlet(stream, b"", is_chunked=True)
    turns: list[int] = []
    asyncio.get_running_loop().call_soon(turns.append, 1)
    await put(outlet, b"abc")
    await outlet.write(3)
    assert stream.writes == [b"3\r\nabc\r\n"]
    assert turns == [1]
    assert outlet.joined == []


async def test_small_pieces_are_one_until_they_are_enough_for_a_turn() -> None:
    stream = FakeStream()
    outlet = Outlet(stream, b"", is_chunked=False)
    await put(outlet, *[b"a"] * 128)
    await outlet.compact()
    assert (stream.writes, outlet.joined) == ([], [b"a" * 128])
    await put(outlet, bytes(32 * 1024))
    await outlet.compact()
    assert stream.writes == [b"a" * 128 + bytes(32 * 1024)]
    assert outlet.joined == []


async def test_full_connection_is_waited_for_before_the_next_piece() -> None:
    stream = FakeStream(high_water=5)
    outlet = Outlet(stream, b"", is_chunked=True)
    await outlet.run(put_and_wait(outlet, b"x" * 100))
    assert stream.drained_at == []
    await put(outlet, b"y")
    assert stream.drained_at == [1]
    await put(outlet, b"z" * 100)
    await outlet.write(101)
    assert stream.drained_at == [1, 2]


async def test_client_that_left_is_met_at_the_next_piece() -> None:
    outlet = Outlet(FakeStream(closes_after=0), b"head", is_chunked=True)
    await outlet.run(put_and_wait(outlet, b"a"))  # the write fails, but raises nothing
    with pytest.raises(ClientDisconnected):
        await put(outlet, b"b")


async def test_pieces_before_a_fault_are_written_without_an_end() -> None:
    stream = FakeStream()
    outlet = Outlet(stream, b"head", is_chunked=True)
    outlet.close()
    assert stream.writes == []
    await put(outlet, b"a")
    outlet.close()
    assert stream.writes == [b"head1\r\na\r\n"]


async def test_fault_of_a_client_that_left_raises_nothing() -> None:
    outlet = Outlet(FakeStream(closes_after=0), b"head", is_chunked=True)
    await put(outlet, b"a")
    outlet.close()
