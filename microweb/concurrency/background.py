"""Background tasks, which the server owns from their start until it stops.

`app.spawn` starts a task immediately, `request.after_response` starts one after the answer. The
caller need not store or await the task. The server keeps it and logs its exceptions. When the
server stops, it waits for its tasks and cancels those that do not end. Clients can cause tasks by
requests, so the number of tasks is limited.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterable
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from ..errors import ServiceUnavailable, is_disconnect, sole_error
from ..logs import Log
from ..remedies import add_remedy
from .callables import describe, is_async
from .threads import is_running_here, run_in_thread
from .throttle import Throttle

T = TypeVar("T")

Task = asyncio.Task[T]  # the type, for modules that do not import asyncio


class TaskExit(RuntimeError):
    """Replaces a SystemExit or KeyboardInterrupt of a task, which would end the event loop.

    The original exception is its `__cause__`.
    """


_log = Log("microweb.error")


class Background:
    """The tasks of one server, from `open()` to `close()`, on the event loop that runs at `open()`.

    If `max_tasks` are running, starting another one raises ServiceUnavailable.
    """

    def __init__(self, max_tasks: int) -> None:
        self._max_tasks = max_tasks
        self._refusals = Throttle()
        self._outages = Throttle()  # a broken service can make many tasks fail
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.on_exit: Callable[[BaseException], None] | None = None  # lets a test client end a test
        self.is_open = False
        self.has_ended = False

    @property
    def count(self) -> int:
        """How many tasks are running."""
        return len(self._tasks)

    @property
    def is_here(self) -> bool:
        """Whether its event loop runs in this thread."""
        return self._loop is not None and is_running_here(self._loop)

    def open(self) -> None:
        """Accept tasks from now on."""
        self._loop = asyncio.get_running_loop()
        self.is_open = True

    async def close(self, grace_s: float, cancel_s: float) -> None:
        """Wait `grace_s` for the tasks and for tasks that they spawn; then cancel the rest.

        Cancelled tasks are logged and have `cancel_s` to end. After that, no task is accepted.
        """
        try:
            async with asyncio.timeout(grace_s):
                while tasks := self._others():
                    await asyncio.wait(tasks)
        except TimeoutError:
            for task in self._others():
                _log.warning("background task %r did not end in time", task.get_name())
        finally:
            self.is_open, self.has_ended = False, True
            for task in self._others():
                task.cancel()
        if tasks := self._others():
            await asyncio.wait(tasks, timeout=cancel_s)

    def spawn(self, coroutine: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Start a task in a copy of the current context, from any thread.

        Raises: RuntimeError if no server runs, ServiceUnavailable.
        """
        try:
            self._check_room()
        except ServiceUnavailable:
            coroutine.close()
            raise
        if not self.is_open or self._loop is None or is_running_here(self._loop):
            return self._start(coroutine, name)

        async def start() -> asyncio.Task[T]:  # runs in a copy of this thread's context
            return self._start(coroutine, name)

        return asyncio.run_coroutine_threadsafe(start(), self._loop).result()

    def after(self, function: Callable[[], object]) -> Callable[[], None]:
        """Return a callback that starts a task of `function()` in a copy of the current context.

        Call it on the event loop. If the server has stopped, it only logs an error. Raises:
        ServiceUnavailable, in `after` itself, because later the request is already answered.
        """
        self._check_room()
        return partial(copy_context().run, self._start_call, function)

    def call(self, function: Callable[..., None], *args: object) -> None:
        """Call `function` on the event loop: immediately, or soon if this is another thread."""
        if self._loop is None or is_running_here(self._loop):
            function(*args)
        else:
            self._loop.call_soon_threadsafe(function, *args)

    def _check_room(self) -> None:
        if len(self._tasks) < self._max_tasks:
            return
        if self._refusals.permits():
            _log.error(
                "max_background_tasks=%d are running: requests that start more get a 503",
                self._max_tasks,
            )
        raise ServiceUnavailable("too many background tasks are running")

    def _others(self) -> set[asyncio.Task[Any]]:
        """Return the tasks without the current one, which may be stopping the server."""
        return self._tasks - {asyncio.current_task()}

    def _start(self, coroutine: Coroutine[Any, Any, T], name: str | None) -> asyncio.Task[T]:
        if self._loop is None or not self.is_open:
            raise _nowhere_to_run(coroutine)
        task = create_task(coroutine, name or _name_of(coroutine))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _start_call(self, function: Callable[[], object]) -> None:
        name = describe(function)
        if self.is_open:
            self._start(_call(name, function), name)
        else:
            _log.error("background task %r was not started: the server has stopped", name)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not is_disconnect(error):
            if self.on_exit is not None and (exit := exit_of(error)) is not None:
                self.on_exit(exit)
            self._tell(task.get_name(), error)

    def _tell(self, name: str, error: BaseException) -> None:
        """Log the failure of a task: ServiceUnavailable once a minute, others with a traceback."""
        outage = sole_error(error)
        if not isinstance(outage, ServiceUnavailable):
            add_remedy(error)
            _log.error("background task %r failed", name, exc_info=error)
        elif self._outages.permits():
            cause = "" if outage.__cause__ is None else f" ({outage.__cause__!r:.200})"
            _log.error(
                "background task %r failed: %s: %s%s; more of these are not logged for a minute",
                name,
                type(outage).__name__,
                outage,
                cause,
            )


def create_task(coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Return a task on the running event loop. SystemExit in it does not end the event loop."""
    task = asyncio.get_running_loop().create_task(_contained(coroutine), name=name)
    # If the task is cancelled before its first step, the coroutine has not begun: close it.
    task.add_done_callback(lambda _: coroutine.close())
    return task


async def _contained(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        raise TaskExit(f"a task raised {error!r}") from error


def exit_of(error: BaseException) -> BaseException | None:
    """Return the exception of a task if it is not an Exception, such as SystemExit; else None."""
    if isinstance(error, TaskExit):
        return error.__cause__
    return None if isinstance(error, Exception) else error


def spawn_in(
    backgrounds: Iterable[Background], coroutine: Coroutine[Any, Any, T], name: str | None
) -> Task[T]:
    """Run `coroutine` in the newest open background, if possible on the loop of the caller.

    Raises: TypeError if it is not a coroutine; RuntimeError if none is open; ServiceUnavailable.
    """
    if not isinstance(coroutine, Coroutine):
        raise TypeError(f"expected a coroutine as in spawn(work()), got {coroutine!r:.80}")
    running = [background for background in backgrounds if background.is_open]
    if not running:
        raise _nowhere_to_run(coroutine)
    here = [background for background in running if background.is_here]
    return (here or running)[-1].spawn(coroutine, name)


def _nowhere_to_run(coroutine: Coroutine[Any, Any, object]) -> RuntimeError:
    """Close the coroutine, and return the error for `app.spawn` without a running server."""
    coroutine.close()
    return RuntimeError(
        f"app.spawn({_name_of(coroutine)}()): no server of this app is running; spawn in "
        "endpoints, middleware and lifespans, or in functions that they call"
    )


def _name_of(coroutine: Coroutine[Any, Any, object]) -> str:
    return str(getattr(coroutine, "__qualname__", type(coroutine).__qualname__))


async def _call(label: str, function: Callable[[], object]) -> None:
    """Call an async function on the event loop, any other function in a thread."""
    if is_async(function):
        await function()  # type: ignore[misc]
        return
    result = await run_in_thread(label, function)
    if inspect.isawaitable(result):  # a lambda that calls an async function
        await result
