"""Run a coroutine in a context of its own, within the task that awaits it.

One task serves a connection. So a context variable that one exchange sets would be visible in the
next, which behind a proxy can be another person's. A copied context costs 0.5 us per exchange, a
task per exchange 3 to 9 us.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class InContext(Generic[T]):
    """An awaitable that runs each step of `coroutine` inside `context`.

    Exceptions in the awaiting task, such as a cancellation, are raised in the coroutine.
    """

    __slots__ = ("_context", "_coroutine")

    def __init__(self, context: Context, coroutine: Coroutine[Any, Any, T]) -> None:
        self._context = context
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, T]:
        run, coroutine = self._context.run, self._coroutine
        try:
            waited_for = run(coroutine.send, None)
            while True:
                try:
                    value = yield waited_for
                except BaseException as error:
                    waited_for = run(coroutine.throw, error)
                else:
                    waited_for = run(coroutine.send, value)
        except StopIteration as stop:
            result: T = stop.value
            return result
