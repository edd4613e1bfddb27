from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import KW_ONLY, InitVar, dataclass, field, make_dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Required,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.bodies.json import encode_json, parse_json
from microweb.bodies.json_types import convert, converter_for, reads_all
from microweb.errors import ConfigurationError, InvalidValue, MissingValue, UnprocessableContent
from microweb.typed import Meta

T = TypeVar("T")
UserId = NewType("UserId", int)


class Color(Enum):
    RED = "red"
    NUMBER = 1


@dataclass
class Item:
    name: str
    price: float


@dataclass
class Order:
    items: list[Item]
    note: str | None = None
    tags: list[str] = field(default_factory=list)


@dataclass
class Node:
    value: int
    children: list[Node] = field(default_factory=list)
    parent: Node | None = None


@dataclass
class Cat:
    kind: Literal["cat"]
    lives: int


@dataclass
class Dog:
    kind: Literal["dog"]
    breed: str


@dataclass
class Circle:
    radius: float


@dataclass
class Square:
    side: float


class Base(TypedDict, total=False):
    id: Required[int]
    nickname: str


class User(Base):
    name: str
    age: NotRequired[Annotated[int, "years"]]
    friend: NotRequired[User]


def convert_to(kind: Any, value: object) -> Any:
    return convert(value, kind)


def refusal_of(kind: Any, value: object) -> str:
    with pytest.raises(UnprocessableContent) as caught:
        convert(value, kind)
    assert caught.value.status == 422
    return caught.value.text


# --- scalars --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "converted"),
    [
        (str, "a", "a"),
        (int, 1, 1),
        (float, 1.5, 1.5),
        (float, 1, 1.0),
        (int, 1.0, 1),
        (bool, True, True),
        (None, None, None),
        (Any, {"a": [1]}, {"a": [1]}),
        (object, None, None),
        (UserId, 5, 5),
        (Annotated[int, "doc"], 5, 5),
        (Annotated[int, ["unhashable"]], 5, 5),
        (Color, "red", Color.RED),
        (Color, 1, Color.NUMBER),
        (Literal["a", 1, None], None, None),
        (Literal["a", 1], 1.0, 1),
        (Literal[True, 1], 1.0, 1),
        (Literal[True, 1], True, True),
        (Literal[1] | str, 1.0, 1),
        (Literal[Color.RED], "red", Color.RED),
        (datetime, "2024-02-29T12:30:00Z", datetime(2024, 2, 29, 12, 30, tzinfo=UTC)),
        (date, "2024-02-29", date(2024, 2, 29)),
        (time, "12:30", time(12, 30)),
        (UUID, "00000000-0000-0000-0000-00000000000A", UUID(int=10)),
        (Decimal, "1.10", Decimal("1.10")),
        (Decimal, 0.1, Decimal("0.1")),
        (Decimal, 3, Decimal(3)),
        (Decimal, "-1E+2", Decimal("-1E+2")),
    ],
)
def test_scalar_is_converted(kind: Any, value: object, converted: object) -> None:
    result = convert_to(kind, value)
    assert result == converted
    assert type(result) is type(converted)
    assert str(result) == str(converted)


