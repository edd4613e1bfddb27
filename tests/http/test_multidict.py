from __future__ import annotations

import enum
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import assert_type

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.errors import BadRequest, InvalidValue, MissingValue
from microweb.http.multidict import MultiDict, parse_bool

PAIRS = [("tag", "a"), ("page", "2"), ("tag", "b"), ("empty", "")]


class Colour(enum.Enum):
    RED = "red"


@pytest.fixture
def query() -> MultiDict:
    return MultiDict(PAIRS)


def test_a_name_gives_its_first_value(query: MultiDict) -> None:
    assert query["tag"] == "a"
    assert query.get("tag") == "a"


def test_an_empty_value_is_a_value(query: MultiDict) -> None:
    assert query["empty"] == ""
    assert query.get("empty", "default") == ""


def test_get_all_gives_every_value_in_order(query: MultiDict) -> None:
    assert query.get_all("tag") == ["a", "b"]
    assert query.get_all("none") == []


def test_missing_name_is_a_400_that_names_it(query: MultiDict) -> None:
    with pytest.raises(MissingValue) as caught:
        query["x\r\n"]
    assert isinstance(caught.value, BadRequest) and isinstance(caught.value, KeyError)
    assert caught.value.status == 400
    assert caught.value.detail == r"expected a value for 'x\r\n', got none"


def test_get_of_a_missing_name_is_the_default_unconverted(query: MultiDict) -> None:
    assert query.get("x") is None
    assert query.get("x", "y") == "y"
    assert query.get("x", "y", type=int) == "y"


def test_get_converts_by_type(query: MultiDict) -> None:
    number = uuid.UUID("12345678123456781234567812345678")
    values = MultiDict([("id", str(number)), ("price", "1.50"), ("colour", "red"), ("yes", "on")])
    assert assert_type(query.get("page", type=int), int | None) == 2
    assert assert_type(query.get("page", 1, type=int), int) == 2
    assert assert_type(query.get("page", "1"), str) == "2"
    assert assert_type(values.get("id", type=uuid.UUID), uuid.UUID | None) == number
    assert assert_type(values.get("price", type=Decimal), Decimal | None) == Decimal("1.50")
    assert assert_type(values.get("colour", type=Colour), Colour | None) is Colour.RED
    assert assert_type(values.get("yes", False, type=bool), bool) is True


@pytest.mark.parametrize(
    "convert", [int, float, bool, bytes, Decimal, uuid.UUID, Colour, {}.__getitem__]
)
def test_a_value_that_type_refuses_is_a_400(convert: type) -> None:
    with pytest.raises(InvalidValue) as caught:
        MultiDict([("age", "x")]).get("age", type=convert)
    assert caught.value.status == 400
    assert isinstance(caught.value, ValueError)
    assert caught.value.detail.endswith("for 'age', got 'x'")


def test_an_invalid_value_is_named_cut_and_escaped() -> None:
    with pytest.raises(InvalidValue) as caught:
        MultiDict([("age", "\r\n" + "x" * 1000)]).get("age", type=int)
    assert caught.value.detail == r"expected an integer for 'age', got '\r\n" + "x" * 78 + "'"


def test_a_type_that_is_no_class_is_not_shown() -> None:
    with pytest.raises(InvalidValue, match=r"^400 expected a valid value for 'age', got 'x'$"):
        MultiDict([("age", "x")]).get("age", type=lambda text: int(text))


def test_the_message_names_the_expected_kind_of_value() -> None:
    kinds: dict[Callable[[str], object], str] = {
        int: "an integer",
        float: "a number",
        bool: "true or false",
        uuid.UUID: "a valid UUID",
    }
    for convert, words in kinds.items():
        with pytest.raises(InvalidValue, match=f"^400 expected {words} for 'age', got 'x'$"):
            MultiDict([("age", "x")]).get("age", type=convert)


def test_an_integer_of_5000_digits_is_a_400() -> None:
    with pytest.raises(InvalidValue, match=r"^400 expected an integer for 'n', got '9{80}'$"):
        MultiDict([("n", "9" * 5000)]).get("n", type=int)


def test_an_error_of_another_kind_passes_through() -> None:
    def broken(text: str) -> int:
        raise RuntimeError(text)

    with pytest.raises(RuntimeError, match=r"^2$"):
        MultiDict(PAIRS).get("page", type=broken)


@pytest.mark.parametrize("text", ["true", "True", "TRUE", "1", "yes", "on", "On"])
def test_words_for_true(text: str) -> None:
    assert parse_bool(text) is True


@pytest.mark.parametrize("text", ["false", "False", "FALSE", "0", "no", "off", "Off"])
def test_words_for_false(text: str) -> None:
    assert parse_bool(text) is False


@pytest.mark.parametrize("text", ["", " true", "2", "y", "none", "tru\u0435"])
def test_other_words_are_no_bool(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected true or false, got '"):
        parse_bool(text)


def test_it_is_a_mapping_of_first_values(query: MultiDict) -> None:
    first = {"tag": "a", "page": "2", "empty": ""}
    assert isinstance(query, Mapping)
    assert (len(query), list(query), list(query.keys())) == (3, list(first), list(first))
    assert list(query.items()) == list(first.items())
    assert list(query.values()) == list(first.values())
    assert ("tag", "a") in query.items() and ("tag", "b") not in query.items()
    assert {**query} == first == {} | dict(query)
    assert query == first and first == query
    assert query != first | {"tag": "b"}
    assert not MultiDict()
    (name,) = MultiDict([("a", "1"), ("a", "2")])
    assert name == "a"
    match query:
        case {"page": page, **rest}:
            assert (page, rest) == ("2", {"tag": "a", "empty": ""})
        case _:
            pytest.fail("a mapping matches a pattern of a mapping")


def test_pairs_are_all_as_they_were_sent(query: MultiDict) -> None:
    assert query.pairs() == PAIRS
    query.pairs().clear()
    assert query.pairs() == PAIRS


def test_in_asks_for_names(query: MultiDict) -> None:
    assert "tag" in query
    assert "a" not in query
    assert ("tag", "a") not in query


def test_keys_are_distinct_and_in_order(query: MultiDict) -> None:
    assert list(query.keys()) == ["tag", "page", "empty"]


def test_dict_of_it_has_the_first_values(query: MultiDict) -> None:
    assert dict(query) == {"tag": "a", "page": "2", "empty": ""}


def test_it_can_be_made_from_an_iterator() -> None:
    assert MultiDict(iter(PAIRS)) == MultiDict(PAIRS)


def test_it_is_immutable() -> None:
    pairs = [("a", "1")]
    values = MultiDict(pairs)
    pairs.append(("b", "2"))
    assert "b" not in values
    with pytest.raises(TypeError):
        values["a"] = "2"  # type: ignore[index]
    with pytest.raises(AttributeError):
        values.a = "2"  # type: ignore[attr-defined]


def test_equality_is_of_the_pairs_in_order(query: MultiDict) -> None:
    assert query == MultiDict(PAIRS)
    assert hash(query) == hash(MultiDict(PAIRS))
    assert query != MultiDict(reversed(PAIRS))
    assert query != PAIRS


def test_repr_is_its_construction() -> None:
    assert repr(MultiDict([("a", "\n")])) == r"MultiDict([('a', '\n')])"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=3))))
def test_it_agrees_with_a_search_of_the_pairs(pairs: list[tuple[str, str]]) -> None:
    values = MultiDict(pairs)
    for name in "abc":
        found = [value for other, value in pairs if other == name]
        assert values.get_all(name) == found
        assert values.get(name) == (found[0] if found else None)
        assert (name in values) == bool(found)
