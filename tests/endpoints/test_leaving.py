"""Leaving generators: the error of the request after each."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from typing import Any

import pytest

from microweb.endpoints.leaving import Resources, leave, leave_here, to_its_end


class Fault(Exception): ...


async def quiet() -> AsyncGenerator[int, None]:
    yield 1


async def swallowing() -> AsyncGenerator[int, None]:
    with suppress(Fault):
        yield 1


async def failing() -> AsyncGenerator[int, None]:
    try:
        yield 1
    finally:
        raise OSError("failed")


async def twice() -> AsyncGenerator[int, None]:
    try:
        yield 1
    finally:
        yield 2


async def entered(*generators: AsyncGenerator[int, None]) -> Resources:
    for each in generators:
        await each.asend(None)
    return list(generators)


async def left(resources: Resources, error: BaseException | None) -> BaseException | None:
    """Leave all; return the error that the request has after that."""
    request: Any = Shields()
    try:
        await leave(request, resources, error)
    except BaseException as failure:
        return failure
    return error


async def test_no_error_stays_none() -> None:
    assert await left(await entered(quiet(), swallowing()), None) is None


async def test_an_error_stays_the_same() -> None:
    error = Fault()
    assert await left(await entered(quiet(), swallowing(), quiet()), error) is error


async def test_the_traceback_has_no_frames_of_dependencies() -> None:
    try:
        raise Fault
    except Fault as raised:
        error, traceback = raised, raised.__traceback__
    await left(await entered(quiet(), quiet()), error)
    assert error.__traceback__ is traceback


@pytest.mark.parametrize("error", [None, Fault()])
async def test_another_error_takes_its_place(error: Fault | None) -> None:
    after = await left(await entered(quiet(), failing(), swallowing()), error)
    assert isinstance(after, OSError)
    assert after.__context__ is error


@pytest.mark.parametrize("error", [None, Fault()])
async def test_a_second_yield_is_an_error(error: Fault | None) -> None:
    after = await left(await entered(twice()), error)
    assert isinstance(after, RuntimeError)


def plain(note: list[object]) -> Generator[int, None, None]:
    try:
        yield 1
        note.append("clean")
    except Fault:
        note.append("fault")


def plain_failing() -> Generator[int, None, None]:
    try:
        yield 1
    finally:
        raise OSError("failed")


def plain_twice() -> Generator[int, None, None]:
    try:
        yield 1
    except Fault:
        yield 2
    yield 3


def entered_here(*generators: Generator[int, None, None]) -> list[Generator[Any, Any, Any]]:
    for each in generators:
        next(each)
    return list(generators)


def test_plain_generators_are_left_in_reverse() -> None:
    note: list[object] = []
    assert leave_here(entered_here(plain(note), plain(note)), None) is None
    error = Fault()
    assert leave_here(entered_here(plain(note), plain(note)), error) is error
    assert note == ["clean", "clean", "fault", "fault"]


@pytest.mark.parametrize("error", [None, Fault()])
@pytest.mark.parametrize("make", [plain_failing, plain_twice])
def test_a_plain_generator_that_fails(make: Any, error: Fault | None) -> None:
    note: list[object] = []
    left = leave_here(entered_here(plain(note), make()), error)
    assert isinstance(left, (OSError, RuntimeError))
    assert note == []


# --- to its end -----------------------------------------------------------------------


class Shields:
    """The transport of a request, which notes the blocks that a disconnect does not cancel."""

    def __init__(self) -> None:
        self.transport = self
        self.note: list[str] = []

    def cleaning_up(self, request: object) -> "Shields":
        return self

    def __enter__(self) -> None:
        self.note.append("begin")

    def __exit__(self, *error: object) -> None:
        self.note.append("end")


async def test_a_leave_that_does_not_wait_needs_no_shield() -> None:
    async def leave() -> int:
        return 1

    request: Any = Shields()
    assert await to_its_end(request, leave()) == 1
    assert request.note == []


async def test_a_leave_that_waits_is_shielded() -> None:
    async def leave() -> int:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return 1

    request: Any = Shields()
    assert await to_its_end(request, leave()) == 1
    assert request.note == ["begin", "end"]


async def test_a_cancellation_reaches_the_leave() -> None:
    begun, note = asyncio.Event(), []

    async def leave() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            note.append("cancelled")
            raise

    request: Any = Shields()
    task = asyncio.ensure_future(to_its_end(request, leave()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert note == ["cancelled"]
    assert request.note == ["begin", "end"]