@pytest.mark.parametrize(
    ("kind", "value", "detail"),
    [
        (str, 1, "#: expected a string, got 1"),
        (str, None, "#: expected a string, got null"),
        (int, True, "#: expected an integer, got true"),
        (int, 1.5, "#: expected an integer, got 1.5"),
        (int, 1e300, "#: expected an integer of 64 bits, got 1e+300"),
        (int | None, 1.5, "#: expected an integer, got 1.5"),
        (int, "1", '#: expected an integer, got "1"'),
        (int, 2**63, f"#: expected an integer of 64 bits, got {2**63}"),
        (int, 1e19, "#: expected an integer of 64 bits, got 1e+19"),
        (int, 1.5, "#: expected an integer, got 1.5"),
        (int, -(2**63) - 1, f"#: expected an integer of 64 bits, got {-(2**63) - 1}"),
        (float, True, "#: expected a number, got true"),
        (float, "x", '#: expected a number, got "x"'),
        (float, 10**400, f"#: expected a number that a float can hold, got 1{'0' * 79}"),
        (bool, 1, "#: expected a boolean, got 1"),
        (bool, "true", '#: expected a boolean, got "true"'),
        (None, False, "#: expected null, got false"),
        (UserId, "a", '#: expected an integer, got "a"'),
        (Color, True, '#: expected "red" or 1, got true'),
        (Color, "RED", '#: expected "red" or 1, got "RED"'),
        (Color, ["red"], '#: expected "red" or 1, got an array'),
        (Literal[1], True, "#: expected 1, got true"),
        (Literal[True], 1, "#: expected true, got 1"),
        (Literal[1], 1.5, "#: expected 1, got 1.5"),
        (Literal["a"], {}, '#: expected "a", got an object'),
        (datetime, "soon", '#: expected a date and time in ISO 8601, got "soon"'),
        (datetime, 5, "#: expected a date and time in ISO 8601, got 5"),
        (date, "2023-02-29", '#: expected a date in ISO 8601, got "2023-02-29"'),
        (date, "\ud800", r'#: expected a date in ISO 8601, got "\ud800"'),
        (time, "25:00", '#: expected a time in ISO 8601, got "25:00"'),
        (UUID, "{" + "0" * 32 + "}", f'#: expected a UUID, got "{{{"0" * 32}}}"'),
        (UUID, "1_0" + "0" * 29, f'#: expected a UUID, got "1_0{"0" * 29}"'),
        (Decimal, "NaN", '#: expected a decimal number, got "NaN"'),
        (Decimal, "1_0", '#: expected a decimal number, got "1_0"'),
        (Decimal, " 1", '#: expected a decimal number, got " 1"'),
        (Decimal, "٣", '#: expected a decimal number, got "٣"'),
        (Decimal, True, "#: expected a decimal number, got true"),
        (Decimal, "1e" + "9" * 30, f'#: expected a decimal number, got "1e{"9" * 30}"'),
        (
            Decimal,
            "1e999999",
            '#: expected a decimal number of at most 4300 digits, got "1e999999"',
        ),
        (str, ["a"], "#: expected a string, got an array"),
        (str, {"a": 1}, "#: expected a string, got an object"),
    ],
)
def test_another_shape_is_a_422_that_says_so(kind: Any, value: object, detail: str) -> None:
    assert refusal_of(kind, value) == detail


def test_what_was_sent_is_cut() -> None:
    assert refusal_of(int, "x" * 1000) == f'#: expected an integer, got "{"x" * 80}"'


# --- arrays and objects ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "converted"),
    [
        (dict, {"a": 1}, {"a": 1}),
        (list, [1, "a"], [1, "a"]),
        (tuple, [1, "a"], (1, "a")),
        (list[float], [1, 2.5], [1.0, 2.5]),
        (dict[str, Color], {"a": "red"}, {"a": Color.RED}),
        (dict[Annotated[str, 1], int], {"a": 1}, {"a": 1}),
        (tuple[int, ...], [1, 2, 3], (1, 2, 3)),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[()], [], ()),
        (list[list[date]], [[], ["2024-01-01"]], [[], [date(2024, 1, 1)]]),
    ],
)
def test_container_is_converted(kind: Any, value: object, converted: object) -> None:
    result = convert_to(kind, value)
    assert result == converted
    assert isinstance(result, type(converted))


@pytest.mark.parametrize(
    ("kind", "value", "detail"),
    [
        (dict, [], "#: expected an object, got an array"),
        (list, {}, "#: expected an array, got an object"),
        (tuple, "ab", '#: expected an array, got "ab"'),
        (list[int], "12", '#: expected an array, got "12"'),
        (list[int], [1, 2, "x"], '#/2: expected an integer, got "x"'),
        (list[list[int]], [[1], [2, None]], "#/1/1: expected an integer, got null"),
        (dict[str, int], {"a": 1, "b": []}, "#/b: expected an integer, got an array"),
        (dict[str, int], {"a b": "x"}, '#/a%20b: expected an integer, got "x"'),
        (dict[str, int], {'"\ud800': "x"}, r'#/%22%5Cud800: expected an integer, got "x"'),
        (dict[str, int], {"": "x"}, '#/: expected an integer, got "x"'),
        (dict[str, int], {" " * 99: 1.5}, f"#/{'%20' * 66}: expected an integer, got 1.5"),
        (dict[str, int], {"k" * 999: 1.5}, f"#/{'k' * 198}: expected an integer, got 1.5"),
        (dict[str, int], {"a/b~c%": 1.5}, "#/a~1b~0c%25: expected an integer, got 1.5"),
        (dict[str, int], {"größe": 1.5}, "#/gr%C3%B6%C3%9Fe: expected an integer, got 1.5"),
        (tuple[int, ...], [1, "x"], '#/1: expected an integer, got "x"'),
        (tuple[int, str], [1, 2], "#/1: expected a string, got 2"),
        (
            tuple[int, str],
            ["x", 2],
            '#/0: expected an integer, got "x"\n#/1: expected a string, got 2',
        ),
        (tuple[int, str], [1], "#: expected an array of length 2, got one of length 1"),
        (tuple[int, str], {}, "#: expected an array of length 2, got an object"),
        (tuple[()], [1], "#: expected an array of length 0, got one of length 1"),
    ],
)
def test_place_is_the_way_to_what_is_wrong(kind: Any, value: object, detail: str) -> None:
    assert refusal_of(kind, value) == detail


