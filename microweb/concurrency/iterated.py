"""Iterate a plain iterable in threads, so that none of its items blocks the event loop."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TypeVar

from .threads import run_in_thread

T = TypeVar("T")

_END = object()


async def iterate_in_thread(label: str, iterable: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items of a plain iterable. A thread takes each item, and closes the iterator.

    A cancelled caller waits until the thread has its current item and the iterator is closed.
    """
    iterator: Iterator[T] = iter(iterable)
    is_free = threading.Lock()  # Python cannot close a running generator

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
