"""Types to schemas: each type that JSON is read to, and what its reader accepts."""

from __future__ import annotations

import enum
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import NoneType
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from jsonschema import Draft202012Validator

from microweb.bodies.json_types import converter_for
from microweb.errors import ConfigurationError, UnprocessableContent
from microweb.openapi.schemas import REF, Schemas
from microweb.typed import Meta

T = TypeVar("T")


class Access(enum.Flag):
    READ = 1
    WRITE = 2
    ALL = 3


class Sparse(enum.IntFlag):
    A = 1
    B = 4


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Note:
    title: Annotated[str, Meta(min_length=1, name="Title", description="In one line")]
    color: Color = Color.RED
    due: date | None = None
    children: list[Note] = field(default_factory=list)
    seen: int = field(default=0, init=False)


@dataclass
class Page(Generic[T]):
    items: list[T]


class Point(NamedTuple):
    x: int
    y: int = 0


class Changes(TypedDict, total=False):
    title: str
    due: NotRequired[date | None]


@Meta(closed=True, description="Only a name")
@dataclass
class Closed:
    name: str


@attrs.define
class Item:
    name: str
    price: Decimal = Decimal("1.50")


class Struct(msgspec.Struct):
    name: str
    inner: list[Inner] = []


class Inner(msgspec.Struct):
    x: int


class Model(pydantic.BaseModel):
    name: str
    next: Model | None = None


def schema_and_components(kind: object) -> tuple[dict[str, Any], dict[str, Any]]:
    schemas = Schemas()
    return schemas.schema_of(kind), schemas.components


def validator(kind: object) -> Draft202012Validator:
    schema, components = schema_and_components(kind)
    whole = {**schema, "components": {"schemas": components}}
    Draft202012Validator.check_schema(whole)
    return Draft202012Validator(whole)


# Type -> values that its reader takes, and values that it refuses.
AGREED: list[tuple[object, list[Any], list[Any]]] = [
    (str, ["", "a"], [1, None]),
    (int, [0, 1.0, -(2**63), 2**63 - 1], [2**63, "1", 1.5, True]),
    (float, [1, 1.5], ["1", None]),
    (bool, [True], [1, "true"]),
    (NoneType, [None], [0]),
    (object, [1, "a", None, []], []),
    (dict, [{"a": 1}], [[]]),
    (list, [[1, "a"]], [{}]),
    (list[int], [[], [1]], [["a"], [None]]),
    (set[int], [[1, 1]], [["a"]]),
    (frozenset[str], [["a"]], [[1]]),
    (Sequence[int], [[1]], [["a"]]),
    (Mapping[str, int], [{"a": 1}], [{"a": "b"}]),
    (dict[str, list[int]], [{"a": [1]}], [{"a": 1}]),
    (tuple[int, str], [[1, "a"]], [[1], [1, "a", 2], ["a", 1]]),
    (tuple[int, ...], [[], [1, 2]], [["a"]]),
    (Literal["a", 1], ["a", 1], ["b", 2]),
    (Access, [0, 1, 3, 2.0], [4, -1, "1", True]),
    (Sparse, [0, 1, 4, 5], [2, 3, 8, -1]),
    (deque[int], [[1]], [["a"]]),
    (OrderedDict[str, int], [{"a": 1}], [{"a": "b"}]),
    (Literal["a", None], ["a", None], ["b"]),
    (int | str, [1, "a"], [None, []]),
    (int | None, [1, None], ["a"]),
    (list[int] | None, [[1], None], [["a"]]),
    (Color, ["red"], ["green"]),
    (Color | None, ["red", None], ["green"]),
    (datetime, ["2030-01-31T12:00:00Z"], [1]),
    (date, ["2030-01-31"], [1]),
    (time, ["12:00:00"], [1]),
    (timedelta, ["PT1H30M", "P1W", "-P1DT0.5S"], [1, "1h", "P1Y", "P2M"]),
    (UUID, ["01234567-89ab-4cde-8f01-23456789abcd"], [1]),
    (Decimal, ["9.90", 9.9, 1, "-1E-400"], [None, "a", "", ".5", "+1", "1E99999"]),
    (bytes, ["", "aGVsbG8=", "YQ=="], [1, "a", "\x95", "aGVsbG8", "a-b_"]),
    (Note, [{"Title": "a", "more": 1}, {"Title": "a", "children": [{"Title": "b"}]}], [{}]),
    (Note, [], [{"Title": ""}, {"title": "a"}, {"Title": "a", "children": [{}]}]),
    (Page[int], [{"items": [1]}], [{"items": ["a"]}]),
    (Page[Note], [{"items": [{"Title": "a"}]}], [{"items": [{}]}]),
    (Point, [[1], [1, 2]], [[], [1, 2, 3], ["a"]]),
    (Changes, [{}, {"due": None}, {"title": "a"}], [{"title": None}]),
    (Closed, [{"name": "a"}], [{"name": "a", "b": 1}]),
    (Item, [{"name": "a"}], [{}]),
    (Struct, [{"name": "a", "inner": [{"x": 1}]}], [{"name": "a", "inner": [{}]}]),
    (Model, [{"name": "a", "next": {"name": "b"}}], [{"name": "a", "next": {}}]),
    (Annotated[int, Meta(ge=1, lt=5)], [1, 4], [0, 5]),
    (Annotated[int | None, Meta(ge=1)], [1, None], [0]),
    (Annotated[int | str, Meta(ge=1)], [1, "a"], [0]),
    (Annotated[float, Meta(multiple_of=0.5)], [1.5], [1.2]),
    (Annotated[str, Meta(pattern="^a", max_length=3)], ["ab"], ["b", "aaaa"]),
    (Annotated[str, Meta(pattern="a")], ["a" * 1000], ["a" * 1001]),
    (Annotated[list[int], Meta(min_length=1, max_length=2)], [[1]], [[], [1, 2, 3]]),
    (Annotated[dict[str, int], Meta(max_length=1)], [{"a": 1}], [{"a": 1, "b": 2}]),
]


