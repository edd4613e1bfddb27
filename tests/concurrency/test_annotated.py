"""Annotations and parameters of functions, also with names that exist for type checkers only."""

from __future__ import annotations

import functools
import inspect
import sys
from functools import wraps
from typing import Any

import pytest

from microweb import App
from microweb.concurrency.annotated import (
    annotations_of,
    closed_over,
    parameters_of,
    signature_of,
)


class Base:
    first: int


class Derived(Base):
    second: Missing  # type: ignore[name-defined]  # noqa: F821


class Bare(Base):
    pass


def function(a: int, b: Missing = None) -> str:  # type: ignore[name-defined]  # noqa: F821
    return str(a)


def test_annotations_are_texts_under_the_import() -> None:
    assert annotations_of(function) == {"a": "int", "b": "Missing", "return": "str"}


def test_annotations_of_a_class_are_its_own() -> None:
    assert annotations_of(Base) == {"first": "int"}
    assert annotations_of(Derived) == {"second": "Missing"}
    assert annotations_of(Bare) == {}
    assert annotations_of(len) == {}


def test_signature_has_the_parameters_of_a_decorator_or_of_its_function() -> None:
    @wraps(function)
    def decorated(*args: Any) -> str:
        return function(*args)

    assert list(signature_of(decorated).parameters) == ["a", "b"]
    assert list(signature_of(decorated, follow_wrapped=False).parameters) == ["args"]


def test_values_that_the_code_refers_to() -> None:
    later: int
    here = 1

    def inner() -> tuple[int, int]:
        return here, later

    assert closed_over(inner) == {"here": 1}
    later = 2
    assert closed_over(inner) == {"here": 1, "later": 2}
    assert closed_over(function) == {}


# A module without the import: its names are evaluated late, and one exists for type checkers only.
LATE = """
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated
from microweb.typed import Depends, Json

if TYPE_CHECKING:
    from nowhere import Missing

def make_endpoint():
    @dataclass
    class Note:
        tags: list[Tag]

    @dataclass
    class Tag:
        name: str

    def count(note: Json[Note]) -> int:
        return len(note.tags)

    async def show(note: Json[Note], count: Annotated[int, Depends(count)]) -> Missing:
        return f"{count} of {note.tags[0].name}"

    return show
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated at once")
async def test_a_name_without_a_value_does_not_hide_the_other_annotations() -> None:
    namespace: dict[str, Any] = {"__name__": "late"}
    exec(compile(LATE, "late.py", "exec", dont_inherit=True), namespace)
    show = namespace["make_endpoint"]()
    assert annotations_of(show)["return"] == "Missing"
    app = App()
    app.post("/")(show)
    async with app.test_client() as client:
        response = await client.post("/", json={"tags": [{"name": "tea"}]})
    assert (response.status_code, response.text) == (200, "1 of tea")


def usual(a: int, b: str = "b", /, c: int = 1, *, d: object, e: float = 0.5) -> None: ...


def none() -> None: ...


def by_name(*, a: int, b: int = 2) -> None: ...


def by_position(a: int, b: int, /) -> None: ...


def local_names(a: int, *, b: int) -> int:
    c = a + b
    return c


def more(a: int, *args: int, b: int = 1, **others: int) -> None: ...


async def asynchronous(a: int = 3) -> None: ...


@functools.wraps(usual)
def wrapper(x: int, y: int = 1) -> None: ...


def described(a: int) -> None: ...


described.__signature__ = inspect.signature(usual)  # type: ignore[attr-defined]


class Callee:
    def __call__(self, a: int, b: int = 1) -> None: ...

    def method(self, a: int) -> None: ...


@pytest.mark.parametrize(
    "function",
    [
        *(usual, none, by_name, by_position, local_names, more, asynchronous, wrapper, described),
        *(Callee(), Callee().method, Callee.method, functools.partial(usual, 1), lambda x=1: x),
    ],
)
def test_parameters_are_those_of_the_signature(function: Any) -> None:
    expected = inspect.signature(function, follow_wrapped=False).parameters
    found = parameters_of(function)
    assert [(name, each.name, each.kind, each.default) for name, each in found.items()] == [
        (name, each.name, each.kind, each.default) for name, each in expected.items()
    ]