def test_a_missing_key_of_a_typed_dict_is_still_a_named_400() -> None:
    value = convert({"a": 1}, dict[str, int])
    with pytest.raises(MissingValue, match="'b'"):
        value["b"]


@dataclass
class Pair:
    first: int
    second: list[str]


def test_all_faults_are_named_at_once() -> None:
    value = [{"first": "x"}, {"first": 1, "second": ["a", 2, 3]}, {"second": []}, 4]
    assert refusal_of(list[Pair], value).splitlines() == [
        '#/0/first: expected an integer, got "x"',
        "#/0/second: missing",
        "#/1/second/1: expected a string, got 2",
        "#/1/second/2: expected a string, got 3",
        "#/2/first: missing",
        "#/3: expected an object, got 4",
    ]
    assert refusal_of(dict[str, int], {"a": "x", "b": 1, "c": None}).splitlines() == [
        '#/a: expected an integer, got "x"',
        "#/c: expected an integer, got null",
    ]


@pytest.mark.parametrize("value", [["x"] * 21, ["x"] * 100_000, [1, *["x"] * 50]])
def test_more_than_twenty_faults_are_not_named(value: list[object]) -> None:
    *first, last = refusal_of(list[int], value).splitlines()
    assert (len(first), last) == (20, "and more")


def test_twenty_faults_are_all_named() -> None:
    assert len(refusal_of(list[int], ["x"] * 20).splitlines()) == 20


# --- dataclasses ----------------------------------------------------------------------


def test_dataclass_is_made_with_its_defaults() -> None:
    order = convert({"items": [{"name": "tea", "price": 2}]}, Order)
    assert order == Order([Item("tea", 2.0)])


def test_default_factory_is_called_for_each() -> None:
    first, second = (convert({"items": []}, Order) for _ in range(2))
    assert first.tags is not second.tags


def test_unknown_keys_are_ignored() -> None:
    assert convert({"name": "tea", "price": 1.0, "admin": True}, Item) == Item("tea", 1.0)


@pytest.mark.parametrize(
    ("value", "pointer", "problem"),
    [
        ([], "#", "expected an object, got an array"),
        ({}, "#/items", "missing"),
        ({"items": None}, "#/items", "expected an array, got null"),
        ({"items": [{"name": "tea"}]}, "#/items/0/price", "missing"),
        (
            {"items": [{"name": "a", "price": 1}] * 2 + [{"name": "a", "price": "x"}]},
            "#/items/2/price",
            'expected a number, got "x"',
        ),
        ({"items": [], "note": 1}, "#/note", "expected a string or null, got 1"),
        ({"items": [], "tags": None}, "#/tags", "expected an array, got null"),
    ],
)
def test_pointer_is_a_member_of_the_problem(value: object, pointer: str, problem: str) -> None:
    with pytest.raises(UnprocessableContent) as caught:
        convert(value, Order)
    assert caught.value.detail == "1 fault in the body"
    assert caught.value.extra == {"errors": [{"in": "body", "pointer": pointer, "detail": problem}]}


@dataclass
class Account:
    kinds: ClassVar[list[str]] = []
    name: str
    secret: InitVar[str] = "none"
    _: KW_ONLY
    age: int
    initial: str = field(init=False)

    def __post_init__(self, secret: str) -> None:
        self.initial = self.name[0] + secret


def test_only_fields_of_init_are_read() -> None:
    value = {"name": "ann", "age": 5, "secret": "known", "initial": "x", "kinds": 1}
    account = convert(value, Account)
    assert (account.name, account.age, account.initial) == ("ann", 5, "anone")


