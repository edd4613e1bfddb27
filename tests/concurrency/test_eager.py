"""Tasks whose first step runs immediately."""

from __future__ import annotations

import asyncio
import gc
from contextvars import ContextVar
from inspect import getcoroutinestate

import pytest

from microweb.concurrency.eager import start_eagerly

LEVEL: ContextVar[int] = ContextVar("LEVEL", default=0)


async def test_the_first_step_runs_immediately() -> None:
    steps: list[str] = []

    async def work() -> str:
        steps.append("begun")
        await asyncio.sleep(0)
        steps.append("ended")
        return "done"

    task = start_eagerly(work(), "work")
    assert steps == ["begun"] and task.get_name() == "work"
    assert await task == "done" and steps == ["begun", "ended"]


async def test_one_that_never_waits_has_ended_at_once() -> None:
    steps: list[int] = []

    async def work() -> int:
        steps.append(1)
        return 7

    task = start_eagerly(work(), "work")
    assert steps == [1]
    assert await task == 7


async def test_all_steps_have_one_task_and_one_context_of_their_own() -> None:
    seen: list[object] = []
    event = asyncio.Event()

    async def work() -> None:
        seen.append(asyncio.current_task())
        LEVEL.set(LEVEL.get() + 1)
        await event.wait()
        seen.append(asyncio.current_task())
        seen.append(LEVEL.get())

    LEVEL.set(1)
    caller = asyncio.current_task()
    task = start_eagerly(work(), "work")
    assert asyncio.current_task() is caller and LEVEL.get() == 1
    event.set()
    await task
    assert seen == [task, task, 2] and LEVEL.get() == 1


@pytest.mark.parametrize("waits", [False, True])
async def test_an_error_is_raised_by_the_task_alone(waits: bool) -> None:
    async def work() -> None:
        if waits:
            await asyncio.sleep(0)
        raise LookupError("lost")

    task = start_eagerly(work(), "work")
    with pytest.raises(LookupError, match="lost"):
        await task


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_a_cancelled_task_ends_what_it_waits_for(turns: int) -> None:
    waited_for: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    caught: list[BaseException] = []

    async def work() -> None:
        try:
            await waited_for
        except asyncio.CancelledError as error:
            caught.append(error)
            await asyncio.sleep(0)  # a cleanup that waits
            raise

    task = start_eagerly(work(), "work")
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(caught) == 1 and waited_for.cancelled() and task.cancelled()


async def test_a_timeout_that_the_first_step_enters_holds() -> None:
    async def work() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return "late"
        return "in time"

    assert await start_eagerly(work(), "work") == "late"


async def test_a_task_group_that_the_first_step_enters_holds() -> None:
    async def add(results: list[int]) -> None:
        await asyncio.sleep(0)
        results.append(1)

    async def work() -> list[int]:
        results: list[int] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(add(results))
            group.create_task(add(results))
        return results

    assert await start_eagerly(work(), "work") == [1, 1]


async def test_the_state_of_the_coroutine_can_be_seen() -> None:
    event = asyncio.Event()

    async def work() -> None:
        await event.wait()

    task = start_eagerly(work(), "work")
    assert getcoroutinestate(task.get_coro()) == "CORO_SUSPENDED"  # type: ignore[arg-type]
    event.set()
    await task


async def test_nothing_is_left_to_the_garbage_collector() -> None:
    class Mark:
        pass

    async def work(mark: Mark, *, fails: bool) -> None:
        if fails:
            raise LookupError("lost")

    gc.collect()
    gc.disable()
    try:
        for fails in (False, True):
            task = start_eagerly(work(Mark(), fails=fails), "work")
            await asyncio.wait((task,))
            if fails:
                assert isinstance(task.exception(), LookupError)
            del task
            await asyncio.sleep(0)
            assert not [found for found in gc.get_objects() if type(found) is Mark]
    finally:
        gc.enable()
