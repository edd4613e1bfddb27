"""Leave the dependencies of a request: continue their generators, the last entered first.

An error is thrown in at each `yield`. A generator that returns then does not change the answer, and
one that raises another error does. These are the rules of `contextlib.ExitStack`, except that no
generator can suppress an error.

A client that leaves does not cancel this, so that no resource leaks. The check for the client costs
2 us, so it begins only if a generator waits.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Generator
from pathlib import PurePath
from types import AsyncGeneratorType, CodeType, coroutine
from typing import Any, Protocol, TypeVar, cast

from ..request import Request

T = TypeVar("T")


class Entered(Protocol):
    """Dependencies that a request has entered in a thread."""

    async def leave(self, error: BaseException | None) -> None:
        """Continue after each `yield`, or throw `error` in there. Raises: their errors."""


Resources = list[AsyncGenerator[Any, Any] | Entered]  # in the order in which they were entered


async def leave(request: Request, resources: Resources, error: BaseException | None) -> None:
    """Leave all. Raises: another error than `error`, if a dependency raises one."""
    first = error
    while resources:
        each = resources.pop()
        try:
            if type(each) is not AsyncGeneratorType:
                await to_its_end(request, cast(Entered, each).leave(error))
                continue
            if error is not None:
                if await to_its_end(request, _is_thrown_back(each, error)):
                    continue
            else:
                going_on: Any = each.asend(None)
                try:
                    waited_for = going_on.send(None)  # nearly always raises StopAsyncIteration
                except StopIteration:
                    pass  # it has yielded again
                else:
                    await _shielded(request, going_on, waited_for)
            await to_its_end(request, _close(each))
        except StopAsyncIteration:
            continue
        except BaseException as failure:
            error = failure
    if error is not None and error is not first:
        raise error


async def _is_thrown_back(generator: AsyncGenerator[Any, Any], error: BaseException) -> bool:
    """Throw `error` in; return whether the generator raises it again. Raises: another error."""
    traceback = error.__traceback__
    try:
        await generator.athrow(error)
    except BaseException as failure:
        if not _is_same(failure, error):
            raise
        error.__traceback__ = traceback  # without the frames of the dependencies
        return True
    return False


async def _close(generator: AsyncGenerator[Any, Any]) -> None:
    """Close a generator that has yielded twice. Raises: RuntimeError that names it."""
    await generator.aclose()
    raise _second_yield(generator)


@coroutine
def to_its_end(request: Request, run: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await `run`, which a client that leaves does not cancel."""
    try:
        waited_for = run.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    return (yield from _shielded(request, run, waited_for))


@coroutine
def _shielded(
    request: Request, run: Coroutine[Any, Any, T], waited_for: object
) -> Generator[Any, Any, T]:
    """Await the rest of `run`, which waits for the future `waited_for`."""
    try:
        with request.transport.cleaning_up(request):
            while True:
                try:
                    value = yield waited_for
                except BaseException as error:
                    waited_for = run.throw(error)
                else:
                    waited_for = run.send(value)
    except StopIteration as stop:
        result: T = stop.value
        return result


# --- in a thread ----------------------------------------------------------------------


def leave_here(
    generators: list[Generator[Any, Any, Any]], error: BaseException | None
) -> BaseException | None:
    """Leave plain generators in this thread; return the error of the request after that."""
    while generators:
        each = generators.pop()
        try:
            if error is None:
                each.send(None)
            elif _is_thrown_back_here(each, error):
                continue
            each.close()
            raise _second_yield(each)
        except StopIteration:
            continue
        except BaseException as failure:
            error = failure
    return error


def _is_thrown_back_here(generator: Generator[Any, Any, Any], error: BaseException) -> bool:
    traceback = error.__traceback__
    try:
        generator.throw(error)
    except BaseException as failure:
        if not _is_same(failure, error):
            raise
        error.__traceback__ = traceback
        return True
    return False


# --- errors ---------------------------------------------------------------------------


def _is_same(failure: BaseException, error: BaseException) -> bool:
    """Return whether a generator has raised the error that was thrown in.

    Python turns these two into a RuntimeError when they leave a generator.
    """
    is_turned = isinstance(error, (StopIteration, StopAsyncIteration))
    return failure is error or (is_turned and failure.__cause__ is error)


def no_yield(label: str) -> RuntimeError:
    """Return the error of a generator that has returned without a value."""
    return RuntimeError(f"{label}: expected one yield, got none: yield the value, or return it")


def _second_yield(generator: Any) -> RuntimeError:
    code: CodeType = getattr(generator, "ag_code", None) or generator.gi_code
    place = f"{PurePath(code.co_filename).name}:{code.co_firstlineno}"
    return RuntimeError(
        f"{code.co_name} at {place}: expected one yield, got a second one: a dependency gives one "
        "value"
    )
