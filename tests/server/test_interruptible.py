from __future__ import annotations

import asyncio

import pytest

from microweb.server.interruptible import Interruptible


def new_reader() -> asyncio.StreamReader:
    return asyncio.StreamReader(loop=asyncio.get_running_loop())


async def await_(reading: Interruptible[bytes]) -> bytes:
    return await reading


async def begun(reading: Interruptible[bytes]) -> asyncio.Task[bytes]:
    task = asyncio.create_task(await_(reading))
    await asyncio.sleep(0)
    return task


async def test_result_comes_back() -> None:
    reader = new_reader()
    task = await begun(Interruptible(reader.read(10)))
    reader.feed_data(b"abc")
    assert await task == b"abc"


async def test_coroutine_that_never_waits() -> None:
    reader = new_reader()
    reader.feed_data(b"abc")
    assert await Interruptible(reader.read(10)) == b"abc"


async def test_exception_comes_back() -> None:
    reader = new_reader()
    task = await begun(Interruptible(reader.read(10)))
    reader.set_exception(ConnectionResetError())
    with pytest.raises(ConnectionResetError):
        await task


async def test_cancellation_reaches_the_coroutine() -> None:
    reader = new_reader()
    task = await begun(Interruptible(reader.read(10)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    reader.feed_data(b"abc")
    assert await reader.read(10) == b"abc"


async def test_interrupted_read_lets_go_of_its_stream_at_once() -> None:
    reader = new_reader()
    reading = Interruptible(reader.read(10))
    task = await begun(reading)
    reading.interrupt(ValueError("enough"))
    other = asyncio.create_task(reader.read(10))
    with pytest.raises(ValueError, match="enough"):
        await task
    reader.feed_data(b"abc")
    assert await other == b"abc"


async def test_interrupted_read_takes_nothing_that_has_just_come() -> None:
    reader = new_reader()
    reading = Interruptible(reader.read(10))
    task = await begun(reading)
    reader.feed_data(b"abc")
    reading.interrupt(ValueError("enough"))
    with pytest.raises(ValueError, match="enough"):
        await task
    assert await reader.read(10) == b"abc"


async def test_cancellation_wins_over_an_interrupt() -> None:
    reader = new_reader()
    reading = Interruptible(reader.read(10))
    task = await begun(reading)
    task.cancel()
    reading.interrupt(ValueError("enough"))
    with pytest.raises(asyncio.CancelledError):
        await task
