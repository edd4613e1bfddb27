"""Writers of JSON, each alone. `json_writers` combines them."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from microweb.bodies.json_writers import writer_for
from microweb.bodies.writers import ANYTHING, Array, Object, Writer

NUMBERS = Writer("a number", lambda value: isinstance(value, int), lambda value: f"<{value}>")


@dataclass
class User:
    name: str
    age: int = 1


@dataclass
class Sole:
    name: str


@dataclass
class Empty:
    pass


def write(kind: Any, value: object) -> object:
    writer = writer_for(kind)
    assert writer is not None
    return writer(value)


def test_anything_is_written_as_it_is() -> None:
    value = object()
    assert ANYTHING.of(value) is value


class Number(int):
    """A number that is no plain int, so that its writer is asked."""


def test_items_and_members_are_converted_one_by_one() -> None:
    assert Array(NUMBERS).of([Number(1), Number(2)]) == ["<1>", "<2>"]
    assert Object(NUMBERS).of({"a": Number(1)}) == {"a": "<1>"}
    assert Array(NUMBERS).of("scalar") == Object(NUMBERS).of("scalar") == "scalar"
    for writer, wrong in ((Array(NUMBERS), {}), (Object(NUMBERS), [])):
        with pytest.raises(TypeError, match=r"expected a (list|dict) of a number as annotated"):
            writer.of(wrong)
    with pytest.raises(TypeError, match="expected a number as annotated, got User"):
        Array(NUMBERS).of([User("a")])


@pytest.mark.parametrize(
    ("kind", "value", "written"),
    [
        (Sole, Sole("a"), {"name": "a"}),
        (Empty, Empty(), {}),
        (User, User("a"), {"name": "a", "age": 1}),
        (User, SimpleNamespace(name="a", age=2, secret=3), {"name": "a", "age": 2}),
        (User, {"name": "a", "age": 2, "secret": 3}, {"name": "a", "age": 2}),
        (User | None, SimpleNamespace(name="a", age=2, secret=3), {"name": "a", "age": 2}),
        (list[User], [{"name": "a", "age": 2, "secret": 3}], [{"name": "a", "age": 2}]),
        (dict[str, Sole], {"x": SimpleNamespace(name="a", b=1)}, {"x": {"name": "a"}}),
    ],
)
def test_object_of_no_declared_class_is_read_by_the_declared_names(
    kind: Any, value: object, written: object
) -> None:
    assert write(kind, value) == written


@pytest.mark.parametrize("value", [SimpleNamespace(name="a"), {"name": "a"}, [1], (1,), {1}])
@pytest.mark.parametrize("kind", [User, User | None])
def test_object_without_a_declared_name_is_refused(kind: Any, value: object) -> None:
    with pytest.raises(TypeError, match="as annotated, got"):
        write(kind, value)


def test_union_of_two_classes_reads_no_other_class_by_names() -> None:
    with pytest.raises(TypeError, match=r"expected User \| Sole as annotated"):
        write(User | Sole, SimpleNamespace(name="a", age=2))
