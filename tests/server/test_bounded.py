"""Awaiting code that continues after its cancellation, for a limited time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from microweb.server.bounded import bounded_when_cancelled

SOON_S = 0.01

Late = list[str]


def bounded(work: Coroutine[Any, Any, str], late: Late) -> Coroutine[Any, Any, str]:
    async def wait() -> str:
        return await bounded_when_cancelled(work, SOON_S, lambda: late.append("late"))

    return wait()


async def cancelled(work: Coroutine[Any, Any, str], late: Late) -> asyncio.Task[str]:
    """Return the task of bounded work, cancelled after its first step."""
    task = asyncio.create_task(bounded(work, late))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return task


async def test_work_that_is_not_cancelled_has_all_the_time() -> None:
    async def work() -> str:
        await asyncio.sleep(5 * SOON_S)
        return "done"

    late: Late = []
    assert await bounded(work(), late) == "done"
    assert late == []


async def test_work_is_in_the_task_of_its_caller() -> None:
    async def work() -> str:
        async with asyncio.timeout(10):
            return str(asyncio.current_task() is task)

    task = asyncio.current_task()
    assert await bounded_when_cancelled(work(), SOON_S, print) == "True"


async def test_error_comes_out() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await bounded(work(), [])


async def test_cancelled_work_that_ends_in_time_is_cancelled() -> None:
    async def work() -> str:
        await asyncio.Event().wait()
        return ""

    late: Late = []
    assert (await cancelled(work(), late)).cancelled()
    assert late == []


async def test_work_that_swallows_its_cancellation_and_ends_has_its_result() -> None:
    async def work() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "done"

    late: Late = []
    assert (await cancelled(work(), late)).result() == "done"
    assert late == []


@pytest.mark.parametrize("swallowed", [asyncio.CancelledError, BaseException])
async def test_work_that_swallows_all_cancellations_is_left(
    swallowed: type[BaseException],
) -> None:
    async def work() -> str:
        while True:
            try:
                await asyncio.Event().wait()
            except swallowed as error:
                seen.append(type(error).__name__)
                if len(seen) == 4:  # it is garbage-collected
                    raise

    seen: list[str] = []
    late: Late = []
    assert (await cancelled(work(), late)).cancelled()
    assert late == ["late"]
    expected = ["CancelledError", "_LeftBehind", "GeneratorExit"]
    assert seen[:3] == (expected if swallowed is BaseException else expected[:1])


async def test_cleanup_of_work_that_is_left_has_its_time() -> None:
    async def work() -> str:
        try:
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    continue
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    cleaned: list[str] = []
    late: Late = []
    assert (await cancelled(work(), late)).cancelled()
    assert (late, cleaned) == (["late"], ["up"])


async def in_timeout() -> None:
    try:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
    except TimeoutError:
        return


async def in_task_group() -> None:
    async def fail() -> None:
        raise ValueError

    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await asyncio.Event().wait()


@pytest.mark.parametrize("step", [in_timeout, in_task_group])
async def test_cancellation_of_its_own_that_was_taken_back_is_none(
    step: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    async def work() -> str:
        await step()
        await asyncio.sleep(5 * SOON_S)
        return "done"

    late: Late = []
    assert await bounded(work(), late) == "done"
    assert late == []
