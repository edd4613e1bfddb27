"""Iterate a plain iterable in threads, so that none of its items blocks the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

from .threads import run_in_thread

T = TypeVar("T")

_END = object()


async def iterate_in_thread(label: str, iterable: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items of a plain iterable. A thread takes each item, and closes the iterator.

    A cancelled caller waits until the thread has its current item and has closed the iterator. No
    second thread waits for that.
    """
    taken = _Taken(iter(iterable))
    try:
        while (item := await run_in_thread(label, taken.take)) is not _END:
            yield item  # type: ignore[misc]
    finally:
        if (closed := taken.leave()) is not None:
            await closed
        elif hasattr(taken.iterator, "close"):
            await run_in_thread(label, taken.iterator.close)


class _Taken:
    """An iterator and its two sides: the thread that takes an item, and the event loop."""

    def __init__(self, iterator: Iterator[object]) -> None:
        self.iterator = iterator
        self._lock = threading.Lock()  # for the next three
        self._is_running = False  # a thread is in `next`: Python cannot close a running generator
        self._is_left = False
        self._closed: asyncio.Future[None] | None = None  # set by the thread that closes at its end

    def take(self) -> object:
        """Return the next item, `_END` if there is none. Then close the iterator if it is left."""
        with self._lock:
            if self._is_left:
                return _END
            self._is_running = True
        try:
            return next(self.iterator, _END)
        finally:
            with self._lock:
                self._is_running = False
                closed = self._closed
            if closed is not None:
                self._close(closed)

    def leave(self) -> asyncio.Future[None] | None:
        """Let no more items be taken. Return the end of the iterator if a thread is in it."""
        with self._lock:
            self._is_left = True
            if self._is_running:
                self._closed = asyncio.get_running_loop().create_future()
            return self._closed

    def _close(self, closed: asyncio.Future[None]) -> None:
        failure: BaseException | None = None
        try:
            if hasattr(self.iterator, "close"):
                self.iterator.close()
        except (StopIteration, GeneratorExit) as error:  # which a future cannot carry
            failure = RuntimeError(f"close() raised {type(error).__name__}")
            failure.__cause__ = error
        except BaseException as error:  # for the caller, which waits for it
            failure = error
        with suppress(RuntimeError):  # the event loop is closed: no task waits
            closed.get_loop().call_soon_threadsafe(_settle, closed, failure)


def _settle(closed: asyncio.Future[None], failure: BaseException | None) -> None:
    if closed.cancelled():
        return
    if failure is None:
        closed.set_result(None)
    else:
        closed.set_exception(failure)
