"""Start a task whose first step runs immediately, before the function that starts it returns.

Most coroutines that answer a request never wait. An eager task ends such a one within the step of
its caller, without another iteration of the event loop. Python has eager tasks since 3.12. For
3.11, this module makes the first step itself, by the functions that asyncio documents for other
implementations of tasks. https://docs.python.org/3/library/asyncio-extending.html
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import current_task, get_running_loop
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")


def start_eagerly(coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Return a task of the running event loop that has made its first step, in its own context.

    Call it in a task.
    """
    loop = get_running_loop()
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=loop, name=name, eager_start=True)
    context = copy_context()
    resumed: _Resumed[T] = _Resumed()
    resumed.coroutine = coroutine
    task: asyncio.Task[T] = asyncio.Task(resumed, loop=loop, name=name, context=context)
    current = current_task(loop)
    _leave_task(loop, current)  # type: ignore[arg-type]
    _enter_task(loop, task)
    try:
        resumed.first = context.run(coroutine.send, None)
    except StopIteration as stop:
        resumed.has_ended, resumed.result = True, stop.value
    except BaseException as error:
        resumed.error = _from_inside(error)
    finally:
        _leave_task(loop, task)
        _enter_task(loop, current)  # type: ignore[arg-type]
    return task


def _from_inside(error: BaseException) -> BaseException:
    """Drop the frame that caught `error`: it refers to the task, and the task to `error`."""
    caught = error.__traceback__
    return error.with_traceback(None if caught is None else caught.tb_next)


class _Resumed(Coroutine[Any, Any, T]):
    """A coroutine that has made its first step, for a task that begins with the next one."""

    coroutine: Coroutine[Any, Any, T]
    first: asyncio.Future[object] | None = None  # what the first step waits for
    has_ended = False  # in the first step, with `result`
    result: T | None = None
    error: BaseException | None = None  # of the first step
    _is_first = True  # the task has not made a step

    def send(self, value: Any) -> Any:
        if not self._is_first:
            return self.coroutine.send(value)
        self._is_first = False
        if self.has_ended:
            raise StopIteration(self.result)
        if self.error is None:
            return self.first
        error, self.error = self.error, None
        try:
            raise error
        finally:
            del error  # and with it a cycle of references

    def throw(self, *error: Any) -> Any:
        if self._is_first:  # the task was cancelled before its first step
            self._is_first = False
            if self.first is not None:
                self.first.cancel()
        return self.coroutine.throw(*error)

    def close(self) -> None:
        self.coroutine.close()

    def __await__(self) -> Any:
        raise TypeError("this coroutine belongs to a task")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.coroutine, name)  # `cr_frame` and its like
