"""Close the source of a stream: its iterator, its generator or file, its context managers.

An asynchronous source is closed on the event loop, a plain one in a thread, where it was iterated.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from functools import partial
from types import AsyncGeneratorType
from typing import Any

from ..concurrency.begun import Begun
from ..concurrency.threads import run_in_thread
from ..http.interfaces import Piece
from .body import Leave
from .pieces import LABEL, End

Opened = tuple["Begun[Piece | End] | None", AsyncIterator[Piece] | None, object]


def has_ended(opened: Opened) -> bool:
    """Return whether the source is an async generator that has ended, so no close is needed."""
    _, iterator, source = opened
    if not isinstance(source, AsyncGeneratorType) or iterator not in (source, None):
        return False
    return source.ag_frame is None


async def close_opened(
    first: Begun[Piece | End] | None, iterator: AsyncIterator[Piece] | None, source: object
) -> None:
    """Close the iterator, if iteration began, and the source, if it has a close method."""
    if first is not None and not first.is_done:
        await first.abandon()
    if isinstance(iterator, AsyncGeneratorType):
        await iterator.aclose()
    if iterator is source or (iterator is not None and isinstance(source, Iterator)):
        return  # closing the iterator has closed the source
    if isinstance(source, AsyncIterable):
        if (aclose := getattr(source, "aclose", None)) is not None:
            await aclose()
    elif isinstance(source, Iterable) and (close := getattr(source, "close", None)) is not None:
        await run_in_thread(LABEL, close)  # a file, a generator


async def leave_both(inner: Leave | None, outer: Leave, *error: Any) -> bool:
    """Await `inner` and then `outer`; return whether `inner` suppresses the error."""
    try:
        is_suppressed = inner is not None and bool(await inner(*error))
    except BaseException as failure:
        await outer(type(failure), failure, failure.__traceback__)
        raise
    await outer(*((None, None, None) if is_suppressed else error))
    return is_suppressed


def leaving_in_thread(manager: Any) -> Leave:
    """Return the `__aexit__` that exits a plain context manager in a thread."""

    async def leave(*error: Any) -> bool | None:
        left: bool | None = await run_in_thread(LABEL, partial(manager.__exit__, *error))
        return left

    return leave