@pytest.mark.parametrize(("kind", "right", "wrong"), AGREED, ids=lambda value: str(value)[:40])
def test_a_schema_agrees_with_the_reader(kind: object, right: list[Any], wrong: list[Any]) -> None:
    check, convert = validator(kind), converter_for(kind)
    for value in right:
        convert(value)
        assert check.is_valid(value), value
    for value in wrong:
        with pytest.raises(UnprocessableContent):
            convert(value)
        assert not check.is_valid(value), value


def test_a_class_is_one_schema_by_the_names_on_the_wire() -> None:
    schema, components = schema_and_components(list[Note])
    assert schema == {"type": "array", "items": {"$ref": f"{REF}Note"}}
    assert sorted(components) == ["Color", "Note"]
    properties = components["Note"]["properties"]
    assert properties["Title"] == {
        "type": "string",
        "minLength": 1,
        "description": "In one line",
    }
    assert properties["color"] == {"$ref": f"{REF}Color", "default": "red"}
    assert properties["children"]["items"] == {"$ref": f"{REF}Note"}
    assert properties["seen"]["readOnly"] is True
    assert components["Note"]["required"] == ["Title"]


def test_no_default_is_null() -> None:
    _, components = schema_and_components(Note)
    assert "default" not in components["Note"]["properties"]["due"]


def test_a_closed_class_is_described() -> None:
    _, components = schema_and_components(Closed)
    assert components["Closed"]["additionalProperties"] is False
    assert components["Closed"]["description"] == "Only a name"


def test_parts_of_foreign_classes_are_schemas_of_the_document() -> None:
    schemas = Schemas()
    schemas.schema_of(Struct)
    schemas.schema_of(Model)
    assert sorted(schemas.components) == ["Inner", "Model", "Struct"]


def test_names_of_two_classes_do_not_clash() -> None:
    def local() -> type:
        @dataclass
        class Note:
            other: int

        Note.__module__ = "shop.orders"
        return Note

    schemas = Schemas()
    first, second = schemas.schema_of(Note), schemas.schema_of(local())
    assert (first, second) == ({"$ref": f"{REF}Note"}, {"$ref": f"{REF}orders_Note"})
    assert schemas.schema_of(Page[Note]) == {"$ref": f"{REF}Page_Note"}


def test_a_class_that_is_named_problem_is_not_that_of_errors() -> None:
    @dataclass
    class Problem:
        text: str

    schemas = Schemas()
    own = schemas.schema_of(Problem)
    assert own != schemas.problem
    assert schemas.components["Problem"]["required"] == ["status", "title"]


def test_an_example_of_ours_does_not_break_a_constraint() -> None:
    assert schema_and_components(int)[0]["examples"] == [1]
    for kind in (Annotated[int, Meta(ge=5)], Annotated[date, Meta(ge=date(2031, 1, 1))]):
        assert validator(kind).schema.get("examples", []) == []
    given = Annotated[int, Meta(ge=5, examples=(7,))]
    assert schema_and_components(given)[0]["examples"] == [7]


@pytest.mark.parametrize(
    "kind", [datetime, date, time, timedelta, UUID, Decimal, bytes], ids=lambda kind: kind.__name__
)
def test_the_examples_of_formatted_texts_are_read(kind: Any) -> None:
    schema, _ = schema_and_components(kind)
    for example in schema["examples"]:
        assert isinstance(converter_for(kind)(example), kind)


def test_a_type_that_json_has_not_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="expected a type that JSON has"):
        Schemas().schema_of(complex)
