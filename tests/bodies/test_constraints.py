"""Constraints in annotations: which apply, what they refuse, and which are configuration errors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import pytest

from microweb.bodies.constraints import checks_for, limits_of
from microweb.bodies.json_types import convert
from microweb.errors import ConfigurationError, UnprocessableContent
from microweb.typed import Meta

NOON = datetime(2024, 1, 1, 12)


def refusal_of(kind: Any, value: object) -> str | None:
    try:
        convert(value, kind)
    except UnprocessableContent as error:
        return error.text
    return None


@pytest.mark.parametrize(
    ("kind", "right", "wrong", "text"),
    [
        (Annotated[int, Meta(gt=1)], 2, 1, "#: expected more than 1, got 1"),
        (Annotated[int, Meta(ge=1)], 1, 0, "#: expected at least 1, got 0"),
        (Annotated[float, Meta(lt=1)], 0.5, 1, "#: expected less than 1, got 1.0"),
        (Annotated[float, Meta(le=1.5)], 1.5, 2, "#: expected at most 1.5, got 2.0"),
        (Annotated[int, Meta(multiple_of=5)], -10, 7, "#: expected a multiple of 5, got 7"),
        (
            Annotated[float, Meta(multiple_of=0.1)],
            0.3,
            0.35,
            "#: expected a multiple of 0.1, got 0.35",
        ),
        (
            Annotated[Decimal, Meta(ge=Decimal("0.5"), multiple_of=Decimal("0.25"))],
            "1e4000",
            "0.6",
            '#: expected a multiple of 0.25, got "0.6"',
        ),
        (
            Annotated[str, Meta(min_length=1)],
            "a",
            "",
            '#: expected a length of at least 1, got ""',
        ),
        (
            Annotated[list[int], Meta(max_length=2)],
            [1, 2],
            [1, 2, 3],
            "#: expected a length of at most 2, got 3",
        ),
        (
            Annotated[dict[str, int], Meta(min_length=1)],
            {"a": 1},
            {},
            "#: expected a length of at least 1, got 0",
        ),
        (
            Annotated[str, Meta(pattern="^https?://")],
            "http://a",
            "ftp:x",
            '#: expected a match of ^https?://, got "ftp:x"',
        ),
        (
            Annotated[date, Meta(ge=date(2024, 1, 1))],
            "2024-01-01",
            "2023-12-31",
            '#: expected at least 2024-01-01, got "2023-12-31"',
        ),
        (
            Annotated[int | None, Meta(ge=1)],
            None,
            0,
            "#: expected at least 1, got 0",
        ),
        (
            Annotated[int, Meta(ge=1)] | Annotated[str, Meta(max_length=2)],
            "ab",
            "abc",
            '#: expected a length of at most 2, got "abc"',
        ),
        (
            Annotated[int | str | None, Meta(ge=1)] | bool,
            True,
            0,
            "#: expected at least 1, got 0",
        ),
        (
            list[Annotated[int, Meta(ge=1)]],
            [1],
            [0, 1, -1],
            "#/0: expected at least 1, got 0\n#/2: expected at least 1, got -1",
        ),
    ],
)
def test_wrong_value_is_a_fault(kind: Any, right: object, wrong: object, text: str) -> None:
    assert refusal_of(kind, right) is None
    assert refusal_of(kind, wrong) == text


def test_time_without_an_offset_is_a_fault_if_the_limit_has_one() -> None:
    aware = Annotated[datetime, Meta(ge=NOON.replace(tzinfo=UTC))]
    assert refusal_of(aware, "2024-01-01T12:00Z") is None
    assert refusal_of(aware, "2024-01-01T12:00") == (
        '#: expected an offset from UTC, got "2024-01-01 12:00:00"'
    )
    assert refusal_of(Annotated[datetime, Meta(ge=NOON)], "2024-01-01T12:00Z") == (
        '#: expected no offset from UTC, got "2024-01-01 12:00:00+00:00"'
    )


def test_pattern_is_searched_after_the_length_check() -> None:
    quadratic = "(a+)+$"
    bounded = Annotated[str, Meta(pattern=quadratic, max_length=5)]
    assert refusal_of(bounded, "a" * 40 + "b") is not None  # it would take hours
    unbounded = Annotated[str, Meta(pattern="a")]
    assert refusal_of(unbounded, "a" * 1000) is None
    text = refusal_of(unbounded, "a" * 1001)
    assert text is not None and text.startswith("#: expected a length of at most 1000, got")
    longer = Annotated[str, Meta(pattern="a", max_length=2000)]
    assert refusal_of(longer, "a" * 1001) is None


def test_a_constraint_is_checked_in_each_member_of_a_class() -> None:
    @dataclass
    class Draft:
        title: Annotated[str, Meta(min_length=1)]
        size: Annotated[int, Meta(ge=1)] = 1

    assert convert({"title": "a"}, Draft) == Draft("a")
    assert refusal_of(Draft, {"title": "", "size": 0}) == (
        '#/title: expected a length of at least 1, got ""\n#/size: expected at least 1, got 0'
    )


# --- constraints of other libraries ---------------------------------------------------


def test_constraints_are_read_by_the_names_of_their_attributes() -> None:
    interval = SimpleNamespace(gt=None, ge=1, lt=5, le=None)
    assert limits_of([interval, "text", SimpleNamespace(pattern="a")]) == [
        ("ge", 1),
        ("lt", 5),
        ("pattern", "a"),
    ]
    assert limits_of([SimpleNamespace(ge=lambda: 1, title="a")]) == []


def test_constraints_inside_the_metadata_of_a_field_count() -> None:
    field = SimpleNamespace(metadata=[SimpleNamespace(ge=1), SimpleNamespace(max_length=3)])
    assert limits_of([field]) == [("ge", 1), ("max_length", 3)]


def test_constraint_of_annotated_types_that_is_not_supported_is_named() -> None:
    kind = type("Predicate", (), {"__module__": "annotated_types", "__repr__": lambda _: "P()"})
    with pytest.raises(ConfigurationError, match=r"constraint P\(\) is not supported: check it in"):
        limits_of([kind()])


# --- constraints that do not fit ------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (
            Annotated[str, Meta(ge=1)],
            "ge=1 is for numbers, dates and times, got str: bound its length",
        ),
        (Annotated[bool, Meta(ge=1)], "ge=1 is for numbers, dates and times, got bool"),
        (Annotated[date, Meta(ge=1)], "ge=1 is for numbers, dates and times, got date"),
        (Annotated[date, Meta(ge=NOON)], "got date: give it a bound of the same type"),
        (Annotated[date | None, Meta(ge=NOON)], "give it a bound of the same type"),
        (Annotated[str, Meta(ge=1)], "got str: bound its length by min_length or max_length"),
        (Annotated[list[int], Meta(lt=1)], "bound its length by min_length or max_length"),
        (Annotated[int, Meta(min_length=1)], "got int: bound it by ge or le"),
        (Annotated[bool, Meta(ge=1)], "got bool: leave it out"),
        (Annotated[bool, Meta(max_length=1)], "got bool: leave it out"),
        (Annotated[datetime, Meta(lt=date(2024, 1, 1))], "got datetime: give it a bound"),
        (Annotated[time, Meta(lt=timedelta(1))], "got time: give it a bound"),
        (Annotated[int, Meta(ge=NOON)], "got int: give it a bound"),
        (Annotated[int, Meta(max_length=3)], "max_length=3 is for texts, bytes and containers"),
        (Annotated[str, Meta(multiple_of=3)], "multiple_of=3 is for numbers, got str: leave"),
        (Annotated[list[str], Meta(pattern="a")], r"pattern='a' is for texts, got list\[str\]"),
        (Annotated[Literal["a"], Meta(min_length=1)], "min_length=1 is for texts"),
        (Annotated[object, Meta(ge=1)], "got object"),
        (Annotated[str, Meta(pattern="(")], r"the pattern '\(' is wrong"),
        (Annotated[int, Meta(multiple_of=0)], "expected multiple_of above 0, got 0"),
    ],
)
def test_constraint_that_does_not_fit_is_a_configuration_error(kind: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        checks_for(kind)


def test_constraint_of_a_member_is_named_with_the_member() -> None:
    @dataclass
    class Draft:
        title: Annotated[str, Meta(ge=1)]

    with pytest.raises(ConfigurationError, match=r"Draft.title: the constraint ge=1 is for"):
        convert({}, Draft)
