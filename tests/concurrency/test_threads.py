from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator
from contextvars import ContextVar, copy_context

import pytest
from support.blocking import Blocker
from support.processes import DEADLINE_S, ENVIRONMENT

from microweb.concurrency.threads import (
    Pools,
    ThreadPool,
    from_thread,
    open_pools,
    run_in_thread,
    run_short_work,
)

USER: ContextVar[str] = ContextVar("user")


@pytest.fixture
async def pool() -> AsyncIterator[Pools]:
    pool = open_pools(2)
    yield pool
    pool.close()


# --- the pool -------------------------------------------------------------------------


async def test_function_runs_in_another_thread(pool: Pools) -> None:
    assert await run_in_thread("x", threading.get_ident) != threading.get_ident()


async def test_exception_comes_back(pool: Pools) -> None:
    def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await run_in_thread("x", fail)


async def test_stop_iteration_comes_back_as_runtime_error(pool: Pools) -> None:
    def fail() -> None:
        raise StopIteration

    with pytest.raises(RuntimeError, match="GET / raised StopIteration"):
        await run_in_thread("GET /", fail)


async def test_context_variables_go_along_and_do_not_come_back(pool: Pools) -> None:
    def change() -> str:
        before = USER.get()
        USER.set("thread")
        return before

    USER.set("bob")
    assert await run_in_thread("x", change) == "bob"
    assert USER.get() == "bob"


async def test_pool_is_bounded(pool: Pools) -> None:
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


async def test_thread_that_nobody_waits_for_is_one_less(pool: Pools) -> None:
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
    pool, blocker, log = open_pools(1), Blocker(), []
    first = asyncio.create_task(run_in_thread("x", blocker))
    second = asyncio.create_task(run_in_thread("x", lambda: log.append("ran")))
    await blocker.begun()
    second.cancel()
    await asyncio.wait((second,))
    blocker.let_go()
    assert (await first, await run_in_thread("x", lambda: log), log) == ("done", [], [])
    pool.close()


async def test_closed_pool_takes_nothing_from_its_queue() -> None:
    pool, blocker = open_pools(1), Blocker()
    first = asyncio.create_task(run_in_thread("x", blocker))
    second = asyncio.create_task(run_in_thread("x", pytest.fail))
    await blocker.begun()
    pool.close()
    pool.close()  # a second call does nothing
    with pytest.raises(asyncio.CancelledError):
        await second
    blocker.let_go()
    assert await first == "done"
    await asyncio.to_thread(pool.application._threads[0].join, 10)
    assert not pool.application._threads[0].is_alive()


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
        await asyncio.sleep(0)  # now the event loop does not hold it either
        gc.collect()
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()


async def test_value_is_not_kept_by_an_idle_thread(pool: Pools) -> None:
    class Value:
        pass

    values = [Value()]
    kept = weakref.ref(values[0])
    assert await run_in_thread("x", values.pop) is kept()
    await run_in_thread("x", lambda: None)  # then the first call is done
    gc.collect()
    assert kept() is None


async def test_cancelled_caller_stops_waiting(pool: Pools) -> None:
    blocker = Blocker()
    task = asyncio.create_task(run_in_thread("GET /slow", blocker))
    await blocker.begun()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (stuck,) = pool.stuck()
    assert stuck.startswith("GET /slow\n") and "blocking.py" in stuck
    blocker.let_go()
    await pool.wait_idle(10)
    assert pool.stuck() == []


async def test_waiting_for_idle_ends_in_any_case(pool: Pools) -> None:
    blocker = Blocker()
    task = asyncio.create_task(run_in_thread("x", blocker))
    await blocker.begun()
    await pool.wait_idle(0)
    assert len(pool.stuck()) == 1
    blocker.let_go()
    await task


async def test_closed_pool_of_one_server_does_not_stop_another() -> None:
    first, second = open_pools(1), open_pools(1)
    second.close()
    assert await run_in_thread("x", lambda: "still") == "still"
    first.close()


async def test_loop_without_a_server_has_a_pool_too() -> None:
    assert await run_in_thread("x", lambda: 5) == 5


# --- from_thread ----------------------------------------------------------------------


