"""JSON text of declared values: the same bytes as by the JSON form and the encoder."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar
from uuid import UUID

import pytest

from microweb.bodies.json import encode_json
from microweb.bodies.json_writers import writer_for
from microweb.typed import Meta

T = TypeVar("T")


class Colour(Enum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Word(StrEnum):
    A = 'a"'


class Text(str):
    __slots__ = ()


@dataclass
class Line:
    item: str
    amount: Annotated[int, Meta(name="count")]
    price: float | None = None


@dataclass
class Longer(Line):
    secret: str = "s"


@dataclass
class Other:
    text: str


@dataclass
class Nothing:
    pass


@dataclass
class Tree:
    name: str
    below: list[Tree] = field(default_factory=list)
    left: Tree | None = None


@dataclass
class Page(Generic[T]):
    items: list[T]


class Pair(NamedTuple):
    a: int
    line: Line


class Keys(TypedDict, total=False):
    a: int
    line: Line


@dataclass
class Everything:
    lines: list[Line]
    by_name: dict[str, Line]
    maybe: list[Line] | None
    either: Line | Other | None
    pages: Page[Line]
    pair: Pair
    keys: Keys
    tags: set[str]
    sequence: Sequence[Line]
    mapping: Mapping[str, int]
    any: Any
    colour: Colour


LINE = Line('te"a\n\u20ac\ud800', -3, 1e300)
SCALARS = [
    *(None, True, False, 0, -(2**70), 1.5, -0.0, 1e22, "", "\x00\x1f\x7f\u2028/\\", Text("t")),
    *(date(2024, 2, 29), datetime(2024, 2, 29, 1, tzinfo=UTC), time(1, 2, 3, 4)),
    *(timedelta(days=-1, seconds=2), Decimal("1.50"), UUID(int=7), b"\xff\x00"),
    *(Colour.RED, Number.ONE, Word.A),
]
EVERYTHING = Everything(
    [LINE, Longer("b", 1)],
    {'k"': LINE},
    [LINE],
    Other("o"),
    Page([LINE]),
    Pair(1, LINE),
    {"a": 1},
    {"t"},
    deque([LINE]),
    {"m": 1},
    {"n": [1, {"x": LINE}]},
    Colour.RED,
)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *((Line, Line(each, each, each)) for each in SCALARS),  # type: ignore[arg-type]
        (Line, LINE),
        (Line, Longer("a", 1)),
        (Line, {"item": "a", "amount": 1, "price": None}),
        (Line | Other, Longer("a", 1)),
        (Line | Other, Other("a")),
        (Line | None, None),
        (list[Line], [LINE, LINE]),
        (list[Line], (LINE,)),
        (list[Line], []),
        (list[Line] | None, [LINE]),
        (list[str], ["a"]),
        (dict[str, Line], {"a": LINE}),
        (dict[int, Line], {1: LINE}),
        (dict, {"a": [1]}),
        (Nothing, Nothing()),
        (Tree, Tree("a", [Tree("b"), Tree("c", [Tree("d")])], Tree("e"))),
        (Page[Line], Page([Longer("a", 1)])),
        (Everything, EVERYTHING),
    ],
)
def test_text_is_that_of_the_json_form(kind: Any, value: object) -> None:
    writer = writer_for(kind)
    assert writer is not None
    assert writer.encode(value, None) == encode_json(writer(value))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Line, 3.5j),
        (Line, [LINE]),
        (Line, Line("a", object())),  # type: ignore[arg-type]
        (list[Line], [LINE, object()]),
        (dict[str, Line], {("a",): LINE}),
        (Line | Other, object()),
    ],
)
def test_other_values_are_refused(kind: Any, value: object) -> None:
    writer = writer_for(kind)
    assert writer is not None
    with pytest.raises(TypeError):
        writer.encode(value, None)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_lacks_are_refused(number: float) -> None:
    writer = writer_for(Line)
    assert writer is not None
    with pytest.raises(ValueError, match="a number that JSON can hold, got"):
        writer.encode(Line("a", 1, number), None)


def test_a_circle_is_refused() -> None:
    tree = Tree("a")
    tree.below.append(tree)
    writer = writer_for(Tree)
    assert writer is not None
    with pytest.raises(ValueError, match="a circular reference"):
        writer.encode(tree, None)


def test_json_default_converts_members_of_other_classes() -> None:
    @dataclass
    class Holder:
        value: object

    writer = writer_for(Holder)
    assert writer is not None
    assert writer.encode(Holder(3j), str) == b'{"value":"3j"}'
    assert writer.encode(Holder(3j), lambda value: "x") == b'{"value":"x"}'
    with pytest.raises(TypeError):
        writer.encode(Holder(3j), None)
