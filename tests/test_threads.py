from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar

import pytest

from microweb.threads import ThreadPool, from_thread, iterate_in_thread, open_pool, run_in_thread

USER: ContextVar[str] = ContextVar("user")


@pytest.fixture
async def pool() -> AsyncIterator[ThreadPool]:
    pool = open_pool(2)
    yield pool
    pool.close()


class Blocker:
    """A function that waits in its thread until it is let go."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._may_end = threading.Event()

    def __call__(self) -> str:
        self._begun.set()
        self._may_end.wait(10)
        return "done"

    async def begun(self) -> None:
        await asyncio.to_thread(self._begun.wait, 10)

    def let_go(self) -> None:
        self._may_end.set()


# --- the pool -------------------------------------------------------------------------


async def test_function_runs_in_another_thread(pool: ThreadPool) -> None:
    assert await run_in_thread("x", threading.get_ident) != threading.get_ident()


async def test_exception_comes_back(pool: ThreadPool) -> None:
    def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await run_in_thread("x", fail)


async def test_stop_iteration_comes_back_as_runtime_error(pool: ThreadPool) -> None:
    def fail() -> None:
        raise StopIteration

    with pytest.raises(RuntimeError, match="GET / raised StopIteration"):
        await run_in_thread("GET /", fail)


async def test_context_variables_go_along_and_do_not_come_back(pool: ThreadPool) -> None:
    def change() -> str:
        before = USER.get()
        USER.set("thread")
        return before

    USER.set("bob")
    assert await run_in_thread("x", change) == "bob"
    assert USER.get() == "bob"


async def test_pool_is_bounded(pool: ThreadPool) -> None:
    blockers = [Blocker() for _ in range(3)]
    tasks = [asyncio.create_task(run_in_thread("x", each)) for each in blockers]
    await blockers[0].begun()
    await blockers[1].begun()
    assert not blockers[2]._begun.is_set()
    blockers[0].let_go()
    await blockers[2].begun()
    for each in blockers:
        each.let_go()
    assert await asyncio.gather(*tasks) == ["done"] * 3


async def test_thread_that_nobody_waits_for_is_one_less(pool: ThreadPool) -> None:
    blockers = [Blocker() for _ in range(3)]
    left = asyncio.create_task(run_in_thread("x", blockers[0]))
    await blockers[0].begun()
    left.cancel()
    await asyncio.wait((left,))
    other = asyncio.create_task(run_in_thread("x", blockers[1]))
    await blockers[1].begun()
    third = asyncio.create_task(run_in_thread("x", blockers[2]))
    blockers[0].let_go()
    await blockers[2].begun()
    blockers[1].let_go()
    blockers[2].let_go()
    assert await asyncio.gather(other, third) == ["done"] * 2


async def test_what_was_cancelled_before_its_turn_never_runs() -> None:
    pool, blocker, log = open_pool(1), Blocker(), []
    first = asyncio.create_task(run_in_thread("x", blocker))
    second = asyncio.create_task(run_in_thread("x", lambda: log.append("ran")))
    await blocker.begun()
    second.cancel()
    await asyncio.wait((second,))
    blocker.let_go()
    assert (await first, await run_in_thread("x", lambda: log), log) == ("done", [], [])
    pool.close()


async def test_closed_pool_takes_nothing_from_its_queue() -> None:
    pool, blocker = open_pool(1), Blocker()
    first = asyncio.create_task(run_in_thread("x", blocker))
    second = asyncio.create_task(run_in_thread("x", pytest.fail))
    await blocker.begun()
    pool.close()
    pool.close()  # more than once does nothing
    with pytest.raises(asyncio.CancelledError):
        await second
    blocker.let_go()
    assert await first == "done"
    await asyncio.to_thread(pool._threads[0].join, 10)
    assert not pool._threads[0].is_alive()


@pytest.mark.parametrize("is_closed", [True, False])
async def test_pool_leaves_no_thread(is_closed: bool) -> None:
    pool = ThreadPool(2)
    assert await pool.run("x", lambda: 5) == 5
    (thread,) = pool._threads
    if is_closed:
        pool.close()
        assert not thread.is_alive()
    else:
        del pool
        await asyncio.sleep(0)  # the loop has let go of it too
        gc.collect()
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()


async def test_value_is_not_kept_by_an_idle_thread(pool: ThreadPool) -> None:
    class Value:
        pass

    values = [Value()]
    kept = weakref.ref(values[0])
    assert await run_in_thread("x", values.pop) is kept()
    await run_in_thread("x", lambda: None)  # then the first is behind it
    gc.collect()
    assert kept() is None


async def test_cancelled_caller_stops_waiting(pool: ThreadPool) -> None:
    blocker = Blocker()
    task = asyncio.create_task(run_in_thread("GET /slow", blocker))
    await blocker.begun()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (stuck,) = pool.stuck()
    assert stuck.startswith("GET /slow\n") and "test_threads.py" in stuck
    blocker.let_go()
    await pool.wait_idle(10)
    assert pool.stuck() == []


async def test_waiting_for_idle_ends_in_any_case(pool: ThreadPool) -> None:
    blocker = Blocker()
    task = asyncio.create_task(run_in_thread("x", blocker))
    await blocker.begun()
    await pool.wait_idle(0)
    assert len(pool.stuck()) == 1
    blocker.let_go()
    await task


async def test_closed_pool_of_one_server_does_not_stop_another() -> None:
    first, second = open_pool(1), open_pool(1)
    second.close()
    assert await run_in_thread("x", lambda: "still") == "still"
    first.close()


async def test_loop_without_a_server_has_a_pool_too() -> None:
    assert await run_in_thread("x", lambda: 5) == 5


# --- from_thread ----------------------------------------------------------------------


async def test_from_thread_awaits_on_the_loop(pool: ThreadPool) -> None:
    loop_thread = threading.get_ident()

    async def ask() -> tuple[str, bool]:
        await asyncio.sleep(0)
        return USER.get(), threading.get_ident() == loop_thread

    USER.set("bob")
    assert await run_in_thread("x", lambda: from_thread(ask())) == ("bob", True)


async def test_from_thread_takes_any_awaitable_and_raises_its_exception(pool: ThreadPool) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_exception(ValueError("mine"))
    with pytest.raises(ValueError, match="mine"):
        await run_in_thread("x", lambda: from_thread(future))


async def test_from_thread_on_the_loop_is_refused() -> None:
    with pytest.raises(RuntimeError, match="elsewhere use await"):
        from_thread(asyncio.sleep(0))


def test_from_thread_without_a_loop_is_refused() -> None:
    with pytest.raises(RuntimeError, match="works in plain `def` endpoints"):
        from_thread(asyncio.sleep(0))


# --- iterating ------------------------------------------------------------------------


async def test_items_are_taken_in_threads(pool: ThreadPool) -> None:
    def numbers() -> Iterator[tuple[int, bool]]:
        for number in range(3):
            yield number, threading.current_thread() is threading.main_thread()

    items = [item async for item in iterate_in_thread("x", numbers())]
    assert items == [(0, False), (1, False), (2, False)]


async def test_plain_iterable(pool: ThreadPool) -> None:
    assert [item async for item in iterate_in_thread("x", ["a", "b"])] == ["a", "b"]


async def test_exception_of_an_iterable_comes_back(pool: ThreadPool) -> None:
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


async def test_iterator_that_is_left_is_closed_in_a_thread(pool: ThreadPool) -> None:
    log: list[str] = []
    items = iterate_in_thread("x", closing(log, lambda: 1))
    assert await anext(items) == 1
    await items.aclose()  # type: ignore[attr-defined]
    assert log == ["closed"]


async def test_cancelled_caller_closes_behind_the_item_under_way(pool: ThreadPool) -> None:
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
