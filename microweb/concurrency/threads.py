"""Run plain `def` code in threads: two pools of limited size per event loop.

One pool runs the application's functions. The other runs short work of microweb itself (files,
compression), so that neither waits for the other.

`run_in_thread` copies the caller's context variables. The function may call `from_thread` to await
on the event loop. While it waits there, it gives its place in the pool back. So a client that
sends its body slowly does not occupy a place. The number of threads that wait without a place is
limited too. If a function may wait for a client, its caller reserves such a wait before the call.

The pools store the label of each busy thread's function, to name it if the server cannot stop.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
import time
import traceback
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, NoReturn, TypeVar
from weakref import WeakKeyDictionary

from ..logs import Log
from .throttle import Throttle

T = TypeVar("T")

DEFAULT_THREADS = 40
_OWN_THREADS = 16  # with 40 threads that have a place and 40 that wait, fewer than 100

_RETRY_S = 0.1  # after the system has refused a thread for which jobs wait
_POLL_S = 0.02  # polls only while a server stops, so that calls need not signal their end

_log = Log("microweb.server")
_complaints = Throttle()


class Place:
    """The place of one call in its pool. The context of the call stores it for `from_thread`."""

    __slots__ = ("has_reserved", "is_left", "loop", "pool", "thread")

    def __init__(
        self, pool: ThreadPool, loop: asyncio.AbstractEventLoop, has_reserved: bool
    ) -> None:
        self.pool = pool
        self.loop = loop
        self.has_reserved = has_reserved  # whether the call has a wait reserved until it ends
        self.is_left = False  # whether the place is given back during a wait
        self.thread: int | None = None  # the thread that runs the call


_PLACE: ContextVar[Place] = ContextVar("microweb_place")


class Job(NamedTuple):
    """A call for a thread to make, and the future for its result."""

    place: Place
    future: asyncio.Future[Any]
    label: str
    call: Callable[[], object]


class Return(NamedTuple):
    """The request of a call that waited without a place and needs one again.

    The thread that takes this gives its own place to the call, and rests until it gets another.
    """

    pool: ThreadPool
    future: asyncio.Future[None]


Queue = SimpleQueue[Job | Return | None]
Rest = SimpleQueue[bool]  # whether the resting thread continues or ends


class ThreadPool:
    """At most `size` threads with a place, started when they are needed; jobs wait in order.

    At most `size` further threads wait in `from_thread` without a place. Only the event loop's
    thread changes the counts.

    A ThreadPoolExecutor needs futures with locks. A single call costs it 39 us of CPU in asyncio,
    each of 16 concurrent calls 19 us; here 21 and 8 us (in uvloop 27 and 16; 14 and 5).
    """

    def __init__(self, size: int = DEFAULT_THREADS) -> None:
        self._size = size
        self._queue: Queue = SimpleQueue()
        self._rest: Rest = SimpleQueue()
        self._unfinished = 0  # jobs in the queue or with a place, cancelled ones too
        self._places = 0  # places that threads have
        self._resting = 0  # threads without a job and a place
        self._waits = 0  # waits without a place: reserved, or under way without a reservation
        self._reserving: deque[asyncio.Future[None]] = deque()
        self._threads: list[threading.Thread] = []
        self._busy: dict[int, str] = {}  # thread -> label of its job
        self._retries = False  # whether `_retry` is scheduled
        self.is_closed = False
        self._end = weakref.finalize(self, _end, self._queue, self._rest, self._threads)

    def run(
        self, label: str, function: Callable[[], T], *, has_reserved: bool = False
    ) -> asyncio.Future[T]:
        """Call `function` in a thread of the pool, in a copy of the current context.

        A cancelled caller stops waiting, but the thread continues, because Python cannot stop it.
        `has_reserved`: the caller has reserved a wait, which ends with the call.

        Raises: RuntimeError if the pool has no thread, and the system refuses one.
        """
        loop = asyncio.get_running_loop()
        place = Place(self, loop, has_reserved)
        context = copy_context()
        context.run(_PLACE.set, place)
        future: asyncio.Future[T] = loop.create_future()
        if self._places <= self._unfinished:
            self._add_thread()
        if not self._threads:
            if has_reserved:
                self.end_wait()
            raise RuntimeError(f"{label} needs a thread, and the system refuses the first one")
        self._unfinished += 1
        self._queue.put(Job(place, future, label, partial(context.run, function)))
        return future

    def settle(self, job: Job, result: object, error: BaseException | None) -> None:
        """Record the result of a job. The thread that ran it schedules this on the event loop."""
        self._unfinished -= 1
        if job.place.has_reserved:
            self.end_wait()
        future = job.future
        if future.cancelled():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def _add_thread(self) -> None:
        """Start or wake one more thread, if a place is free."""
        if self._places >= self._size or self.is_closed:
            return
        self._places += 1
        if self._resting:
            self._resting -= 1
            self._rest.put(True)
            return
        # Threads do not reference the pool, so a pool that is garbage-collected ends its threads.
        arguments = (self._queue, self._rest, self._busy)
        name = f"microweb_{len(self._threads)}"
        thread = threading.Thread(target=_work, args=arguments, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # its job waits for other threads, or for another attempt
            self._places -= 1
            if self._threads and not self._retries:  # without any thread the job is refused
                self._retries = True
                asyncio.get_running_loop().call_later(_RETRY_S, self._retry)
            if _complaints.permits():
                _log.warning("%d threads run, and no further one: %s", len(self._threads), error)
        else:
            self._threads.append(thread)

    def _retry(self) -> None:
        """Ask again until there are enough, because all other threads may wait for these jobs."""
        self._retries = self._places < min(self._unfinished, self._size) and not self.is_closed
        if self._retries:
            self._add_thread()
            asyncio.get_running_loop().call_later(_RETRY_S, self._retry)

    # --- waits without a place: on the event loop

    def try_reserve(self) -> bool:
        """Reserve a wait for a later call; return whether one was free."""
        if self._waits >= self._size:
            return False
        self._waits += 1
        return True

    async def reserve(self) -> None:
        """Reserve a wait for a later call, as soon as one is free."""
        if not self._reserving and self.try_reserve():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reserving.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled():  # it got one in this iteration of the event loop
                self.end_wait()
            raise

    def end_wait(self) -> None:
        """Release a wait. The next caller in `reserve` gets it."""
        while self._reserving:
            future = self._reserving.popleft()
            if not future.done():
                future.set_result(None)
                return
        self._waits -= 1

    async def wait_outside(self, place: Place, awaitable: Awaitable[T]) -> T:
        """Await `awaitable` for the thread of `place`, which gives its place back meanwhile.

        The thread keeps its place if it has no wait reserved and none is free.
        """
        if not place.has_reserved and not self.try_reserve():
            return await awaitable
        # In the next iteration, because most awaitables have their value immediately.
        leaving = place.loop.call_soon(self._leave, place)
        try:
            return await awaitable
        finally:
            leaving.cancel()
            if place.is_left:
                await self._come_back(place)
            if not place.has_reserved:
                self.end_wait()

    def _leave(self, place: Place) -> None:
        place.is_left = True
        self._unfinished -= 1
        self._places -= 1
        if self._places < self._unfinished:
            self._add_thread()

    async def _come_back(self, place: Place) -> None:
        place.is_left = False
        self._unfinished += 1
        if self._places < self._size or self.is_closed:
            self._places += 1
            return
        future: asyncio.Future[None] = place.loop.create_future()
        self._queue.put(Return(self, future))
        try:
            await future
        except asyncio.CancelledError:  # the event loop ends: the thread continues without waiting
            if future.cancelled():
                self._places += 1
            raise

    def hand_on(self, future: asyncio.Future[None]) -> None:
        """Give the place of a thread, which rests now, to the call that waits for `future`."""
        self._resting += 1
        if future.done():  # the call no longer waits
            self._places -= 1
        else:
            future.set_result(None)

    # --- the end

    async def wait_idle(self, seconds: float) -> None:
        """Wait until no thread is busy, at most `seconds`."""
        ends_at = time.monotonic() + seconds
        while self._busy and time.monotonic() < ends_at:
            await asyncio.sleep(_POLL_S)

    def stuck(self) -> list[str]:
        """Return, for each thread that is still busy, the label of its job and its stack."""
        frames = sys._current_frames()
        return [
            f"{label}\n{''.join(traceback.format_stack(frames[thread]))}"
            for thread, label in self._busy.copy().items()
            if thread in frames
        ]

    def close(self) -> None:
        """Accept no more jobs. Idle threads end now, busy ones after their job."""
        if self.is_closed:
            return
        self.is_closed = True
        with suppress(Empty):
            while (work := self._queue.get_nowait()) is not None:
                if isinstance(work, Job):
                    work.future.cancel()
                elif not work.future.done():
                    work.future.set_result(None)
        self._end()
        if not self._busy:  # the join takes no time, and no thread is left after the server
            for thread in self._threads:
                thread.join()


def _end(queue: Queue, rest: Rest, threads: list[threading.Thread]) -> None:
    for _ in threads:
        queue.put(None)
        rest.put(False)


def _work(queue: Queue, rest: Rest, busy: dict[int, str]) -> None:
    """Run jobs until the pool closes: the main function of a thread."""
    thread = threading.get_ident()
    while (work := queue.get()) is not None:
        if isinstance(work, Return):
            with suppress(RuntimeError):  # the event loop is closed: no task waits
                work.future.get_loop().call_soon_threadsafe(work.pool.hand_on, work.future)
            del work
            if not rest.get():
                return
            continue
        busy[thread] = work.label
        outcome = _outcome_of(work, thread)
        del busy[thread]
        with suppress(RuntimeError):
            work.place.loop.call_soon_threadsafe(work.place.pool.settle, work, *outcome)
        del work, outcome  # an idle thread keeps no job


def _outcome_of(job: Job, thread: int) -> tuple[object, BaseException | None]:
    job.place.thread = thread
    try:
        return (None if job.future.cancelled() else job.call()), None
    except (StopIteration, GeneratorExit) as error:
        # A future cannot carry these: the awaiting coroutine would seem to return or to be closed.
        failure = RuntimeError(f"{job.label} raised {type(error).__name__}")
        failure.__cause__ = error
        return None, failure
    except BaseException as error:
        return None, error
    finally:
        job.place.thread = None


class Pools:
    """The pools of an event loop: `application` for its functions, `internal` for short work."""

    def __init__(self, size: int) -> None:
        self.application = ThreadPool(size)
        self.internal = ThreadPool(_OWN_THREADS)

    @property
    def is_closed(self) -> bool:
        return self.application.is_closed

    async def wait_idle(self, seconds: float) -> None:
        """Wait until no thread is busy, at most `seconds`."""
        ends_at = time.monotonic() + seconds
        await self.application.wait_idle(seconds)
        await self.internal.wait_idle(ends_at - time.monotonic())

    def stuck(self) -> list[str]:
        """Return, for each thread that is still busy, the label of its job and its stack."""
        return self.application.stuck() + self.internal.stuck()

    def close(self) -> None:
        """Accept no more jobs. Idle threads end now, busy ones after their job."""
        self.application.close()
        self.internal.close()


_POOLS: WeakKeyDictionary[asyncio.AbstractEventLoop, Pools] = WeakKeyDictionary()


def open_pools(size: int) -> Pools:
    """Create new pools for the running event loop. `size` is that of the application pool."""
    pools = _POOLS[asyncio.get_running_loop()] = Pools(size)
    return pools


def running_pools() -> Pools:
    """Return the pools of the running event loop; create them if there are none."""
    pools = _POOLS.get(asyncio.get_running_loop())
    if pools is None or pools.is_closed:  # no server runs here, or one of two has stopped
        pools = open_pools(DEFAULT_THREADS)
    return pools


async def run_in_thread(label: str, function: Callable[[], T]) -> T:
    """Call the application's `function` in a thread. `label` names it if it blocks a stop."""
    return await running_pools().application.run(label, function)


