"""Items of sets that a client has chosen for their hashes."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from microweb import App
from microweb.bodies.collisions import has_collisions
from microweb.typed import Json

HASHED_TO_0 = [number * (2**61 - 1) for number in range(200)]


@pytest.mark.parametrize("kind", [int, Decimal, lambda number: UUID(int=number)])
def test_multiples_of_the_modulus_are_found(kind: Callable[[int], object]) -> None:
    values = [kind(number) for number in HASHED_TO_0]
    assert len({*map(hash, values)}) == 1
    assert has_collisions(values)
    assert not has_collisions(values[:64])


def test_they_are_found_among_others() -> None:
    assert has_collisions([*range(1, 1000), *HASHED_TO_0, "text", None])


@pytest.mark.parametrize(
    "values",
    [
        [1] * 1000,
        [-1, -2] * 500,  # both have the hash -2
        [0, 0.0, False] * 500,
        list(range(10_000)),
        [number * 2.0**exponent for number in (1, 3) for exponent in range(-1000, 1000)],
        [str(number) for number in range(10_000)],
        [],
    ],
)
def test_values_of_honest_clients_are_no_collisions(values: list[object]) -> None:
    assert not has_collisions(values)


def test_a_value_without_a_hash_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        has_collisions([[]] * 100)


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        (set[Decimal], str),
        (frozenset[Decimal], str),
        (set[tuple[Decimal]], lambda number: [number]),
        (set, int),
        (set[object], int),
    ],
)
async def test_a_body_of_them_is_a_422(kind: Any, item: Callable[[int], object]) -> None:
    app = App()

    async def count(numbers: Any) -> int:
        return len(numbers)

    count.__annotations__["numbers"] = Json[kind]
    app.post("/")(count)
    sent = [item(number) for number in HASHED_TO_0]
    async with app.test_client() as client:
        response = await client.post("/", json=sent)
        assert response.status_code == 422
        (fault,) = response.json()["errors"]
        assert fault["detail"] == "expected items of a set with different hashes"
        assert (await client.post("/", json=sent[:50])).text == "50"
