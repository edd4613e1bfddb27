"""Awaiting code of the application that may go on behind its cancellation, for a bounded time.

A task can't abandon the coroutine that it awaits, and a second task would not do: a cancel scope
of a lifespan is left by the task that entered it. So the coroutine is driven here, step by step, in
the task of its caller. Behind its cancellation it has its time. Then `_LeftBehind` is raised in it,
which code that swallows a cancellation lets pass, and its `finally` blocks have the time again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from types import coroutine as from_generator
from typing import Any, TypeVar

T = TypeVar("T")


class _LeftBehind(BaseException):
    """It is raised in code that goes on behind its cancellation.

    GeneratorExit would not do: it closes an awaited `anext()`, and does not reach its generator.
    """


@from_generator
def bounded_when_cancelled(
    coroutine: Coroutine[Any, Any, T], within_s: float, on_late: Callable[[], None]
) -> Generator[Any, Any, T]:
    """Return the result of `coroutine`; once it is cancelled it has `within_s` to end.

    If it goes on, `on_late()` is called, and _LeftBehind is raised in it. It has `within_s` again
    then, and is closed where it stands. Raises: CancelledError for it, in its caller.
    """
    deadline = _Deadline(within_s)
    try:
        waited = coroutine.send(None)
        while True:
            try:
                value = yield waited
            except asyncio.CancelledError as error:
                cause: BaseException = error
                if deadline.has_come():
                    if deadline.count == 1:
                        on_late()
                        cause = _LeftBehind()
                    else:
                        _close(coroutine)
                        raise
                deadline.set()
                waited = coroutine.throw(cause)
            except BaseException as error:
                waited = coroutine.throw(error)
            else:
                waited = coroutine.send(value)
    except StopIteration as end:
        result: T = end.value
        return result
    except _LeftBehind:
        raise asyncio.CancelledError from None
    finally:
        deadline.cancel()


class _Deadline:
    """Cancels the current task when its time has come, if it still counts as cancelled.

    A cancellation that `asyncio.timeout` or a TaskGroup of the coroutine has asked for, and taken
    back, is none.
    """

    def __init__(self, within_s: float) -> None:
        self.count = 0
        self._within_s = within_s
        self._before = _current_task().cancelling()
        self._timer: asyncio.TimerHandle | None = None
        self._is_due = False

    def set(self) -> None:
        """Begin the time, unless it has begun."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._within_s, self._come, _current_task())

    def _come(self, task: asyncio.Task[Any]) -> None:
        self._timer = None
        if task.cancelling() > self._before:
            self._is_due = True
            task.cancel()

    def has_come(self) -> bool:
        """Whether the time was over; then it is as before, and can begin again."""
        if not self._is_due:
            return False
        _current_task().uncancel()
        self.count += 1
        self._is_due = False
        return True

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None  # it is awaited
    return task


def _close(coroutine: Coroutine[Any, Any, object]) -> None:
    try:
        coroutine.close()
    except RuntimeError:  # it goes on behind that as well: nothing more can be done
        return
