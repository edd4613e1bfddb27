"""Inspect a user's function: its name and place, its decorators, whether it is async."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from os.path import basename
from pathlib import Path
from types import FrameType, FunctionType
from typing import TypeGuard

from ..errors import ConfigurationError
from .annotated import signature_of

_NOT_PLAIN = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_GENERATOR


def describe(function: object) -> str:
    """Return the name and, if known, the place of a function: `show at app.py:12`."""
    function = innermost(function)
    code = getattr(function, "__code__", None)
    if code is None:
        return default_name(function)
    return f"{default_name(function)} at {basename(code.co_filename)}:{code.co_firstlineno}"


def check_callable(function: object, usage: str) -> None:
    """Raise TypeError, with the right `usage`, for the result of a call in place of a function."""
    if not callable(function):
        if inspect.iscoroutine(function):
            function.close()
        raise TypeError(
            f"expected a function as in {usage}, got {function!r:.80}: pass the function and its "
            "arguments, without calling it"
        )


def innermost(function: object) -> object:
    """Return the function inside all decorators and `functools.partial` objects."""
    if is_undecorated(function):
        return function
    if callable(function):
        with suppress(ValueError):  # a function that wraps itself
            function = inspect.unwrap(function)
    return innermost(function.func) if isinstance(function, partial) else function


def is_undecorated(function: object) -> TypeGuard[FunctionType]:
    """Return whether `function` was made by `def` and has no attributes.

    So no decorator has wrapped or marked it, and its code alone says what it is. Most endpoints are
    such functions; the questions of `inspect` take 2 to 5 us for each.
    """
    return type(function) is FunctionType and not vars(function)


def default_name(function: object) -> str:
    """Return the name of a function; for another callable object, the name of its class."""
    function = innermost(function) if isinstance(function, partial) else function
    return str(getattr(function, "__name__", type(function).__name__))


def is_async(function: Callable[..., object]) -> bool:
    """Whether to call `function` on the event loop, because it is not a plain `def`.

    A decorator or a `functools.partial` around an async function counts as async too.
    """
    if is_undecorated(function):
        return function.__code__.co_flags & _NOT_PLAIN != 0
    return any(
        check(each)
        for each in implementations_of(function)
        for check in (
            inspect.iscoroutinefunction,
            inspect.isasyncgenfunction,
            inspect.isgeneratorfunction,
        )
    )


def implementations_of(function: Callable[..., object]) -> Iterator[Callable[..., object]]:
    """Yield a function and those inside it: in partials and decorators, or its `__call__`."""
    yield function
    if isinstance(function, partial):
        yield from implementations_of(function.func)
    elif not inspect.isroutine(function):
        yield from implementations_of(type(function).__call__)
    if (decorated := getattr(function, "__wrapped__", None)) is not None:
        yield from implementations_of(decorated)


def layers_of(function: Callable[..., object]) -> Iterator[Callable[..., object]]:
    """Yield a function and the functions that it wraps, as recorded by `functools.wraps`."""
    yield function
    while (inner := getattr(function, "__wrapped__", None)) is not None:
        function = inner
        yield function


def called_by(function: Callable[..., object]) -> Callable[..., object]:
    """Return the function that a call runs: inside partials, and for an object its `__call__`."""
    if is_undecorated(function):
        return function
    while isinstance(function, partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


def folder_of(frame: FrameType) -> Path:
    """Return the folder of the file whose code a frame runs, else the current folder."""
    file = frame.f_globals.get("__file__")
    return Path(file).resolve().parent if isinstance(file, str) else Path.cwd()


def check_parameters(function: Callable[..., object], role: str, *names: str) -> None:
    """Raise ConfigurationError if `function` does not take these positional arguments."""
    if not callable(function):
        raise ConfigurationError(f"{role}: expected a function, got {function!r:.80}")
    try:
        signature = signature_of(function, follow_wrapped=False)
    except ValueError:  # a built-in function without a signature
        return
    try:
        signature.bind(*names)
    except TypeError:
        raise ConfigurationError(
            f"{describe(function)}: {role} takes ({', '.join(names)}), this takes {signature}"
        ) from None
