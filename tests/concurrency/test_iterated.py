"""A plain iterable, whose items are taken in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from support.blocking import Blocker

from microweb.concurrency.iterated import iterate_in_thread
from microweb.concurrency.threads import Pools, open_pools


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
