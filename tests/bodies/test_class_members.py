"""Members of classes: the one list for readers, writers and documents."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import MISSING, dataclass, field
from typing import Annotated, Generic, NamedTuple, NotRequired, TypedDict, TypeVar

import attrs
import pytest

from microweb.bodies.class_members import (
    Member,
    has_members,
    is_closed,
    keys_of,
    members_of,
    substituted,
)
from microweb.errors import ConfigurationError
from microweb.typed import Meta

T = TypeVar("T")
Title = Annotated[str, Meta(name="Title")]


@dataclass
class Note(Generic[T]):
    title: Title
    items: list[T]
    size: int = 3
    tags: list[str] = field(default_factory=list)
    made: int = field(init=False, default=0)


@attrs.define
class Point:
    _x: int
    y: int = 2
    z: list[int] = attrs.field(factory=list)


class Changes(TypedDict, total=False):
    title: Title
    size: NotRequired[int]


class Span(NamedTuple):
    begin: int
    end: int = 9


def test_members_of_a_generic_dataclass() -> None:
    assert members_of(Note[int]) == [
        Member("title", "title", "Title", Title, True),
        Member("items", "items", "items", list[int], True),
        Member("size", "size", "size", int, False, 3),
        Member("tags", "tags", "tags", list[str], False),
        Member("made", None, "made", int, False, 0),
    ]


def test_members_of_an_attrs_class() -> None:
    assert members_of(Point) == [
        Member("_x", "x", "x", int, True),
        Member("y", "y", "y", int, False, 2),
        Member("z", "z", "z", list[int], False),
    ]


def test_members_of_a_typed_dict_and_a_named_tuple() -> None:
    assert members_of(Changes) == [
        Member("title", "title", "Title", Title, False),
        Member("size", "size", "size", NotRequired[int], False),
    ]
    assert members_of(Span) == [
        Member("begin", "begin", "begin", int, True),
        Member("end", "end", "end", int, False, 9),
    ]
    untyped = namedtuple("untyped", ["a"])
    assert members_of(untyped) == [Member("a", "a", "a", object, True)]


def test_annotation_that_names_nothing() -> None:
    @dataclass
    class Lost:
        other: Elsewhere  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ConfigurationError, match=r"an annotation of .*Lost can't be resolved"):
        members_of(Lost)
    assert keys_of(Lost) == (("other", "other"),)


def test_keys_are_the_names_on_the_wire() -> None:
    assert keys_of(Note)[:2] == (("title", "Title"), ("items", "items"))
    assert keys_of(Point) == (("_x", "x"), ("y", "y"), ("z", "z"))
    assert members_of(Point)[0].default is MISSING


def test_closed_is_not_inherited() -> None:
    @Meta(closed=True)
    class Closed:
        """Has no other keys."""

    class Open(Closed):
        """May have others."""

    assert (is_closed(Closed), is_closed(Open), is_closed(Note)) == (True, False, False)


def test_which_classes_have_members() -> None:
    assert [has_members(each) for each in (Note, Point, Changes)] == [True] * 3
    assert [has_members(each) for each in (Span, int, "Note", list[int])] == [False] * 4


def test_types_stand_in_place_of_type_variables() -> None:
    assert substituted(dict[str, T | None], {T: int}) == dict[str, int | None]
    assert substituted(list[int], {T: int}) == list[int]
    assert substituted(T, {}) is T