async def test_from_thread_awaits_on_the_loop(pool: Pools) -> None:
    loop_thread = threading.get_ident()

    async def ask() -> tuple[str, bool]:
        await asyncio.sleep(0)
        return USER.get(), threading.get_ident() == loop_thread

    USER.set("bob")
    assert await run_in_thread("x", lambda: from_thread(ask())) == ("bob", True)


async def test_from_thread_takes_any_awaitable_and_raises_its_exception(pool: Pools) -> None:
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


# --- waiting in from_thread without a place -------------------------------------------


@pytest.fixture
async def one_place() -> AsyncIterator[Pools]:
    pools = open_pools(1)
    yield pools
    pools.close()


class Waiter:
    """A function that waits in `from_thread` until it is released, and records that."""

    def __init__(self) -> None:
        self.waits = asyncio.Event()
        self.may_end = asyncio.Event()
        self.has_gone_on = threading.Event()

    def __call__(self) -> str:
        from_thread(self._wait())
        self.has_gone_on.set()
        return "done"

    async def _wait(self) -> None:
        self.waits.set()
        await self.may_end.wait()


async def test_function_that_waits_gives_its_place_to_others(one_place: Pools) -> None:
    waiter = Waiter()
    task = asyncio.create_task(run_in_thread("x", waiter))
    await waiter.waits.wait()
    assert await run_in_thread("x", lambda: "other") == "other"
    waiter.may_end.set()
    assert await task == "done"


async def test_function_that_has_waited_goes_on_when_a_place_is_free(one_place: Pools) -> None:
    waiter, blocker = Waiter(), Blocker()
    task = asyncio.create_task(run_in_thread("x", waiter))
    await waiter.waits.wait()
    other = asyncio.create_task(run_in_thread("x", blocker))
    await blocker.begun()
    waiter.may_end.set()
    while not one_place.application._queue.qsize():  # the wait is over
        await asyncio.sleep(0)
    assert not waiter.has_gone_on.is_set()
    blocker.let_go()
    assert await asyncio.gather(task, other) == ["done", "done"]


async def test_as_many_wait_without_a_place_as_there_are_places(one_place: Pools) -> None:
    waiters = [Waiter(), Waiter()]
    tasks = [asyncio.create_task(run_in_thread("x", each)) for each in waiters]
    await waiters[0].waits.wait()
    await waiters[1].waits.wait()  # this waiter keeps its place
    third = asyncio.create_task(run_in_thread("x", lambda: waiters[1].has_gone_on.is_set()))
    waiters[1].may_end.set()
    assert await third
    waiters[0].may_end.set()
    assert await asyncio.gather(*tasks) == ["done", "done"]
    assert len(one_place.application._threads) == 2


async def test_awaitable_of_a_function_that_waits_may_fail(one_place: Pools) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        raise ValueError("mine")

    for _ in range(3):  # no place is lost
        with pytest.raises(ValueError, match="mine"):
            await run_in_thread("x", lambda: from_thread(fail()))
    assert await run_in_thread("x", lambda: 5) == 5


