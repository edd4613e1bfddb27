"""Classes of pydantic and msgspec, and constraints of these and of annotated_types."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated, Any, Literal

import annotated_types as at
import msgspec
import pydantic
import pytest
from support.endpoints import get
from support.processes import ENVIRONMENT

from microweb import App
from microweb.bodies.json import encode_json
from microweb.bodies.json_types import convert
from microweb.bodies.json_writers import writer_for
from microweb.errors import ConfigurationError, UnprocessableContent
from microweb.typed import Json


class Item(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=1)
    price: float = pydantic.Field(alias="Price", ge=0)


class Order(pydantic.BaseModel):
    items: list[Item]


class SecretItem(Item):
    secret: str = "hidden"


class Point(msgspec.Struct):
    x: int
    y: int = 0


class Path(msgspec.Struct, rename="pascal"):
    points: list[Point]


class SecretPoint(Point):
    secret: str = "hidden"


class Tagged(msgspec.Struct, tag="t"):
    x: int


def convert_to(kind: Any, value: object) -> Any:
    return convert(value, kind)


def refusal_of(kind: Any, value: object) -> str:
    with pytest.raises(UnprocessableContent) as caught:
        convert(value, kind)
    return caught.value.text


def written(kind: object, value: object) -> bytes:
    write = writer_for(kind)
    return encode_json(value if write is None else write(value))


def test_model_is_read_by_pydantic() -> None:
    order = convert_to(list[Order], [{"items": [{"name": "tea", "Price": 2}]}])[0]
    assert order == Order(items=[Item(name="tea", Price=2)])
    text = refusal_of(list[Order], [{"items": [{"name": "", "Price": "x"}]}])
    first, second = text.splitlines()
    assert first.startswith("#/0/items/0/name: string should have at least 1 character")
    assert second.startswith("#/0/items/0/Price: input should be a valid number")


def test_struct_is_read_by_msgspec() -> None:
    assert convert_to(Path, {"Points": [{"x": 1}]}) == Path([Point(1)])
    assert convert_to(Point | None, None) is None
    assert refusal_of(dict[str, Path], {"a": {"Points": [{"x": "b"}]}}) == (
        "#/a/Points/0/x: expected `int`, got `str`"
    )
    assert refusal_of(Path, {}) == "#: object missing required field `Points`"


@pytest.mark.parametrize(
    ("kind", "value", "sent"),
    [
        (Item, SecretItem(name="a", Price=1), b'{"name":"a","Price":1.0}'),
        (object, Item(name="a", Price=1), b'{"name":"a","Price":1.0}'),
        (list[Item], [SecretItem(name="a", Price=1)], b'[{"name":"a","Price":1.0}]'),
        (
            Order,
            Order(items=[SecretItem(name="a", Price=1)]),
            b'{"items":[{"name":"a","Price":1.0}]}',
        ),
        (Point, SecretPoint(1), b'{"x":1,"y":0}'),
        (Path, Path([SecretPoint(1)]), b'{"Points":[{"x":1,"y":0}]}'),
        (Point | None, SecretPoint(1), b'{"x":1,"y":0}'),
        (object, Point(1), b'{"x":1,"y":0}'),
        (Tagged, Tagged(1), b'{"type":"t","x":1}'),
    ],
)
def test_only_declared_fields_are_written(kind: object, value: object, sent: bytes) -> None:
    assert written(kind, value) == sent


@pytest.mark.parametrize("kind", [Item, Point, str])
@pytest.mark.parametrize("value", [[1], {1: 2}, Tagged(1)])
def test_another_value_is_refused(kind: object, value: object) -> None:
    with pytest.raises(TypeError, match="as annotated"):
        written(kind, value)


async def test_endpoint_takes_and_returns_them() -> None:
    app = App()

    @app.post("/")
    async def create(item: Json[Item]) -> tuple[Point, Literal[201]]:
        return Point(int(item.price)), 201

    async with app.test_client() as client:
        response = await client.post("/", json={"name": "a", "Price": 3})
        assert (response.status_code, response.content) == (201, b'{"x":3,"y":0}')
        response = await client.post("/", json={"name": "a"})
        assert response.json()["errors"] == [
            {"in": "body", "pointer": "#/Price", "detail": "field required"}
        ]


async def test_endpoint_without_annotation_returns_a_model() -> None:
    async def show() -> object:
        return Item(name="a", Price=1)

    assert (await get(show)).content == b'{"name":"a","Price":1.0}'


@pytest.mark.parametrize(
    ("kind", "wrong", "text"),
    [
        (Annotated[int, at.Ge(1)], 0, "#: expected at least 1, got 0"),
        (Annotated[int, at.Interval(gt=0, lt=5)], 5, "#: expected less than 5, got 5"),
        (Annotated[str, at.Len(1, 2)], "abc", '#: expected a length of at most 2, got "abc"'),
        (Annotated[int, at.MultipleOf(3)], 4, "#: expected a multiple of 3, got 4"),
        (Annotated[int, msgspec.Meta(ge=1)], 0, "#: expected at least 1, got 0"),
        (
            Annotated[str, msgspec.Meta(pattern="^a")],
            "b",
            '#: expected a match of ^a, got "b"',
        ),
        (Annotated[int, pydantic.Field(ge=1)], 0, "#: expected at least 1, got 0"),
        (
            Annotated[str, pydantic.Field(max_length=1, pattern="a")],
            "b",
            '#: expected a match of a, got "b"',
        ),
    ],
)
def test_constraints_of_other_libraries_are_checked(kind: Any, wrong: object, text: str) -> None:
    assert refusal_of(kind, wrong) == text


def test_predicate_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="is not supported: check it in __post_init__"):
        convert_to(Annotated[int, at.Predicate(bool)], 1)


def test_microweb_imports_none_of_them() -> None:
    code = "import sys, microweb.typed, microweb.bodies.foreign; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert {"pydantic", "msgspec", "annotated_types", "attr"}.isdisjoint(ended.stdout.split())