@dataclass(frozen=True, slots=True)
class Range:
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low == 0:
            raise InvalidValue("low is 0")
        if self.low == 1:
            raise TypeError
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")


@pytest.mark.parametrize(
    ("low", "detail"), [(2, "#/0: low 2 is above high 1"), (1, "#/0: refused")]
)
def test_what_post_init_refuses_is_a_422_with_its_place(low: int, detail: str) -> None:
    assert refusal_of(list[Range], [{"low": low, "high": 1}]) == detail


def test_http_error_of_post_init_is_kept() -> None:
    with pytest.raises(InvalidValue, match="low is 0"):
        convert({"low": 0, "high": 1}, Range)


def test_another_error_of_post_init_is_kept() -> None:
    @dataclass
    class Broken:
        def __post_init__(self) -> None:
            raise LookupError("a bug")

    with pytest.raises(LookupError, match="a bug"):
        convert({}, Broken)


def test_recursive_dataclass_is_converted() -> None:
    value = {"value": 1, "children": [{"value": 2, "parent": {"value": 3}}]}
    assert convert(value, Node) == Node(1, [Node(2, parent=Node(3))])
    assert refusal_of(Node, {"value": 1, "children": [{"value": 2}, {}]}) == (
        "#/children/1/value: missing"
    )


def test_recursive_dataclass_in_a_function_is_converted() -> None:
    @dataclass
    class Local:
        @dataclass
        class Inner:
            owner: Local | None = None

        next: Local | None = None
        inner: Inner | None = None

    assert convert({"next": {"inner": {}}}, Local) == Local(Local(inner=Local.Inner()))


TOO_DEEP = "#: expected at most 100 levels of arrays and objects, got more"


def test_a_hundred_levels_of_a_recursive_type_are_read() -> None:
    value: dict[str, object] = {"value": 1}
    for _ in range(49):
        value = {"value": 1, "children": [value]}
    assert convert(value, Node).value == 1
    deeper: dict[str, object] = {"value": 1, "parent": value}
    assert convert(deeper, Node).value == 1
    assert refusal_of(Node, {"value": 1, "parent": deeper}) == TOO_DEEP


def test_nesting_that_exhausts_the_stack_is_a_422() -> None:
    value: dict[str, object] = {"value": 1}
    for _ in range(100_000):
        value = {"value": 1, "children": [value]}
    assert refusal_of(Node, value) == TOO_DEEP


# --- other classes --------------------------------------------------------------------


@attrs.define
class Point:
    x: int
    _y: int = 0
    tags: list[str] = attrs.field(factory=list)
    area: int = attrs.field(init=False, default=5)


class Span(NamedTuple):
    begin: int
    end: int
    label: str = "-"


class Tree(NamedTuple):
    name: str
    inner: list[Tree] | None = None


@dataclass
class Paged(Generic[T]):
    items: list[T]
    next: Paged[T] | None = None


@dataclass
class IntPage(Paged[int]):
    total: int = 0


@Meta(closed=True)
@dataclass
class Draft:
    title: Annotated[str, Meta(name="Title")]
    size: int = 0


@Meta(closed=True)
class Patch(TypedDict, total=False):
    price: int | None
    note: Annotated[str, Meta(name="Note")]


