"""Background work: tasks beside the requests, owned by the server from their start to its end.

`app.spawn` starts one at once, `request.after_response` one behind the answer. Whoever starts it
need not keep it or look at it: the server holds it, logs what it raises, waits for it when it
stops, and cancels what does not end. Peers make requests, requests make tasks: past a bound no
more are taken.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
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

Task = asyncio.Task[T]  # the type, for modules that name it and import no asyncio


class TaskExit(RuntimeError):
    """A task raised SystemExit or KeyboardInterrupt, its cause: raised there, it ends the loop."""


_log = Log("microweb.error")


class Background:
    """The tasks of one server, from `open()` to `close()`, on the loop that runs at `open()`.

    Where `max_tasks` are running, what would start another raises ServiceUnavailable.
    """

    def __init__(self, max_tasks: int) -> None:
        self._max_tasks = max_tasks
        self._refusals = Throttle()
        self._outages = Throttle()  # of a service that each task uses
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.on_exit: Callable[[BaseException], None] | None = None  # for tests, which it ends
        self.is_open = False
        self.has_ended = False

    @property
    def count(self) -> int:
        """How many tasks are running."""
        return len(self._tasks)

    @property
    def is_here(self) -> bool:
        """Whether its loop is the one that runs in this thread."""
        return self._loop is not None and is_running_here(self._loop)

    def open(self) -> None:
        """Take tasks from now on."""
        self._loop = asyncio.get_running_loop()
        self.is_open = True

    async def close(self, grace_s: float, cancel_s: float) -> None:
        """Wait `grace_s` for the tasks, those that they spawn too; then cancel what is left.

        What is cancelled is logged, and has `cancel_s` to end. Nothing more is taken then.
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
        """Start a task in a copy of this context, from any thread.

        Raises: RuntimeError where no server runs, ServiceUnavailable.
        """
        try:
            self._check_room()
        except ServiceUnavailable:
            coroutine.close()
            raise
        if not self.is_open or self._loop is None or is_running_here(self._loop):
            return self._start(coroutine, name)

        async def start() -> asyncio.Task[T]:  # it has a copy of this thread's context
            return self._start(coroutine, name)

        return asyncio.run_coroutine_threadsafe(start(), self._loop).result()

    def after(self, function: Callable[[], object]) -> Callable[[], None]:
        """Return what starts a task of `function()`, in a copy of the context as it is now.

        To be called on the loop. Where it comes too late for that, it says so in the log. Raises:
        ServiceUnavailable, now: later the answer is out.
        """
        self._check_room()
        return partial(copy_context().run, self._start_call, function)

    def call(self, function: Callable[..., None], *args: object) -> None:
        """Call `function` on the loop: now, or from another thread as soon as it can."""
        if self._loop is None or is_running_here(self._loop):
            function(*args)
        else:
            self._loop.call_soon_threadsafe(function, *args)

    def _check_room(self) -> None:
        if len(self._tasks) < self._max_tasks:
            return
        if self._refusals.permits():
            _log.error(
                "max_background_tasks=%d are running: what would start more is a 503",
                self._max_tasks,
            )
        raise ServiceUnavailable("too much work in the background")

    def _others(self) -> set[asyncio.Task[Any]]:
        """Return the tasks but the one that asks, which may be stopping the server."""
        return self._tasks - {asyncio.current_task()}

    def _start(self, coroutine: Coroutine[Any, Any, T], name: str | None) -> asyncio.Task[T]:
        if self._loop is None or not self.is_open:
            raise nowhere_to_run(coroutine)
        task = create_task(coroutine, name or _name_of(coroutine))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _start_call(self, function: Callable[[], object]) -> None:
        name = describe(function)
        if self.is_open:
            self._start(_call(name, function), name)
        else:
            _log.error("background task %r came after the server had stopped", name)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not is_disconnect(error):
            if self.on_exit is not None and (exit := exit_of(error)) is not None:
                self.on_exit(exit)
            self._tell(task.get_name(), error)

    def _tell(self, name: str, error: BaseException) -> None:
        """Log why a task failed: an outage by one line a minute, anything else by its traceback."""
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
    """Return a task on the running loop that does not end the loop, whatever it raises."""
    task = asyncio.get_running_loop().create_task(_contained(coroutine), name=name)
    task.add_done_callback(lambda _: coroutine.close())  # it has not begun if that was cancelled
    return task


async def _contained(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        raise TaskExit(f"a task raised {error!r}") from error


def exit_of(error: BaseException) -> BaseException | None:
    """Return what a task raised if that is no Exception, else None."""
    if isinstance(error, TaskExit):
        return error.__cause__
    return None if isinstance(error, Exception) else error


def nowhere_to_run(coroutine: Coroutine[Any, Any, object]) -> RuntimeError:
    """Close a coroutine that no server would own, and return the error that says so."""
    coroutine.close()
    return RuntimeError(
        f"app.spawn({_name_of(coroutine)}()): no server of this app is running; spawn in "
        "endpoints, middleware, lifespans, and what these call"
    )


def _name_of(coroutine: Coroutine[Any, Any, object]) -> str:
    return str(getattr(coroutine, "__qualname__", type(coroutine).__qualname__))


async def _call(label: str, function: Callable[[], object]) -> None:
    """Call on the loop what is async, else in a thread."""
    if is_async(function):
        await function()  # type: ignore[misc]
        return
    result = await run_in_thread(label, function)
    if inspect.isawaitable(result):  # a lambda around something async
        await result
