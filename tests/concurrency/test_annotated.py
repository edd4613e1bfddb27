"""Annotations and parameters of functions, also with names that exist for type checkers only."""

from __future__ import annotations

import sys
from functools import wraps
from typing import Any

import pytest

from microweb import App
from microweb.concurrency.annotated import annotations_of, closed_over, signature_of


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
