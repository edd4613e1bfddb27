"""Values that do not match: their pointers and texts, and those of other values."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from microweb.bodies.mismatches import Mismatch, Refusal, joined, show, token_of
from microweb.faults import MAX_FAULTS, Fault


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\n", r'"a\n"'),
        ("x" * 100, f'"{"x" * 80}"'),
        ({"a": 1}, "an object"),
        ([1], "an array"),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        (10**100, "1" + "0" * 79),
        (Decimal("1.50"), '"1.50"'),
        (date(2024, 2, 29), '"2024-02-29"'),
        (timedelta(hours=1), '"PT1H"'),
        (UUID(int=1), "UUID"),
    ],
)
def test_value_is_shown_short(value: object, text: str) -> None:
    assert show(value) == text


@pytest.mark.parametrize(
    ("steps", "pointer"),
    [
        ([], "#"),
        (["items"], "#/items"),
        (["price", 2, "items"], "#/items/2/price"),
        (["a b"], "#/a%20b"),
        (["a/b~c", 0], "#/0/a~1b~0c"),
        (["x" * 500_000, "y"], f"#/y/{'x' * 196}"),
        (["x", "y" * 500_000], f"#/{'y' * 198}"),
        ([" " * 300], f"#/{'%20' * 66}"),
        (["é"], "#/%C3%A9"),
        (['<">\n'], "#/%3C%22%3E%0A"),
        (["\ud800"], "#/%5Cud800"),
    ],
)
def test_pointer_is_the_way_from_the_outermost(steps: list[str | int], pointer: str) -> None:
    mismatch = Mismatch("a string", 1)
    mismatch.steps = [token_of(step) if isinstance(step, str) else step for step in steps]
    assert mismatch.pointer() == pointer
    assert mismatch.problem() == "expected a string, got 1"
    assert Refusal("missing").problem() == "missing"


def test_mismatches_of_a_container_are_joined() -> None:
    found = joined(None, Mismatch("an integer", "x"), "a")
    assert joined(found, joined(None, Mismatch("nothing", 1), "deep"), "b") is found
    joined(found, Mismatch("nothing", 3), "d")
    assert joined(None, found, 0).faults() == [
        Fault("body", "#/0/a", 'expected an integer, got "x"'),
        Fault("body", "#/0/b/deep", "expected nothing, got 1"),
        Fault("body", "#/0/d", "expected nothing, got 3"),
    ]


def test_an_answer_has_room_for_some_mismatches() -> None:
    found = joined(None, Refusal("no"), 0)
    for index in range(1, MAX_FAULTS):
        found = joined(found, Refusal("no"), index)
    assert not found.is_full
    assert joined(found, Refusal("no"), MAX_FAULTS).is_full