async def test_never_more_run_than_there_are_places() -> None:
    pools, running, most = open_pools(2), [0], [0]
    lock = threading.Lock()

    def change(by: int) -> None:
        with lock:
            running[0] += by
            most[0] = max(most[0], running[0])

    async def wait(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    def work(number: int) -> int:
        for turns in range(number % 5):
            change(+1)
            change(-1)
            from_thread(wait(turns))
        return number

    jobs = [run_in_thread("x", lambda number=number: work(number)) for number in range(200)]
    assert await asyncio.gather(*jobs) == list(range(200))
    assert most[0] <= 2
    assert len(pools.application._threads) <= 4
    pools.close()


async def test_thread_that_a_function_started_gives_no_place_back(one_place: Pools) -> None:
    waiter = Waiter()

    def start() -> None:
        thread = threading.Thread(target=copy_context().run, args=(waiter,))
        thread.start()
        thread.join()

    task = asyncio.create_task(run_in_thread("x", start))
    await waiter.waits.wait()
    other = asyncio.create_task(run_in_thread("x", waiter.has_gone_on.is_set))
    waiter.may_end.set()
    await task
    assert await other


async def test_reserved_waits_are_given_in_order_and_end_with_the_call(one_place: Pools) -> None:
    pool, log = one_place.application, []

    async def call(name: str) -> None:
        await pool.reserve()
        await pool.run("x", lambda: log.append(name), has_reserved=True)

    assert pool.try_reserve()
    assert not pool.try_reserve()
    calls = [asyncio.create_task(call(name)) for name in "abc"]
    await asyncio.sleep(0)
    calls[1].cancel()
    await asyncio.wait(calls[1:2])
    pool.end_wait()
    await asyncio.gather(calls[0], calls[2])
    assert log == ["a", "c"]
    assert pool.try_reserve()


async def test_reservation_of_who_is_cancelled_as_it_is_given_is_not_lost(one_place: Pools) -> None:
    pool = one_place.application
    assert pool.try_reserve()
    task = asyncio.create_task(pool.reserve())
    await asyncio.sleep(0)
    pool.end_wait()
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled() and pool.try_reserve()


async def test_closed_pool_lets_who_has_waited_go_on(one_place: Pools) -> None:
    waiter, blocker = Waiter(), Blocker()
    task = asyncio.create_task(run_in_thread("x", waiter))
    await waiter.waits.wait()
    other = asyncio.create_task(run_in_thread("x", blocker))
    await blocker.begun()
    waiter.may_end.set()
    while not one_place.application._queue.qsize():
        await asyncio.sleep(0)
    one_place.close()
    assert await task == "done"
    blocker.let_go()
    assert await other == "done"


async def test_short_work_has_places_of_its_own(one_place: Pools) -> None:
    blocker = Blocker()
    task = asyncio.create_task(run_in_thread("x", blocker))
    await blocker.begun()
    assert await run_short_work("x", lambda: 5) == 5
    blocker.let_go()
    await task


# --- threads that the system refuses --------------------------------------------------


REFUSED = """
import asyncio, resource, sys, threading, time
from pathlib import Path
from microweb.concurrency.threads import open_pools, run_in_thread

STACK = 256 << 20
threading.stack_size(STACK)

def limit(threads):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + threads * STACK + STACK // 2
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))

async def main():
    pool = open_pools(2).application
    limit(0)
    for _ in range(5):
        assert pool.try_reserve() or _ > 1
        try:
            await pool.run("work", time.time, has_reserved=True)
        except RuntimeError as error:
            print(error)
    assert (pool._places, pool._unfinished, pool._waits) == (0, 0, 0)
    limit(1)
    waits = threading.Event()
    first = asyncio.ensure_future(run_in_thread("first", waits.wait))
    others = [asyncio.ensure_future(run_in_thread("other", time.time)) for _ in range(3)]
    await asyncio.sleep(0)
    assert pool._places == 1  # all others wait for the thread that there is
    waits.set()
    await asyncio.gather(first, *others)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
    barrier = threading.Barrier(2)
    await asyncio.gather(*(run_in_thread("both", barrier.wait) for _ in range(2)))
    print("two threads")

asyncio.run(asyncio.wait_for(main(), 15))
"""


REFUSED_FOR_A_TIME = """
import asyncio, resource, threading
from pathlib import Path
from microweb.concurrency.threads import from_thread, open_pools, run_in_thread

STACK = 256 << 20
threading.stack_size(STACK)

async def main():
    pool = open_pools(2).application
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + STACK + STACK // 2
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
    inner = lambda: from_thread(run_in_thread("inner", lambda: "inner"))
    outer = asyncio.ensure_future(run_in_thread("outer", inner))
    while not pool._retries:
        await asyncio.sleep(0)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(await outer)
    while pool._retries:  # it does not ask for ever
        await asyncio.sleep(0.01)
    pool.close()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_job_of_a_refused_thread_runs_although_the_only_thread_waits_for_it() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", REFUSED_FOR_A_TIME], capture_output=True, text=True, env=ENVIRONMENT,
        timeout=DEADLINE_S,
    )  # fmt: skip
    assert ended.stdout == "inner\n", ended.stderr
    assert ended.stderr == "1 threads run, and no further one: can't start new thread\n"


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_thread_that_the_system_refuses_costs_no_place() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", REFUSED], capture_output=True, text=True, env=ENVIRONMENT,
        timeout=DEADLINE_S,
    )  # fmt: skip
    refused = ["work needs a thread, and the system refuses the first one"] * 5
    assert ended.stdout.splitlines() == [*refused, "two threads"], ended.stderr
    assert ended.stderr == "0 threads run, and no further one: can't start new thread\n"
