"""A coroutine that other code may end while a task awaits it.

A cancellation would end the whole task, and only at its next step. An interrupted read releases
its stream immediately, so the connection can read in the same iteration of the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Interruptible(Generic[T]):
    """An awaitable that runs `coroutine`, which waits for futures, until `interrupt()`."""

    __slots__ = ("_awaited", "_coroutine", "_error")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._awaited: asyncio.Future[object] | None = None
        self._error: Exception | None = None

    def interrupt(self, error: Exception) -> None:
        """Close the coroutine now, and raise `error` in the task that awaits this."""
        self._error = error
        self._coroutine.close()
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(None)  # wakes the task

    def __await__(self) -> Generator[Any, Any, T]:
        coroutine = self._coroutine
        try:
            self._awaited = coroutine.send(None)
            while True:
                try:
                    yield self._awaited
                except BaseException as error:
                    if self._error is not None:
                        raise
                    self._awaited = coroutine.throw(error)
                else:
                    if self._error is not None:
                        raise self._error
                    self._awaited = coroutine.send(None)
        except StopIteration as stop:
            result: T = stop.value
            return result


def wake(future: asyncio.Future[None]) -> None:
    """Wake the task that awaits `future`."""
    if not future.done():
        future.set_result(None)
