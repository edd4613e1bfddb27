"""Run a coroutine for a limited time, and finish it later in the same task.

A stream waits for its first piece inside the middleware. If the piece is late, the stream waits on
after the middleware has returned. A second task does not work: a timeout or task group that the
coroutine opens belongs to the task that runs it, and all pieces must run in that task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")

Waited = asyncio.Future[object] | None  # as a coroutine yields it to its task; None is `sleep(0)`


class Begun(Generic[T]):
    """A coroutine that runs in the task that awaits `run_for` and later `finish`."""

    __slots__ = ("_coroutine", "_is_started", "_waited_for", "is_done", "result")

    result: T  # set when `is_done`

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._waited_for: Waited = None  # the future that the paused coroutine waits for
        self._is_started = False
        self.is_done = False

    def start(self) -> bool:
        """Make the first step, without time for a wait; return whether the coroutine has returned.

        Call it in the task that awaits `run_for`. Raises its exceptions.
        """
        self._is_started = True
        try:
            self._waited_for = self._coroutine.send(None)
        except StopIteration as stop:
            self.result = stop.value
            self.is_done = True
        except BaseException:
            self.is_done = True
            raise
        return self.is_done

    @coroutine
    def run_for(self, seconds: float) -> Generator[Any, Any, bool]:
        """Run it for at most `seconds`; return whether it has returned. Raises its exceptions.

        A cancellation goes to the coroutine, whose cleanup then has no time limit.
        """
        run = self._coroutine
        if not self._is_started and self.start():  # nearly always returns here
            return True
        try:
            waited_for = self._waited_for
            loop = asyncio.get_running_loop()
            ends_at: float | None = loop.time() + seconds
            while True:
                self._waited_for = waited_for
                if ends_at is not None and ends_at <= loop.time():
                    return False
                step: Any = run.send
                argument: object = None
                try:
                    if waited_for is None:
                        yield None
                    elif not (yield from _wait(waited_for, ends_at, loop)):
                        return False
                except BaseException as error:
                    ends_at = None
                    is_cancelled = isinstance(error, asyncio.CancelledError)
                    if is_cancelled and waited_for is not None and waited_for.cancel():
                        # Like a task: the cancelled future raises in the coroutine.
                        yield from _wait_for_end(waited_for)
                    else:
                        step, argument = run.throw, error
                waited_for = step(argument)
        except StopIteration as stop:
            self.result = stop.value
            self.is_done = True
            return True
        except BaseException:
            self.is_done = True
            raise

    @coroutine
    def finish(self) -> Generator[Any, Any, T]:
        """Wait for the coroutine, and return its result. Raises its exceptions."""
        waited_for, run = self._waited_for, self._coroutine
        if self.is_done:
            return self.result
        try:
            if waited_for is not None and waited_for.done():
                waited_for = run.send(None)
            while True:
                if waited_for is not None:
                    waited_for._asyncio_future_blocking = True  # the task requires this
                try:
                    yield waited_for
                except BaseException as error:
                    waited_for = run.throw(error)
                else:
                    waited_for = run.send(None)
        except StopIteration as stop:
            self.result = stop.value
            return self.result
        finally:
            self.is_done = True

    async def abandon(self) -> None:
        """Cancel it, and wait for its end. Raises its exceptions, except this cancellation."""
        if self.is_done:
            return
        task = asyncio.current_task()
        cancelling = 0 if task is None else task.cancelling()
        try:
            if self._waited_for is None or not self._waited_for.cancel():
                self._waited_for = self._coroutine.throw(asyncio.CancelledError())
            await self.finish()
        except StopIteration:
            self.is_done = True
        except asyncio.CancelledError:
            self.is_done = True
            if task is not None and task.cancelling() > cancelling:
                raise  # the task itself was cancelled


def _wait(
    future: asyncio.Future[object], ends_at: float | None, loop: asyncio.AbstractEventLoop
) -> Generator[Any, Any, bool]:
    """Wait for a future until `ends_at`; return whether it is done."""
    future._asyncio_future_blocking = False  # no task awaits it
    timeout = None if ends_at is None else ends_at - loop.time()
    done, _ = yield from asyncio.wait((future,), timeout=timeout).__await__()
    return bool(done)


def _wait_for_end(future: asyncio.Future[object]) -> Generator[Any, Any, None]:
    """Wait for a cancelled future, and cancel it again with each cancellation of this task."""
    while not future.done():
        try:
            yield from asyncio.wait((future,)).__await__()
        except asyncio.CancelledError:
            future.cancel()
