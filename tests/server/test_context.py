from __future__ import annotations

import asyncio
from contextvars import ContextVar, copy_context

import pytest

from microweb.server.context import InContext

USER: ContextVar[str] = ContextVar("user", default="nobody")


async def test_result_comes_back() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 5

    assert await InContext(copy_context(), work()) == 5


async def test_coroutine_that_never_waits() -> None:
    async def work() -> None:
        return None

    assert await InContext(copy_context(), work()) is None


async def test_exception_comes_back() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await InContext(copy_context(), work())


async def test_every_step_runs_in_the_context() -> None:
    seen = []

    async def work() -> None:
        USER.set("bob")
        await asyncio.sleep(0)
        seen.append(USER.get())
        await asyncio.get_running_loop().run_in_executor(None, int)
        seen.append(USER.get())

    context = copy_context()
    await InContext(context, work())
    assert (seen, USER.get(), context[USER]) == (["bob", "bob"], "nobody", "bob")


async def test_cancellation_reaches_the_coroutine() -> None:
    log = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            USER.set("cancelled")
            log.append(USER.get())
            raise

    async def drive() -> None:
        await InContext(copy_context(), work())

    task = asyncio.create_task(drive())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["cancelled"]


async def test_cancellation_that_the_coroutine_takes_back() -> None:
    async def work() -> str:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "finished"

    async def drive() -> str:
        return await InContext(copy_context(), work())

    task = asyncio.create_task(drive())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "finished"


async def test_timeout_inside_the_coroutine() -> None:
    async def work() -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            return "timed out"
        return "never"

    assert await InContext(copy_context(), work()) == "timed out"
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0
