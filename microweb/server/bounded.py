"""Await code of the application, for a limited time once it is cancelled.

A task cannot abandon a coroutine that it awaits. A second task does not help, because a lifespan
must leave a cancel scope in the task that entered it. So the coroutine runs here, step by step, in
the task of its caller. After a cancellation it has a time limit. Then `_LeftBehind` is raised in
it. Code that suppresses CancelledError does not catch this, and `finally` blocks get the same
time limit once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from types import coroutine as from_generator
from typing import Any, TypeVar

from ..logs import Log

T = TypeVar("T")

_log = Log("microweb.server")


class _LeftBehind(BaseException):
    """Raised in code that continues after its cancellation.

    GeneratorExit would not work: it closes an awaited `anext()` and does not reach the generator.
    """


async def bounded_lifespan(lifespan: Coroutine[Any, Any, object], within_s: float) -> None:
    """Enter or leave a lifespan, for a limited time once it is cancelled."""
    text = "the lifespan did not end within %g s of its cancellation: it is abandoned"
    await bounded_when_cancelled(lifespan, within_s, lambda: _log.error(text, within_s))


@from_generator
def bounded_when_cancelled(
    coroutine: Coroutine[Any, Any, T], within_s: float, on_late: Callable[[], None]
) -> Generator[Any, Any, T]:
    """Return the result of `coroutine`, which once cancelled must end within `within_s` seconds.

    If it does not, call `on_late()` and raise _LeftBehind in it. If it runs on for another
    `within_s` seconds, close it. Raises: CancelledError, in the caller, for a late coroutine.
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
    """A timer that cancels the current task again, if the task is still cancelled.

    It does nothing after a cancellation that `asyncio.timeout` or a TaskGroup in the coroutine
    has requested and then taken back.
    """

    def __init__(self, within_s: float) -> None:
        self.count = 0
        self._within_s = within_s
        self._before = _current_task().cancelling()
        self._timer: asyncio.TimerHandle | None = None
        self._is_due = False

    def set(self) -> None:
        """Start the timer, unless it runs."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._within_s, self._come, _current_task())

    def _come(self, task: asyncio.Task[Any]) -> None:
        self._timer = None
        if task.cancelling() > self._before:
            self._is_due = True
            task.cancel()

    def has_come(self) -> bool:
        """Return whether the timer has cancelled the task, and reset the timer."""
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
    assert task is not None  # a task awaits this code
    return task


def _close(coroutine: Coroutine[Any, Any, object]) -> None:
    try:
        coroutine.close()
    except RuntimeError:  # it ignores GeneratorExit too: nothing more can be done
        return
