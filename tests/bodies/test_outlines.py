"""The members of an object: the function that reads them, and which objects fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from microweb.bodies.json_containers import JSONObject
from microweb.bodies.json_readers import PLAIN, Reader, container, one_of
from microweb.bodies.mismatches import Mismatch
from microweb.bodies.outlines import Outline
from microweb.errors import MissingValue


def refusals_of(convert: Callable[[Any], object], value: object) -> list[str]:
    """Return the place and the problem of each mismatch."""
    mismatch = convert(value)
    assert isinstance(mismatch, Mismatch)
    return [f"{each.name}: {each.detail}" for each in mismatch.faults()]


def outline_of(*members: tuple[str, Reader, bool], is_closed: bool = False) -> Outline:
    outline = Outline(is_closed=is_closed)
    for member in members:
        outline.add(member[0], *member)
    return outline


PERSON = outline_of(("name", PLAIN[str], True), ("age", PLAIN[int], False), ("x", PLAIN[int], True))


def test_members_alone_are_read() -> None:
    read = PERSON.reader(None)
    assert read({"name": "ada", "x": 1, "other": 1}) == {"name": "ada", "x": 1}
    assert read(JSONObject(name="ada", age=36, x=1)) == {"name": "ada", "age": 36, "x": 1}
    assert type(read({"name": "ada", "x": 1})) is JSONObject
    assert outline_of().reader(None)({"a": 1}) == {}


@pytest.mark.parametrize("make", [dict, JSONObject])
def test_all_mismatches_are_found(make: type) -> None:
    for cls in (None, SimpleNamespace):
        read = PERSON.reader(cls)
        assert refusals_of(read, make(age=36)) == ["#/name: missing", "#/x: missing"]
        assert refusals_of(read, make(name=1, age="a", x="b")) == [
            "#/name: expected a string, got 1",
            '#/age: expected an integer, got "a"',
            '#/x: expected an integer, got "b"',
        ]
        assert refusals_of(read, make(name="a")) == ["#/x: missing"]
        assert refusals_of(read, [1]) == ["#: expected an object, got an array"]


def test_a_closed_outline_refuses_other_keys() -> None:
    read = outline_of(("a", PLAIN[int], True), ("b", PLAIN[int], False), is_closed=True).reader(
        None
    )
    assert read({"a": 1, "b": 2}) == {"a": 1, "b": 2}
    assert refusals_of(read, {"a": 1, "c": 2}) == ["#/c: expected no such key"]
    assert refusals_of(read, {"a": "x", "c": 2, "d": 3})[0] == '#/a: expected an integer, got "x"'
    assert len(refusals_of(read, {"a": "x", "c": 2, "d": 3})) == 3


@dataclass
class Point:
    x: int
    y: int = 7

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("expected x of at least 0")


def test_an_object_of_the_class_is_made() -> None:
    read = outline_of(("x", PLAIN[int], True), ("y", PLAIN[int], False)).reader(Point)
    assert read({"x": 1}) == Point(1, 7)
    assert read({"x": 1, "y": 2}) == Point(1, 2)
    assert refusals_of(read, {"x": -1}) == ["#: expected x of at least 0"]


def test_names_that_are_no_identifiers_are_arguments_too() -> None:
    def make(**named: object) -> object:
        return named

    names = ("class", "a b", "x); y(", "others", "at", "value")
    read = outline_of(*((name, PLAIN[int], True) for name in names)).reader(make)
    assert read({name: 1 for name in names}) == {name: 1 for name in names}


def test_an_error_of_a_member_is_not_a_missing_key() -> None:
    def fail(value: object) -> object:
        raise MissingValue("expected another thing")

    read = outline_of(("a", Reader("a thing", fail), True)).reader(None)
    with pytest.raises(MissingValue, match="another thing"):
        read({"a": 1})


def test_outline_may_hold_itself() -> None:
    outline = Outline()
    built: list[Callable[[object], object]] = []
    inside = container(dict, "an object", lambda value: built[0](value))
    outline.add("next", "next", inside, False)
    built.append(outline.reader(None))
    assert built[0]({"next": {"next": {}}}) == {"next": {"next": {}}}
    assert refusals_of(built[0], {"next": {"next": 5}}) == [
        "#/next/next: expected an object, got 5"
    ]


def test_object_fits_by_its_keys_and_its_tags() -> None:
    outline = outline_of(("kind", one_of([("cat", "cat")]), True), ("lives", PLAIN[int], True))
    assert outline.tags.keys() == {"kind"}
    assert outline.fits({"kind": "cat", "lives": "x"})
    assert not outline.fits({"kind": "dog", "lives": 1})
    assert not outline.fits({"kind": "cat"})


def test_classes_are_called_as_their_constructor_takes_them() -> None:
    class Reversed:
        def __init__(self, y: int, x: int = 5) -> None:
            self.x, self.y = x, y

    class Keywords:
        def __init__(self, *, x: int, y: int = 7) -> None:
            self.x, self.y = x, y

    class Created(Point):
        def __new__(cls, **named: int) -> Created:
            return super().__new__(cls)

    for cls in (Point, Keywords, Created):
        read = outline_of(("x", PLAIN[int], True), ("y", PLAIN[int], False)).reader(cls)
        assert [vars(read({"x": 1})), vars(read({"x": 1, "y": 2}))] == [
            {"x": 1, "y": 7},
            {"x": 1, "y": 2},
        ]
    read = outline_of(("x", PLAIN[int], False), ("y", PLAIN[int], True)).reader(Reversed)
    assert [vars(read({"y": 1})), vars(read({"x": 1, "y": 2}))] == [
        {"x": 5, "y": 1},
        {"x": 1, "y": 2},
    ]
