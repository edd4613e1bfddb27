"""The sources of a stream, closed in each state: not begun, under way, at its end."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from microweb.bodies.closing import close_opened, has_ended, leave_both, leaving_in_thread
from microweb.bodies.pieces import take_next
from microweb.concurrency.begun import Begun


class Source:
    """Generators that record where they were closed."""

    def __init__(self) -> None:
        self.closed_in: list[threading.Thread] = []

    async def on_the_loop(self) -> AsyncIterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            self.closed_in.append(threading.current_thread())

    def plain(self) -> Iterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            self.closed_in.append(threading.current_thread())


async def test_async_generator_is_closed_on_the_event_loop() -> None:
    source = Source()
    pieces = source.on_the_loop()
    first = Begun(take_next(pieces))
    await first.run_for(0.0)
    assert not has_ended((first, pieces, pieces))
    await close_opened(first, pieces, pieces)
    assert source.closed_in == [threading.main_thread()]
    assert has_ended((first, pieces, pieces))


async def test_async_generator_that_has_ended_needs_no_close() -> None:
    pieces = Source().on_the_loop()
    assert [piece async for piece in pieces] == ["a", "b"]
    assert has_ended((None, pieces, pieces))
    assert has_ended((None, None, pieces))
    assert not has_ended((None, Source().on_the_loop(), pieces))


async def test_plain_generator_is_closed_in_a_thread() -> None:
    source = Source()
    pieces = source.plain()
    next(pieces)
    assert not has_ended((None, None, pieces))
    await close_opened(None, None, pieces)
    (thread,) = source.closed_in
    assert thread is not threading.main_thread()


async def test_source_without_a_close_method_is_left_alone() -> None:
    await close_opened(None, None, ["a"])
    await close_opened(None, None, object())


# --- context managers


class Leaving:
    """An `__aexit__` that records its error, and suppresses, passes on or raises."""

    def __init__(self, *, suppresses: bool = False, raises: Exception | None = None) -> None:
        self.suppresses, self.raises = suppresses, raises
        self.got: list[object] = []

    async def __call__(self, *error: object) -> bool:
        self.got.append(error[1])
        if self.raises is not None:
            raise self.raises
        return self.suppresses


async def test_outer_one_gets_the_error_unless_the_inner_one_suppresses_it() -> None:
    error = OSError("the disk is gone")
    for suppresses in (True, False):
        inner, outer = Leaving(suppresses=suppresses), Leaving()
        assert await leave_both(inner, outer, OSError, error, None) is suppresses
        assert inner.got == [error]
        assert outer.got == [None if suppresses else error]


async def test_outer_one_can_suppress_nothing() -> None:
    outer = Leaving(suppresses=True)
    assert not await leave_both(None, outer, OSError, OSError(), None)


async def test_outer_one_gets_the_error_of_the_inner_one() -> None:
    failure = ValueError("inner")
    outer = Leaving()
    with pytest.raises(ValueError, match="inner"):
        await leave_both(Leaving(raises=failure), outer, None, None, None)
    assert outer.got == [failure]


async def test_plain_context_manager_is_left_in_a_thread() -> None:
    left_in: list[threading.Thread] = []

    @contextmanager
    def manager() -> Iterator[None]:
        try:
            yield
        except OSError:
            left_in.append(threading.current_thread())

    entered = manager()
    entered.__enter__()
    error = OSError("the disk is gone")
    assert await leaving_in_thread(entered)(OSError, error, None)
    (thread,) = left_in
    assert thread is not threading.main_thread()
