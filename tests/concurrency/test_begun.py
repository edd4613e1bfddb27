"""A coroutine that runs for a limited time and is finished later, in one task."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from microweb.concurrency.begun import Begun

LONG_S = 60.0


async def value_at_once() -> str:
    return "a"


async def test_what_never_waits_is_done_at_once() -> None:
    begun = Begun(value_at_once())
    assert await begun.run_for(0) is True
    assert [await begun.finish(), await begun.finish()] == ["a", "a"]


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_one_that_is_started_runs_on_by_run_for(turns: int) -> None:
    steps = list[int]()

    async def work() -> str:
        for turn in range(turns):
            steps.append(turn)
            await asyncio.sleep(0)
        return "a"

    begun = Begun(work())
    assert begun.start() is begun.is_done is (turns == 0)
    assert steps == [0][:turns]
    if turns:
        assert await begun.run_for(LONG_S)
    assert (await begun.finish(), steps) == ("a", [*range(turns)])


async def test_error_of_the_first_step_is_raised_by_start() -> None:
    async def fail() -> None:
        raise RuntimeError("boom")

    begun = Begun(fail())
    with pytest.raises(RuntimeError, match="boom"):
        begun.start()
    assert begun.is_done


async def test_what_it_raises_is_raised_where_it_runs() -> None:
    async def fail(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise RuntimeError("boom")

    for turns in range(3):
        begun = Begun(fail(turns))
        with pytest.raises(RuntimeError, match="boom"):
            await begun.run_for(LONG_S)
        assert begun.is_done


@pytest.mark.parametrize("waits_s", [0.0, 0.001])
async def test_one_that_is_late_goes_on_where_it_is_finished(waits_s: float) -> None:
    event, told = asyncio.Event(), list[str]()

    async def work() -> str:
        told.append("begun")
        await event.wait()
        await asyncio.sleep(0)
        return "a"

    begun = Begun(work())
    assert await begun.run_for(waits_s) is False
    assert (told, begun.is_done) == (["begun"], False)
    asyncio.get_running_loop().call_soon(event.set)
    assert await begun.finish() == "a"


async def test_future_that_is_done_meanwhile_is_no_wait() -> None:
    event = asyncio.Event()
    begun = Begun(event.wait())
    assert not await begun.run_for(0)
    event.set()
    await asyncio.sleep(0)
    assert await begun.finish() is True


async def test_time_that_is_spent_in_turns_counts() -> None:
    async def turn() -> None:
        while True:
            await asyncio.sleep(0)

    begun = Begun(turn())
    assert await begun.run_for(0.001) is False
    await begun.abandon()


async def test_it_belongs_to_the_task_and_the_context_all_the_time() -> None:
    name = ContextVar[str]("name")
    event = asyncio.Event()
    seen: list[object] = []

    async def work() -> None:
        seen.append(asyncio.current_task())
        name.set("set inside")
        await event.wait()
        seen.append(asyncio.current_task())

    begun = Begun(work())
    await begun.run_for(0)
    assert name.get() == "set inside"
    asyncio.get_running_loop().call_soon(event.set)
    await begun.finish()
    assert seen == [asyncio.current_task()] * 2


async def test_time_limit_of_its_own_holds_across_both() -> None:
    async def work() -> None:
        async with asyncio.timeout(0.02):
            await asyncio.Event().wait()

    begun = Begun(work())
    assert not await begun.run_for(0.001)
    with pytest.raises(TimeoutError):
        await begun.finish()


@pytest.mark.parametrize("where", ["run_for", "finish"])
@pytest.mark.parametrize("waits_for", ["future", "task", "turn"])
async def test_cancellation_reaches_it_once_and_its_cleanup_runs_to_its_end(
    where: str, waits_for: str
) -> None:
    told: list[str] = []
    is_waiting = asyncio.Event()

    async def inner() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            told.append("inner is clean")

    async def work() -> None:
        try:
            is_waiting.set()
            if waits_for == "future":
                await asyncio.Event().wait()
            elif waits_for == "task":
                await asyncio.create_task(inner())
            while True:
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            told.append("cancelled")
            raise
        finally:
            await asyncio.sleep(0.002)
            told.append("clean")

    async def run() -> None:
        begun = Begun(work())
        if where == "run_for":
            await begun.run_for(LONG_S)
        else:
            await begun.run_for(0)
            await begun.finish()

    task = asyncio.create_task(run())
    await is_waiting.wait()
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    inner_first = ["inner is clean"] if waits_for == "task" else []
    assert told == [*inner_first, "cancelled", "clean"]


async def test_cancellation_that_it_takes_is_no_end() -> None:
    async def work() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "a"

    async def run() -> object:
        begun = Begun(work())
        await begun.run_for(LONG_S)
        return await begun.finish()

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "a"


@pytest.mark.parametrize("waits_for", ["future", "turn", "nothing"])
async def test_one_that_is_abandoned_is_cancelled_and_cleans_up(waits_for: str) -> None:
    told: list[str] = []

    async def work() -> None:
        try:
            while waits_for != "nothing":
                await (asyncio.Event().wait() if waits_for == "future" else asyncio.sleep(0))
        finally:
            await asyncio.sleep(0)
            told.append("clean")

    begun = Begun(work())
    await begun.run_for(0 if waits_for != "nothing" else LONG_S)
    await begun.abandon()
    await begun.abandon()
    assert (told, begun.is_done) == (["clean"], True)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_abandoning_raises_what_the_cleanup_raises() -> None:
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("boom")

    begun = Begun(work())
    await begun.run_for(0)
    with pytest.raises(RuntimeError, match="boom"):
        await begun.abandon()


async def test_one_that_is_closed_is_closed_inside() -> None:
    told: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            told.append("closed")

    async def run() -> None:
        await Begun(work()).run_for(LONG_S)

    running = run()
    running.send(None)
    running.close()
    assert told == ["closed"]