@pytest.mark.parametrize(
    ("kind", "value", "converted"),
    [
        (bytes, "AAH/", b"\x00\x01\xff"),
        (timedelta, "P1DT2H", timedelta(days=1, hours=2)),
        (set[int], [1, 1, 2], {1, 2}),
        (frozenset[str], ["a", "a"], frozenset("a")),
        (set, ["a", "a"], {"a"}),
        (AbstractSet[int], [1], {1}),
        (Sequence[int], [1, 2], [1, 2]),
        (Mapping[str, int], {"a": 1}, {"a": 1}),
        (Point, {"x": 1, "y": 2, "area": 9}, Point(1, 2)),
        (Span, [1, 2], Span(1, 2)),
        (Span, [1, 2, "a"], Span(1, 2, "a")),
        (Tree, ["a", [["b"]]], Tree("a", [Tree("b")])),
        (Paged[int], {"items": [1], "next": {"items": [2]}}, Paged([1], Paged([2]))),
        (Paged[Span], {"items": [[1, 2]]}, Paged([Span(1, 2)])),
        (IntPage, {"items": [1], "total": 3}, IntPage([1], None, 3)),
        (Draft, {"Title": "a"}, Draft("a")),
        (Patch, {"price": None}, {"price": None}),
        (Patch, {"Note": "a"}, {"note": "a"}),
    ],
)
def test_class_is_made(kind: Any, value: object, converted: object) -> None:
    result = convert_to(kind, value)
    assert result == converted
    assert isinstance(result, type(converted))


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (bytes, "é", '#: expected bytes in base64, got "é"'),
        (bytes, "AAH", '#: expected bytes in base64, got "AAH"'),
        (bytes, "AA H/", '#: expected bytes in base64, got "AA H/"'),
        (timedelta, "1 day", '#: expected a duration in ISO 8601, got "1 day"'),
        (set[int], ["a"], '#/0: expected an integer, got "a"'),
        (set, [[]], "#: expected items that are no arrays or objects"),
        (Span, [1], "#: expected an array of length 2 to 3, got one of length 1"),
        (Span, ["a", 2, 3], '#/0: expected an integer, got "a"\n#/2: expected a string, got 3'),
        (Point, {"_y": 1}, "#/x: missing"),
        (Paged[int], {"items": ["a"]}, '#/items/0: expected an integer, got "a"'),
        (
            Draft,
            {"title": "a", "size": "b"},
            '#/Title: missing\n#/size: expected an integer, got "b"\n#/title: expected no such key',
        ),
        (
            Draft,
            {"Title": "a", "b": 1, "a": 2},
            "#/a: expected no such key\n#/b: expected no such key",
        ),
        (Patch, {"price": "a"}, '#/price: expected an integer or null, got "a"'),
        (Patch, {"prize": 1}, "#/prize: expected no such key"),
    ],
)
def test_another_value_for_a_class_is_a_422(kind: Any, value: object, text: str) -> None:
    assert refusal_of(kind, value) == text


def test_patch_tells_an_absent_key_from_null() -> None:
    changes: Patch = convert({}, Patch)
    assert "price" not in changes
    assert convert({"price": None}, Patch)["price"] is None


def test_two_members_with_one_key_are_a_configuration_error() -> None:
    @dataclass
    class Twice:
        a: int
        b: Annotated[int, Meta(name="a")]

    with pytest.raises(ConfigurationError, match="Twice: two members have the key 'a'"):
        converter_for(Twice)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the statement `type` is of Python 3.12")
def test_aliases_of_the_statement_type() -> None:
    scope: dict[str, Any] = {}
    exec("type Json = dict[str, Json] | list[Json] | str\ntype Pair[X] = tuple[X, X]", scope)
    assert convert_to(scope["Json"], {"a": ["b"]}) == {"a": ["b"]}
    assert refusal_of(scope["Json"], {"a": [1]}).startswith("#/a/0: expected an object or")
    assert convert_to(scope["Pair"][int], [1, 2]) == (1, 2)
    assert convert_to(scope["Json"] | None, ["a"]) == ["a"]
    deep: object = "a"
    for _ in range(500):
        deep = [deep]
    assert refusal_of(scope["Json"], deep) == TOO_DEEP


# --- TypedDicts -----------------------------------------------------------------------


def test_typed_dict_has_only_the_keys_that_it_names() -> None:
    value = {"id": 1, "name": "ann", "friend": {"id": 2, "name": "bob", "age": 5}, "admin": True}
    assert convert(value, User) == {
        "id": 1,
        "name": "ann",
        "friend": {"id": 2, "name": "bob", "age": 5},
    }


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        ({"name": "ann"}, "#/id: missing"),
        ({"id": 1}, "#/name: missing"),
        ({"id": 1, "name": "a", "nickname": None}, "#/nickname: expected a string, got null"),
        ({"id": 1, "name": "a", "friend": {"id": 2}}, "#/friend/name: missing"),
        ({"id": 1, "name": "a", "age": "x"}, '#/age: expected an integer, got "x"'),
        (1, "#: expected an object, got 1"),
    ],
)
def test_typed_dict_is_checked(value: object, detail: str) -> None:
    assert refusal_of(User, value) == detail


def test_key_of_a_typed_dict_may_be_no_identifier() -> None:
    Odd = TypedDict("Odd", {"x-y": int})
    assert convert({"x-y": 1}, Odd) == {"x-y": 1}
    assert refusal_of(Odd, {}) == "#/x-y: missing"


