"""A plain iterable, whose items are taken in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from support.blocking import Blocker

from microweb.concurrency.iterated import iterate_in_thread
from microweb.concurrency.threads import Pools, open_pools, run_in_thread


@pytest.fixture
async def pool() -> AsyncIterator[Pools]:
    pool = open_pools(2)
    yield pool
    pool.close()


async def test_items_are_taken_in_threads(pool: Pools) -> None:
    def numbers() -> Iterator[tuple[int, bool]]:
        for number in range(3):
            yield number, threading.current_thread() is threading.main_thread()

    items = [item async for item in iterate_in_thread("x", numbers())]
    assert items == [(0, False), (1, False), (2, False)]


async def test_plain_iterable(pool: Pools) -> None:
    assert [item async for item in iterate_in_thread("x", ["a", "b"])] == ["a", "b"]


async def test_exception_of_an_iterable_comes_back(pool: Pools) -> None:
    def fail() -> Iterator[int]:
        yield 1
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        assert [item async for item in iterate_in_thread("x", fail())] == [1]


def closing(log: list[str], work: Callable[[], object]) -> Iterator[object]:
    try:
        while True:
            yield work()
    finally:
        log.append("closed" if threading.current_thread() is not threading.main_thread() else "?")


async def test_iterator_that_is_left_is_closed_in_a_thread(pool: Pools) -> None:
    log: list[str] = []
    items = iterate_in_thread("x", closing(log, lambda: 1))
    assert await anext(items) == 1
    await items.aclose()  # type: ignore[attr-defined]
    assert log == ["closed"]


async def test_cancelled_caller_closes_behind_the_item_under_way(pool: Pools) -> None:
    log: list[str] = []
    blocker = Blocker()

    async def take() -> None:
        async for _ in iterate_in_thread("x", closing(log, blocker)):
            pytest.fail("nothing comes")

    task = asyncio.create_task(take())
    await blocker.begun()
    task.cancel()
    await asyncio.sleep(0)
    blocker.let_go()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["closed"]


async def test_caller_that_leaves_takes_no_second_thread(pool: Pools) -> None:
    log: list[str] = []
    blockers = [Blocker(), Blocker()]

    async def take(blocker: Blocker) -> None:
        async for _ in iterate_in_thread("x", closing(log, blocker)):
            pytest.fail("nothing comes")

    tasks = [asyncio.create_task(take(blocker)) for blocker in blockers[:1]]
    await blockers[0].begun()
    tasks[0].cancel()
    await asyncio.sleep(0)
    async with asyncio.timeout(5):  # one of the two threads is free
        assert await run_in_thread("y", lambda: "free") == "free"
        tasks.append(asyncio.create_task(take(blockers[1])))
        await blockers[1].begun()
    assert not any(task.done() for task in tasks)
    tasks[1].cancel()
    for blocker in blockers:
        blocker.let_go()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in ended] == [asyncio.CancelledError] * 2
    assert log == ["closed"] * 2


async def test_item_that_no_thread_has_begun_is_not_taken(pool: Pools) -> None:
    """The caller leaves while both threads are busy."""
    log: list[str] = []
    blockers = [Blocker(), Blocker()]
    busy = [asyncio.create_task(run_in_thread("busy", blocker)) for blocker in blockers]
    for blocker in blockers:
        await blocker.begun()

    async def take() -> None:
        async for _ in iterate_in_thread("x", closing(log, lambda: log.append("taken"))):
            pytest.fail("nothing comes")

    task = asyncio.create_task(take())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    for blocker in blockers:
        blocker.let_go()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.gather(*busy)
    assert log == []  # not begun, so that its `finally` does not run


async def test_exception_of_the_close_behind_an_item_comes_back(pool: Pools) -> None:
    blocker = Blocker()

    def fail() -> Iterator[str]:
        try:
            yield blocker()
        finally:
            raise ValueError("mine")

    async def take() -> None:
        async for _ in iterate_in_thread("x", fail()):
            pytest.fail("nothing comes")

    task = asyncio.create_task(take())
    await blocker.begun()
    task.cancel()
    await asyncio.sleep(0)
    blocker.let_go()
    with pytest.raises(ValueError, match="mine"):
        await task
