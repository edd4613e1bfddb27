"""A user's function: its name and place, its decorators, and whether it is async."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from microweb.concurrency.callables import (
    called_by,
    check_callable,
    default_name,
    describe,
    folder_of,
    implementations_of,
    innermost,
    is_async,
    is_undecorated,
    layers_of,
)


def plain(id: int = 0) -> str:
    return str(id)


def test_the_result_of_a_call_is_no_function() -> None:
    check_callable(plain, "work(plain, 1)")
    with pytest.raises(TypeError, match=r"expected a function as in work\(plain, 1\), got '1'"):
        check_callable(plain(1), "work(plain, 1)")


async def coroutine(id: int = 0) -> str:
    return str(id)


async def asynchronous_pieces() -> AsyncIterator[str]:
    yield ""


def pieces() -> Iterator[str]:
    yield ""


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Plain:
    def __call__(self) -> str:
        return ""

    def show(self) -> str:
        return ""


class Asynchronous:
    async def __call__(self) -> str:
        return ""

    async def show(self) -> str:
        return ""


def line_of(function: Callable[..., Any]) -> int:
    return function.__code__.co_firstlineno


@pytest.mark.parametrize(
    "function",
    [
        plain,
        decorated(plain),
        decorated(decorated(plain)),
        functools.partial(plain, 5),
        functools.partial(decorated(plain), id=5),
        decorated(functools.partial(plain, 5)),
    ],
)
def test_function_is_described_by_its_name_and_place(function: object) -> None:
    assert innermost(function) is plain
    assert describe(function) == f"plain at test_callables.py:{line_of(plain)}"


def test_object_is_described_by_its_class() -> None:
    assert describe(Plain()) == "Plain"
    assert describe(Plain) == "Plain"
    assert describe(len) == "len"
    assert describe(5) == "int"


def test_name_is_that_of_the_decorated_function() -> None:
    assert default_name(decorated(plain)) == "plain"
    assert default_name(functools.partial(decorated(plain), 5)) == "plain"
    assert default_name(Plain()) == "Plain"
    assert default_name(Plain().show) == "show"


def test_function_that_wraps_itself_is_described() -> None:
    def show() -> None: ...

    show.__wrapped__ = show  # type: ignore[attr-defined]
    assert innermost(show) is show
    assert describe(show).startswith("show at test_callables.py:")


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (plain, False),
        (coroutine, True),
        (pieces, True),
        (asynchronous_pieces, True),
        (decorated(plain), False),
        (decorated(coroutine), True),
        (functools.partial(plain, 1), False),
        (functools.partial(coroutine, 1), True),
        (functools.partial(decorated(coroutine), 1), True),
        (Plain(), False),
        (Asynchronous(), True),
        (Plain().show, False),
        (Asynchronous().show, True),
        (len, False),
    ],
)
def test_plain_def_is_called_in_a_thread_and_all_others_on_the_loop(
    function: Callable[..., object], expected: bool
) -> None:
    assert is_async(function) is expected


def test_implementations_are_found_behind_each_layer() -> None:
    layered = functools.partial(decorated(coroutine), 1)
    assert list(implementations_of(layered)) == [layered, layered.func, coroutine]
    caller = Asynchronous()
    assert list(implementations_of(caller)) == [caller, Asynchronous.__call__]


def test_layers_are_those_that_wraps_tells() -> None:
    outer = decorated(decorated(plain))
    assert list(layers_of(outer)) == [outer, outer.__wrapped__, plain]  # type: ignore[attr-defined]
    assert list(layers_of(plain)) == [plain]


def test_call_ends_in_a_function() -> None:
    assert called_by(plain) is plain
    assert called_by(functools.partial(functools.partial(plain, 1))) is plain
    assert called_by(Plain()) is Plain.__call__
    assert called_by(len) is len


def test_folder_is_that_of_the_file_that_a_frame_runs() -> None:
    frame = inspect.currentframe()
    assert frame is not None
    assert folder_of(frame) == Path(__file__).resolve().parent


def test_folder_of_code_without_a_file_is_the_current_one() -> None:
    frames: dict[str, Callable[[], FrameType]] = {}
    exec("import sys\ndef here(): return sys._getframe()", frames)
    assert folder_of(frames["here"]()) == Path.cwd()
    assert sys._getframe().f_globals["__file__"] == __file__


def test_a_function_of_def_without_attributes_is_undecorated() -> None:
    def marked() -> None:
        marked.seen = True  # type: ignore[attr-defined]

    assert all(map(is_undecorated, (plain, coroutine, pieces, lambda: None, marked)))
    marked()
    others = (marked, decorated(plain), functools.partial(plain), Plain(), Plain().__call__, len)
    assert not any(map(is_undecorated, others))