# --- unions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "converted"),
    [
        (int | None, None, None),
        (Optional[int], 5, 5),  # noqa: UP045
        (int | float, 1, 1),
        (int | float, 1.0, 1.0),
        (int | None, 1.0, 1),
        (int | str, -2.0, -2),
        (float | int, 1, 1.0),
        (str | date, "2024-01-01", "2024-01-01"),
        (date | str, "2024-01-01", date(2024, 1, 1)),
        (date | str, "soon", "soon"),
        (list[float | int], [1], [1.0]),
        (list[int | float], [1], [1]),
        (int | Any, "a", "a"),
        (Annotated[int | None, 1] | str, None, None),
        (str | list[str], ["a"], ["a"]),
        (str | dict[str, int] | list[int], {"a": 1}, {"a": 1}),
        (tuple[int, int] | tuple[int, int, int], [1, 2, 3], (1, 2, 3)),
        (tuple[int, int] | list[str], ["a"], ["a"]),
        (Cat | Dog, {"kind": "dog", "breed": "pug"}, Dog("dog", "pug")),
        (Circle | Square | None, {"side": 1}, Square(1.0)),
        (Square | dict[str, int], {"width": 1}, {"width": 1}),
    ],
)
def test_union_takes_the_first_alternative_that_fits(
    kind: Any, value: object, converted: object
) -> None:
    result = convert_to(kind, value)
    assert result == converted
    assert repr(result) == repr(converted)


@pytest.mark.parametrize(
    ("kind", "value", "detail"),
    [
        (int | None, "x", '#: expected an integer or null, got "x"'),
        (int | str | None, [], "#: expected an integer or a string or null, got an array"),
        (Item | None, {"name": "a"}, "#/price: missing"),
        (Item | str, 5, "#: expected an object or a string, got 5"),
        (list[int] | None, ["x"], '#/0: expected an integer, got "x"'),
        (list[int] | None, {}, "#: expected an array or null, got an object"),
        (Cat | Dog, {"kind": "dog"}, "#/breed: missing"),
        (Cat | Dog, {"kind": "cat", "lives": "x"}, '#/lives: expected an integer, got "x"'),
        (Cat | Dog, {"kind": "cow"}, '#/kind: expected "cat" or "dog", got "cow"'),
        (Cat | Dog, {}, "#: expected an object, got an object of another shape"),
        (Circle | Square, {}, "#: expected an object, got an object of another shape"),
        (
            tuple[int, int] | tuple[int],
            [],
            "#: expected an array of length 2 or an array of length 1, got an array of "
            "another shape",
        ),
    ],
)
def test_union_says_what_is_wrong_with_the_one_that_fits(
    kind: Any, value: object, detail: str
) -> None:
    assert refusal_of(kind, value) == detail


@dataclass
class Left:
    child: Left | Right | None = None
    leaf: int = 0


@dataclass
class Right:
    child: Left | Right | None = None
    leaf: int = 0


def test_union_of_classes_that_hold_each_other_takes_linear_time() -> None:
    value: dict[str, object] = {"leaf": "x"}
    for _ in range(60):  # a trial of each alternative would take 2 ** 60 steps
        value = {"child": value}
    assert refusal_of(Left | Right, value).endswith(': expected an integer, got "x"')


@pytest.mark.parametrize("kind", [list[int] | list[str], dict[str, int] | Item])
def test_union_that_json_cannot_tell_apart_is_refused(kind: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"alternatives that JSON can distinguish.*: put the union inside"
    ):
        converter_for(kind)


# --- types ----------------------------------------------------------------------------


class Unusable(Enum):
    PAIR = (1, 2)


