"""Tasks that catch their cancellation, after the server has stopped."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.processes import connect
from support.started import Start, apps_in

from microweb.server.leftovers import TasksStuck, end_tasks


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with apps_in(tmp_path) as start:
        yield start


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


async def step() -> None:
    await asyncio.sleep(0)


def test_tasks_are_cancelled(loop: asyncio.AbstractEventLoop) -> None:
    end_tasks(loop)  # there is none
    waiting = loop.create_task(asyncio.sleep(600))
    loop.run_until_complete(step())
    end_tasks(loop)
    assert waiting.cancelled()


def test_a_task_may_clean_up(loop: asyncio.AbstractEventLoop) -> None:
    async def work() -> str:
        try:
            await asyncio.sleep(600)
        finally:
            await step()
        return ""

    async def cleaning() -> str:
        try:
            return await work()
        except asyncio.CancelledError:
            return "clean"

    task = loop.create_task(cleaning())
    loop.run_until_complete(step())
    end_tasks(loop)
    assert task.result() == "clean"


def test_an_exit_in_a_task_does_not_spare_others(loop: asyncio.AbstractEventLoop) -> None:
    async def leave() -> None:
        try:
            await asyncio.sleep(600)
        finally:
            raise SystemExit(3)

    tasks = [loop.create_task(leave()) for _ in range(2)]
    loop.run_until_complete(step())
    end_tasks(loop)
    assert all(type(task.exception()) is SystemExit for task in tasks)


def test_a_task_that_catches_its_cancellation_is_named(loop: asyncio.AbstractEventLoop) -> None:
    may_end = asyncio.Event()

    async def stay() -> None:
        while not may_end.is_set():
            with suppress(asyncio.CancelledError):
                await may_end.wait()

    task = loop.create_task(stay(), name="the task that stays")
    loop.run_until_complete(step())
    with pytest.raises(TasksStuck, match="a task is still running") as caught:
        end_tasks(loop, 0.05)
    (place,) = caught.value.places
    assert place.startswith("the task that stays\n") and "in stay" in place
    may_end.set()
    loop.run_until_complete(task)


STAYING = """
async def stay() -> None:
    print("staying")
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass

@app.get("/endpoint")
async def wait_here() -> None:
    await stay()

@app.get("/task")
async def leave_one() -> str:
    app.spawn(stay())
    return ""

async def old(scope, receive, send):
    if scope["type"] == "http":
        await stay()

app.mount("/asgi", old)
"""


@pytest.mark.parametrize("path", ["/endpoint", "/task", "/asgi"])
def test_a_stop_does_not_wait_for_it(path: str, start: Start) -> None:
    program = start(STAYING, "app.run(port=0, grace_s=0)")
    connection = connect(program.urls()[0])
    connection.request("GET", path)
    program.out.wait_for("staying")
    program.stop(signal.SIGTERM, status=1)
    connection.close()
    told = program.err.rest()
    assert "a task is still running, exiting without it: " in told and "in stay" in told
