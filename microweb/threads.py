"""Plain `def` code beside the event loop: one bounded pool of threads per loop.

`run_in_thread` carries the caller's context variables over, and there `from_thread` awaits on the
loop. The pool remembers what each busy thread runs, so that a server that can't stop for it can
say for what.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
import time
import traceback
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from contextvars import ContextVar, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

DEFAULT_THREADS = 40

_POLL_S = 0.02  # only while a server stops: no call pays for telling that it ended

_LOOP: ContextVar[asyncio.AbstractEventLoop] = ContextVar("microweb_loop")


class Job(NamedTuple):
    """What a thread is to do, for whom, and who waits for it."""

    pool: ThreadPool
    future: asyncio.Future[Any]
    label: str
    call: Callable[[], object]


class ThreadPool:
    """At most `size` threads, begun as they are needed; what waits for one waits in order.

    A ThreadPoolExecutor has futures with locks, wrapped in those of the loop: a call alone costs it
    39 us of CPU on asyncio, of 16 at once 19; here 21 and 8 (on uvloop 27 and 16; 14 and 5).
    """

    def __init__(self, size: int = DEFAULT_THREADS) -> None:
        self._size = size
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._unfinished = 0  # jobs: those too that nobody waits for any more
        self._threads: list[threading.Thread] = []
        self._busy: dict[int, str] = {}  # thread -> what it runs
        self.is_closed = False
        self._end = weakref.finalize(self, _end, self._jobs, self._threads)

    async def run(self, label: str, function: Callable[[], T]) -> T:
        """Call `function` in a thread of the pool, in a copy of this context.

        A cancelled caller stops waiting; the thread runs on, since nothing can stop it.
        """
        loop = asyncio.get_running_loop()
        context = copy_context()
        context.run(_LOOP.set, loop)
        future: asyncio.Future[T] = loop.create_future()
        if len(self._threads) <= self._unfinished and len(self._threads) < self._size:
            self._add_thread()
        self._unfinished += 1
        self._jobs.put(Job(self, future, label, partial(context.run, function)))
        return await future

    def settle(
        self, future: asyncio.Future[Any], result: object, error: BaseException | None
    ) -> None:
        """Take note of a job's outcome: on the loop, for the thread that did it."""
        self._unfinished -= 1
        if future.cancelled():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def _add_thread(self) -> None:
        name = f"microweb_{len(self._threads)}"
        arguments = (self._jobs, self._busy)  # not the pool: it ends them when it is dropped
        thread = threading.Thread(target=_work, args=arguments, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    async def wait_idle(self, seconds: float) -> None:
        """Wait until no thread is busy, at most `seconds`."""
        ends_at = time.monotonic() + seconds
        while self._busy and time.monotonic() < ends_at:
            await asyncio.sleep(_POLL_S)

    def stuck(self) -> list[str]:
        """Return, for each thread that is still busy, what it runs and its stack."""
        frames = sys._current_frames()
        return [
            f"{label}\n{''.join(traceback.format_stack(frames[thread]))}"
            for thread, label in self._busy.copy().items()
            if thread in frames
        ]

    def close(self) -> None:
        """Take nothing more; idle threads end, busy ones when they are done."""
        if self.is_closed:
            return
        self.is_closed = True
        with suppress(Empty):
            while (job := self._jobs.get_nowait()) is not None:
                job.future.cancel()
        self._end()
        if not self._busy:  # then it takes no time, and behind a server no thread is left
            for thread in self._threads:
                thread.join()


def _end(jobs: SimpleQueue[Job | None], threads: list[threading.Thread]) -> None:
    for _ in threads:
        jobs.put(None)


def _work(jobs: SimpleQueue[Job | None], busy: dict[int, str]) -> None:
    """Do one job after another: a thread's whole life."""
    thread = threading.get_ident()
    while (job := jobs.get()) is not None:
        busy[thread] = job.label
        outcome = _outcome_of(job)
        del busy[thread]
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            job.future.get_loop().call_soon_threadsafe(job.pool.settle, job.future, *outcome)
        del job, outcome  # nothing is kept while the thread idles


def _outcome_of(job: Job) -> tuple[object, BaseException | None]:
    try:
        return (None if job.future.cancelled() else job.call()), None
    except StopIteration as error:
        # A future can't carry one: the awaiting coroutine would seem to return.
        failure = RuntimeError(f"{job.label} raised StopIteration")
        failure.__cause__ = error
        return None, failure
    except BaseException as error:
        return None, error


_POOLS: WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadPool] = WeakKeyDictionary()


def open_pool(size: int) -> ThreadPool:
    """Give the running loop a pool of its own size; the server's part."""
    pool = _POOLS[asyncio.get_running_loop()] = ThreadPool(size)
    return pool


async def run_in_thread(label: str, function: Callable[[], T]) -> T:
    """Call `function` in the running loop's pool; `label` names it where it is stuck."""
    loop = asyncio.get_running_loop()
    pool = _POOLS.get(loop)
    if pool is None or pool.is_closed:  # no server here, or one of two has stopped
        pool = open_pool(DEFAULT_THREADS)
    return await pool.run(label, function)


async def run_short_work(label: str, function: Callable[[], T]) -> T:
    """Call `function`, short work of microweb itself, in a thread that no endpoint can hold."""
    return await asyncio.to_thread(function)


def from_thread(awaitable: Awaitable[T]) -> T:
    """Await on the event loop from a plain `def` endpoint: `from_thread(request.json())`.

    Raises: RuntimeError where there is no loop to wait on, or on the loop itself.
    """
    loop = _LOOP.get(None)
    if loop is None or is_running_here(loop):
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        raise RuntimeError("from_thread() works in plain `def` endpoints; elsewhere use await")

    async def wait() -> T:
        return await awaitable

    return asyncio.run_coroutine_threadsafe(wait(), loop).result()


def is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether `loop` is the one that runs in this thread."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


_END = object()


async def iterate_in_thread(label: str, iterable: Iterable[T]) -> AsyncIterator[T]:
    """Yield what a plain iterable yields, each item taken in a thread; closed in one too.

    A cancelled caller stays until the item that a thread is making is there, and it is closed.
    """
    iterator: Iterator[T] = iter(iterable)
    is_free = threading.Lock()  # a generator that runs can't be closed

    def take() -> object:
        with is_free:
            return next(iterator, _END)

    def close() -> None:
        with is_free:
            iterator.close()  # type: ignore[attr-defined]

    try:
        while (item := await run_in_thread(label, take)) is not _END:
            yield item  # type: ignore[misc]
    finally:
        if hasattr(iterator, "close"):
            await run_in_thread(label, close)
