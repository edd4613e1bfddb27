"""The readers of JSON values, each tested alone. `json_types` combines them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from enum import IntFlag
from typing import Any
from uuid import UUID

import pytest

from microweb.bodies.json_containers import JSONObject
from microweb.bodies.json_readers import (
    PLAIN,
    Reader,
    choose,
    container,
    dict_of,
    flags_of,
    list_of,
    one_of,
    tuple_of,
)
from microweb.bodies.mismatches import Mismatch, show
from microweb.bodies.outlines import Outline

UNKNOWN: Any = object()


def refusal_of(convert: Callable[[Any], object], value: object) -> str:
    """Return the place and the problem of a reader's refusal."""
    mismatch = convert(value)
    assert isinstance(mismatch, Mismatch)
    return f"{mismatch.pointer()}: {mismatch.problem()}"


class Access(IntFlag):
    READ = 1
    WRITE = 2


def test_flags_are_combined() -> None:
    convert = flags_of(Access).convert
    assert [convert(each) for each in (0, 2, 3, 3.0)] == [
        Access(0),
        Access.WRITE,
        Access.READ | Access.WRITE,
        Access.READ | Access.WRITE,
    ]
    assert refusal_of(convert, 4) == "#: expected a combination of 1 | 2, got 4"
    assert refusal_of(convert, -1) == "#: expected a combination of 1 | 2, got -1"
    assert refusal_of(convert, "1") == '#: expected an integer, got "1"'


# --- scalars --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "converted"),
    [
        (object, UNKNOWN, UNKNOWN),
        (str, "a", "a"),
        (int, 1, 1),
        (float, 1, 1.0),
        (float, 1.5, 1.5),
        (bool, False, False),
        (type(None), None, None),
        (tuple, [1, "a"], (1, "a")),
        (date, "2024-02-29", date(2024, 2, 29)),
        (UUID, "00000000-0000-0000-0000-00000000000A", UUID(int=10)),
        (Decimal, 0.1, Decimal("0.1")),
        (Decimal, 3, Decimal(3)),
        (Decimal, "-1E+2", Decimal("-1E+2")),
    ],
)
def test_plain_value_is_read(kind: type, value: object, converted: object) -> None:
    result = PLAIN[kind].convert(value)
    assert result == converted
    assert type(result) is type(converted)


@pytest.mark.parametrize(
    ("kind", "value", "refusal"),
    [
        (str, 1, "#: expected a string, got 1"),
        (int, True, "#: expected an integer, got true"),
        (float, False, "#: expected a number, got false"),
        (float, 10**400, f"#: expected a number that a float can hold, got 1{'0' * 79}"),
        (list, {}, "#: expected an array, got an object"),
        (date, 5, "#: expected a date in ISO 8601, got 5"),
        (date, "today", '#: expected a date in ISO 8601, got "today"'),
        (UUID, "0" * 32, f'#: expected a UUID, got "{"0" * 32}"'),
        (Decimal, "NaN", '#: expected a decimal number, got "NaN"'),
        (Decimal, "1e" + "9" * 30, f'#: expected a decimal number, got "1e{"9" * 30}"'),
        (
            Decimal,
            "1e99999",
            '#: expected a decimal number of at most 4300 digits, got "1e99999"',
        ),
    ],
)
def test_other_value_is_a_mismatch(kind: type, value: object, refusal: str) -> None:
    assert refusal_of(PLAIN[kind].convert, value) == refusal


def test_choice_tells_1_from_true() -> None:
    reader = one_of([(1, "one"), ("a", "letter")])
    assert [reader.convert(value) for value in (1, 1.0, "a")] == ["one", "one", "letter"]
    for value in (True, 1.5, "b"):
        assert refusal_of(reader.convert, value) == f'#: expected 1 or "a", got {show(value)}'
    assert refusal_of(reader.convert, [1]) == '#: expected 1 or "a", got an array'
    assert refusal_of(reader.convert, {}) == '#: expected 1 or "a", got an object'


# --- containers -----------------------------------------------------------------------


def test_each_container_adds_its_step() -> None:
    numbers = list_of(Reader("an object", dict_of(PLAIN[int].convert)))
    assert numbers([{"a": 1}, {}]) == [{"a": 1}, {}]
    assert refusal_of(numbers, [{}, {"a": 1, "b": "x"}]) == ('#/1/b: expected an integer, got "x"')


def test_members_are_an_object_that_names_missing_keys() -> None:
    assert type(dict_of(PLAIN[int].convert)({"a": 1})) is JSONObject


def test_tuple_has_one_length_and_a_reader_for_each_place() -> None:
    pair = tuple_of([PLAIN[str].convert, PLAIN[int].convert])
    assert pair.convert(["a", 1]) == ("a", 1)
    assert refusal_of(pair.convert, ["a", "b"]) == '#/1: expected an integer, got "b"'
    assert (
        refusal_of(pair.convert, ["a"]) == "#: expected an array of length 2, got one of length 1"
    )
    assert refusal_of(pair.convert, "ab") == '#: expected an array of length 2, got "ab"'
    assert pair.takes is list
    assert pair.fits is not None
    assert [pair.fits(value) for value in (["a", 1], ["a"])] == [True, False]


# --- unions ---------------------------------------------------------------------------


def alternative(kind: str, member: str) -> Reader:
    """Return a reader of objects whose `kind` is a tag."""
    outline = Outline()
    outline.add("kind", "kind", one_of([(kind, kind)]), True)
    outline.add(member, member, PLAIN[int], True)
    return Reader(f"a {kind}", outline.reader(None), dict, outline.fits, outline.tags)


CAT, DOG = alternative("cat", "lives"), alternative("dog", "age")


def test_first_alternative_that_fits_is_chosen() -> None:
    assert choose([CAT], {}, "a cat") is CAT
    assert choose([CAT, DOG], {"kind": "dog", "age": 1}, "an animal") is DOG
    anything = container(dict, "an object", dict)
    assert choose([CAT, anything], {"kind": "dog"}, "an animal") is anything


def test_alternative_whose_tag_is_right_says_what_else_is_wrong() -> None:
    chosen = choose([CAT, DOG], {"kind": "dog"}, "an animal")
    assert chosen is DOG
    assert refusal_of(chosen.convert, {"kind": "dog"}) == "#/age: missing"


def test_unknown_tag_is_a_mismatch_of_all_alternatives() -> None:
    def convert(value: object) -> object:
        return choose([CAT, DOG], value, "an animal")

    assert refusal_of(convert, {"kind": "cow"}) == '#/kind: expected "cat" or "dog", got "cow"'
    assert (
        refusal_of(convert, {"lives": 9}) == "#: expected an animal, got an object of another shape"
    )
