"""Parsers of texts for the types of parameters."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntFlag
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest

from microweb.endpoints.scalars import scalar_parser
from microweb.errors import ConfigurationError
from microweb.typed import Meta

ID = "6f1c3d1e-5b1a-4f61-9c55-1d2f3a4b5c6d"


class Access(IntFlag):
    READ = 1
    WRITE = 2


class Color(Enum):
    RED = "red"
    ONE = 1


def parse(kind: Any, text: str) -> object:
    parser = scalar_parser(kind)
    assert parser is not None
    return parser(text)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (str, "", ""),
        (int, "+7", 7),
        (float, "1e3", 1000.0),
        (float, "-.5", -0.5),
        (float, "+1.", 1.0),
        (bool, "ON", True),
        (UUID, ID, UUID(ID)),
        (Color, "1", Color.ONE),
        (Literal["a", 1, True, Color.RED], "a", "a"),
        (Literal["a", 1], "1", 1),
        (Literal[True], "true", True),
        (Access, "3", Access.READ | Access.WRITE),
        (Access, "0", Access(0)),
        (Literal[Color.RED], "red", Color.RED),
        (datetime, "2024-02-29T12:30:00", datetime(2024, 2, 29, 12, 30)),
        (date, "2024-02-29", date(2024, 2, 29)),
        (time, "12:30", time(12, 30)),
        (timedelta, "PT90S", timedelta(seconds=90)),
        (Decimal, "1.10", Decimal("1.10")),
        (Annotated[int, Meta(ge=1)], "1", 1),
        (Annotated[str, "a comment"], "x", "x"),
    ],
)
def test_text_is_parsed(kind: Any, text: str, value: object) -> None:
    parsed = parse(kind, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (Access, "4", "expected a combination of 1 | 2, got '4'"),
        (Access, "-1", "expected a combination of 1 | 2, got '-1'"),
        (Access, "x", "expected an integer, got 'x'"),
        (Literal[True], "True", "expected one of true, got 'True'"),
        (int, "1_0", "expected an integer, got '1_0'"),
        (int, "9" * 2000, f"expected an integer, got '{'9' * 80}'"),
        (float, "inf", "expected a number, got 'inf'"),
        (float, "1e999", "expected a number, got '1e999'"),
        (float, " 1", "expected a number, got ' 1'"),
        (float, "1_0", "expected a number, got '1_0'"),
        (float, "\u0661", "expected a number, got '\u0661'"),
        (float, ".", "expected a number, got '.'"),
        (bool, "2", "expected true or false, got '2'"),
        (UUID, "1", "expected a UUID, got '1'"),
        (UUID, f"{{{ID}}}", f"expected a UUID, got '{{{ID}}}'"),
        (UUID, ID.replace("-", ""), f"expected a UUID, got '{ID.replace('-', '')}'"),
        (Color, "RED", "expected one of red, 1, got 'RED'"),
        (Literal["a", 1], "b", "expected one of a, 1, got 'b'"),
        (date, "2023-02-29", "expected a date in ISO 8601, got '2023-02-29'"),
        (Decimal, "NaN", "expected a decimal number, got 'NaN'"),
        (Decimal, "1e99999", "expected a decimal number of at most 4300 digits, got '1e99999'"),
        (Annotated[int, Meta(ge=1)], "0", "expected at least 1, got 0"),
        (Annotated[str, Meta(max_length=1)], "ab", "expected a length of at most 1, got 'ab'"),
        (
            Annotated[date, Meta(ge=date(2024, 1, 1))],
            "2023-01-01",
            "expected at least 2024-01-01, got '2023-01-01'",
        ),
    ],
)
def test_wrong_text_is_named(kind: Any, text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(kind, text)
    assert str(caught.value) == message


@pytest.mark.parametrize("kind", [complex, dict, list[int], int | str, object, "int"])
def test_other_types_have_no_parser(kind: Any) -> None:
    assert scalar_parser(kind) is None


def test_constraint_that_does_not_fit_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="pattern='a' is for texts, got int"):
        scalar_parser(Annotated[int, Meta(pattern="a")])