async def run_short_work(label: str, function: Callable[[], T]) -> T:
    """Call `function`, short work of microweb itself, in a thread of the `internal` pool."""
    return await running_pools().internal.run(label, function)


def from_thread(awaitable: Awaitable[T]) -> T:
    """Await on the event loop from a plain `def` endpoint: `from_thread(request.json())`.

    While it waits, the endpoint does not count as one of the `threads` that run.

    Raises: RuntimeError outside a plain `def` endpoint, or on the event loop itself.
    """
    place = _PLACE.get(None)
    if place is None or is_running_here(place.loop):
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        raise RuntimeError("from_thread() works in plain `def` endpoints; elsewhere use await")
    is_own = place.thread == threading.get_ident()  # else a thread that the function has started

    async def wait() -> Callable[[], T]:
        try:
            result = await (place.pool.wait_outside(place, awaitable) if is_own else awaitable)
        except (SystemExit, KeyboardInterrupt) as error:  # in a task it would end the event loop
            return partial(_raise, error)
        return lambda: result

    return asyncio.run_coroutine_threadsafe(wait(), place.loop).result()()


def _raise(error: BaseException) -> NoReturn:
    raise error


def is_in_loop_of_its_own() -> bool:
    """Whether plain `def` code in a thread of a pool runs its own event loop by `asyncio.run`."""
    place = _PLACE.get(None)
    return place is not None and not is_running_here(place.loop)


def is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether `loop` runs in this thread."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