@dataclass
class Page(Generic[T]):
    items: list[T]


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (complex, "read from JSON, got complex: use dict, list"),
        (set[list[int]], r"a set can't hold list\[int\], which has no hash: use a list"),
        (dict[int, str], r"expected str as the keys of an object, got dict\[int, str\]: read"),
        (bytearray | None, "read from JSON, got bytearray: use"),
        ("Item", "read from JSON, got Item: use"),
        (Page, r"Page.items: expected a type for ~T: name it, as in Page\[int\]"),
        (Unusable, r"as the values of .*Unusable.*, got \(1, 2\)"),
        (Literal[b"a"], r"as the values of .*, got b'a'"),
    ],
)
def test_unknown_type_is_named_with_the_remedy(kind: Any, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        converter_for(kind)


def test_annotation_that_names_nothing_is_a_configuration_error() -> None:
    @dataclass
    class Lost:
        other: Elsewhere  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(
        ConfigurationError, match=r"an annotation of .*Lost can't be .*'Elsewhere' is not"
    ):
        converter_for(Lost)


def test_init_var_without_a_default_is_a_configuration_error() -> None:
    @dataclass
    class Locked:
        name: str
        key: InitVar[str]

    with pytest.raises(
        ConfigurationError, match=r"Locked can't be constructed from its fields .*'key'"
    ):
        converter_for(Locked)


def test_fields_that_init_does_not_take_are_a_configuration_error() -> None:
    @dataclass(init=False)
    class Own:
        name: str

        def __init__(self) -> None:
            self.name = "own"

    with pytest.raises(
        ConfigurationError, match=r"Own can't be constructed from its fields .*'name'"
    ):
        converter_for(Own)


def test_converter_is_built_once() -> None:
    assert converter_for(Order) is converter_for(Order)
    assert converter_for(list[Item]) is converter_for(list[Item])


def test_order_of_a_union_is_not_lost_in_the_cache() -> None:
    assert repr(convert_to(Union[int, float], 1)) == "1"  # noqa: UP007
    assert repr(convert_to(Union[float, int], 1)) == "1.0"  # noqa: UP007


@dataclass
class Everything:
    text: str
    number: float
    count: int
    flag: bool
    moment: datetime
    day: date
    hour: time
    uuid: UUID
    price: Decimal
    color: Color
    item: Item
    pair: tuple[int, str]
    prices: dict[str, Decimal]
    maybe: Item | str | None
    nodes: list[Node]


floats = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(2**63), 2**63 - 1)
items = st.builds(Item, st.text(), floats)
nodes = st.recursive(
    st.builds(Node, integers),
    lambda inner: st.builds(Node, integers, st.lists(inner, max_size=3), st.none() | inner),
    max_leaves=5,
)
decimals = st.decimals(allow_nan=False, allow_infinity=False)
everything = st.builds(
    Everything,
    text=st.text(),
    count=integers,
    pair=st.tuples(integers, st.text()),
    number=floats,
    prices=st.dictionaries(st.text(), decimals),
    price=decimals,
    item=items,
    maybe=st.none() | items | st.text(),
    nodes=st.lists(nodes, max_size=3),
)


@given(everything)
def test_what_is_written_is_read_again(value: Everything) -> None:
    assert convert(parse_json(encode_json(value)), Everything) == value


def test_types_are_those_of_the_annotations() -> None:
    item: Item = convert({"name": "a", "price": 1}, Item)
    prices: dict[str, float] = convert({"a": 1}, dict[str, float])
    user: User = convert({"id": 1, "name": "a"}, User)
    assert (item.price, prices["a"], user["id"]) == (1.0, 1.0, 1)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (float | int, 1, 1.0),
        (int | float, 1, 1),
        (int | float, 1.5, 1.5),
        (UUID | str, f"{UUID(int=1)}", UUID(int=1)),
        (str | UUID, f"{UUID(int=1)}", f"{UUID(int=1)}"),
        (Annotated[str, Meta(max_length=1)] | None, None, None),
        (Annotated[str, Meta(max_length=1)] | None, "a", "a"),
    ],
)
def test_a_member_reads_a_union_as_it_is_read_alone(
    kind: Any, value: object, expected: object
) -> None:
    holder: Any = make_dataclass("Holder", [("held", kind)])
    read = convert({"held": value}, holder).held
    assert (type(read), read) == (type(expected), expected)
    assert (type(convert(value, kind)), convert(value, kind)) == (type(expected), expected)


@pytest.mark.parametrize("kind", [object, dict, list, set, tuple, dict[str, Any], list[list]])  # type: ignore[type-arg]
def test_objects_that_are_kept_are_json_objects(kind: Any) -> None:
    holder: Any = make_dataclass("Holder", [("held", kind | None)])
    assert not reads_all(kind)
    assert not reads_all(list[holder])


@pytest.mark.parametrize("kind", [int, list[str], dict[str, int], tuple[int, str], date | None])
def test_objects_that_are_all_read_may_be_dicts(kind: Any) -> None:
    holder: Any = make_dataclass("Holder", [("held", kind)])
    assert reads_all(kind)
    assert reads_all(list[holder])
