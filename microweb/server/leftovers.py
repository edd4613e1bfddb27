"""Tasks that run on after the server has stopped and cancelled them.

A coroutine may catch CancelledError and continue. asyncio would wait for it without a limit, and
the process would not end.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

END_S = 1.0
_MAX_FRAMES = 100


class TasksStuck(Exception):
    """The server has stopped, but a task of the application runs on after its cancellation.

    `places` has the name and the stack of each task.
    """

    def __init__(self, places: Sequence[str]) -> None:
        super().__init__(places)
        self.places = places

    def __str__(self) -> str:
        return "a task is still running"


def close(runner: asyncio.Runner) -> None:
    """Close a runner. Raises: TasksStuck, without closing it, because that would wait."""
    end_tasks(runner.get_loop())
    runner.close()


def end_tasks(loop: asyncio.AbstractEventLoop, within_s: float = END_S) -> None:
    """Cancel all tasks of a loop that does not run, and let them end within `within_s` seconds.

    Raises: TasksStuck if a task is left.
    """
    for task in asyncio.all_tasks(loop):
        task.cancel()
    deadline = loop.time() + within_s
    while (tasks := asyncio.all_tasks(loop)) and loop.time() < deadline:
        with suppress(SystemExit, KeyboardInterrupt):  # of a task: the process ends anyway
            loop.run_until_complete(_wait(tasks, deadline - loop.time()))
    if tasks:
        raise TasksStuck([_describe(task) for task in tasks])


async def _wait(tasks: set[asyncio.Task[object]], seconds: float) -> None:
    await asyncio.wait(tasks, timeout=seconds)


def _describe(task: asyncio.Task[object]) -> str:
    return f"{task.get_name()}\n{''.join(traceback.format_list(stack_of(task)))}"


def stack_of(task: asyncio.Task[object]) -> traceback.StackSummary:
    """Return the frames of a task that waits, from its coroutine to the innermost one."""
    # `Task.get_stack` returns only the outermost frame.
    frames: list[tuple[FrameType, int]] = []
    awaited: object = task.get_coro()
    while (frame := _frame_of(awaited)) is not None and len(frames) < _MAX_FRAMES:
        frames.append((frame, frame.f_lineno))
        awaited = _first(awaited, "cr_await", "gi_yieldfrom", "ag_await")
    return traceback.StackSummary.extract(iter(frames))


def _frame_of(awaited: object) -> FrameType | None:
    frame = _first(awaited, "cr_frame", "gi_frame", "ag_frame")
    return frame if isinstance(frame, FrameType) else None


def _first(owner: object, *names: str) -> Any:
    return next((getattr(owner, name) for name in names if hasattr(owner, name)), None)
