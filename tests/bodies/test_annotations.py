"""Unions and qualifiers in annotations, and aliases of the statement `type`."""

from __future__ import annotations

import sys
from types import NoneType
from typing import Annotated, Any, ForwardRef, NewType, NotRequired, Optional, Required, Union

import pytest

from microweb.bodies.annotations import (
    alternatives_of,
    bare,
    expanded_alternatives_of,
    is_alias,
    qualifiers_of,
    value_of,
)

Id = NewType("Id", int)
OldId = NewType("OldId", Id)


def aliases(statements: str) -> dict[str, object]:
    """Return the aliases that statements define, which Python 3.11 can't parse."""
    if sys.version_info < (3, 12):
        pytest.skip("the statement `type` came with Python 3.12")
    names: dict[str, object] = {}
    exec(statements, names)
    return names


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (int, int),
        (list[int], list[int]),
        (None, NoneType),
        (Any, object),
        (OldId, int),
        (Annotated[int, "years"], int),
        (Annotated[Id, ["unhashable"]], int),
        (Required[Annotated[int, 1]], int),
        (NotRequired[Any], object),
        (ForwardRef("Later"), "Later"),
    ],
)
def test_wrappers_are_removed(kind: object, expected: object) -> None:
    assert bare(kind) == expected


def test_qualifiers_come_from_the_outside() -> None:
    assert list(qualifiers_of(Required[Annotated[int, 1]])) == [Required, Annotated]
    assert list(qualifiers_of(int)) == []


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (int, [int]),
        (int | str, [int, str]),
        (Union[str, int], [str, int]),  # noqa: UP007
        (Optional[Id], [int, NoneType]),  # noqa: UP045
        (Annotated[int | None, 1] | str, [int, NoneType, str]),
        (list[int | str], [list[int | str]]),
    ],
)
def test_unions_are_flattened_in_order(kind: object, expected: list[object]) -> None:
    assert list(alternatives_of(kind)) == expected


def test_an_alias_stays_until_it_is_expanded() -> None:
    names = aliases("type Id = int | str\ntype Ids = list[Id] | Id")
    assert is_alias(names["Id"])
    assert not is_alias(int | str)
    assert value_of(names["Id"]) == int | str
    assert list(alternatives_of(names["Ids"])) == [names["Ids"]]
    assert list(expanded_alternatives_of(names["Ids"])) == [list[names["Id"]], int, str]  # type: ignore[valid-type]


def test_an_alias_inside_itself_is_not_expanded_again() -> None:
    names = aliases("type Loop = Loop | int")
    assert list(expanded_alternatives_of(names["Loop"])) == [names["Loop"], int]
