"""Classes of arrays and objects: read, written and described, with types and without."""

from __future__ import annotations

import typing
from collections import Counter, OrderedDict, abc, defaultdict, deque
from typing import Annotated, Any

import pytest

from microweb import ConfigurationError
from microweb.bodies.json import encode_json
from microweb.bodies.json_types import converter_for
from microweb.bodies.json_writers import writer_for
from microweb.errors import UnprocessableContent
from microweb.openapi.schemas import Schemas
from microweb.typed import Meta

BOOL = {"type": "boolean"}
ARRAY: dict[str, Any] = {"type": "array", "items": {}}
OBJECT: dict[str, Any] = {"type": "object"}

CASES: list[tuple[Any, object, object, dict[str, Any]]] = [
    (list, [1], [1], ARRAY),
    (typing.List, [1], [1], ARRAY),  # noqa: UP006
    (abc.Sequence, [1], [1], ARRAY),
    (typing.Sequence, [1], [1], ARRAY),
    (abc.MutableSequence, [1], [1], ARRAY),
    (abc.Collection, [1], [1], ARRAY),
    (abc.Iterable, [1], [1], ARRAY),
    (abc.Set, [1], {1}, ARRAY),
    (typing.Set, [1], {1}, ARRAY),  # noqa: UP006
    (abc.MutableSet, [1], {1}, ARRAY),
    (frozenset, [1], frozenset((1,)), ARRAY),
    (deque, [1], deque([1]), ARRAY),
    (deque[bool], [True], deque([True]), {"type": "array", "items": BOOL}),
    (dict, {"a": 1}, {"a": 1}, OBJECT),
    (abc.Mapping, {"a": 1}, {"a": 1}, OBJECT),
    (typing.Mapping, {"a": 1}, {"a": 1}, OBJECT),
    (abc.MutableMapping, {"a": 1}, {"a": 1}, OBJECT),
    (OrderedDict, {"b": 1, "a": 2}, OrderedDict(b=1, a=2), OBJECT),
    (
        OrderedDict[str, bool],
        {"b": True},
        OrderedDict(b=True),
        {"type": "object", "additionalProperties": BOOL},
    ),
]


@pytest.mark.parametrize(("kind", "value", "read", "schema"), CASES)
def test_container_is_read_written_and_described(
    kind: Any, value: object, read: object, schema: dict[str, Any]
) -> None:
    found = converter_for(kind)(value)
    assert isinstance(found, type(read))
    assert found == read
    write = writer_for(kind)
    assert encode_json(found if write is None else write(found)) == encode_json(value)
    assert Schemas().schema_of(kind) == schema


def test_counter_counts() -> None:
    for kind in (Counter, Counter[str]):
        assert converter_for(kind)({"a": 2}) == Counter(a=2)
        with pytest.raises(UnprocessableContent, match="#/a: expected an integer"):
            converter_for(kind)({"a": "x"})
        assert Schemas().schema_of(kind)["additionalProperties"]["type"] == "integer"


@pytest.mark.parametrize("kind", [deque[int], OrderedDict[str, int]])
def test_wrong_item_is_named(kind: Any) -> None:
    value: object = ["x"] if kind == deque[int] else {"0": "x"}
    with pytest.raises(UnprocessableContent, match="#/0: expected an integer"):
        converter_for(kind)(value)
    with pytest.raises(UnprocessableContent, match=r"expected an (array|object), got 1"):
        converter_for(kind)(1)


def test_length_of_a_deque_is_bounded() -> None:
    kind: Any = Annotated[deque[int], Meta(max_length=1)]
    with pytest.raises(UnprocessableContent, match="expected a length of at most 1, got 2"):
        converter_for(kind)([1, 2])
    assert Schemas().schema_of(kind)["maxItems"] == 1


def test_defaultdict_is_written_and_not_read() -> None:
    kind: Any = defaultdict[str, list[int]]
    with pytest.raises(ConfigurationError, match=r"can only be written: read a dict\[str, T\]"):
        converter_for(kind)
    write = writer_for(kind)
    assert write is not None
    assert encode_json(write(defaultdict(list, a=[1]))) == b'{"a":[1]}'
    assert Schemas().schema_of(kind)["additionalProperties"]["type"] == "array"


@pytest.mark.parametrize("kind", [dict[int, str], abc.Mapping[float, int]])
def test_keys_that_are_no_texts_are_refused(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected str as the keys of an object, got"):
        converter_for(kind)
