"""Whether a value of one type may be a value of another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NewType, Protocol, TypedDict, TypeVar

import pytest

from microweb.endpoints.type_matches import is_given_for

T = TypeVar("T")
Name = NewType("Name", str)


class Base: ...


class Derived(Base): ...


class Reader(Protocol):
    def read(self) -> bytes: ...


class Options(TypedDict):
    a: int


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (int, int),
        (Derived, Base),
        (int, int | None),
        (None, int | None),
        (int, float),
        (bool, int),
        (int, object),
        (object, int),
        (Any, int),
        (T, int),
        ("Unknown", int),
        (Base, Reader),
        (dict, Options),
        (Options, dict),
        (Name, str),
        (Annotated[int, "any"], int),
        (list[int], list[int]),
        (list[Any], list[int]),
        (list[int], list),
        (list[int], Sequence[int]),
        (dict[str, int], Mapping[str, int]),
        (tuple[int, ...], tuple[int, ...]),
        (Literal["a"], str),
        (str, Literal["a"]),
        (Callable[[int], int], Callable[[int], int]),
        (Derived | int, Base | int | None),
    ],
)
def test_types_that_match(given: object, expected: object) -> None:
    assert is_given_for(given, expected)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (str, int),
        (Base, Derived),
        (int | None, int),
        (None, int),
        (int, None),
        (float, int),
        (list[str], list[int]),
        (dict[str, str], dict[str, int]),
        (set[int], list[int]),
        (Literal["a"], int),
        (str, Literal[1]),
        (int | str, int | None),
    ],
)
def test_types_that_do_not_match(given: object, expected: object) -> None:
    assert not is_given_for(given, expected)
