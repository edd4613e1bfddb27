"""Plans: which calls come first, and which the thread of a plain endpoint makes."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest

from microweb.endpoints.arguments import Binding
from microweb.endpoints.graph import Graph
from microweb.endpoints.plans import Plan
from microweb.endpoints.signature import REQUEST, inspect_endpoint
from microweb.typed import Depends, Json


def plain() -> int:
    return 1


def other(plain: Annotated[int, Depends(plain)]) -> int:
    return plain


async def needs_plain(plain: Annotated[int, Depends(plain)]) -> int:
    return plain


async def alone() -> int:
    return 1


class Thing:
    def __init__(self, plain: Annotated[int, Depends(plain)]) -> None: ...


def plan_of(endpoint: Callable[..., Any], *, is_async: bool) -> tuple[list[str], list[str]]:
    graph = Graph()
    bound = Binding(inspect_endpoint(endpoint), {}, REQUEST, ("POST",), graph)
    plan = Plan(bound, graph, is_async=is_async)
    first = [step.label.partition(" ")[0] for step in plan.on_loop]
    return first, [step.label.partition(" ")[0] for step in plan.in_thread]


def test_an_async_endpoint_has_all_on_the_loop() -> None:
    async def show(
        a: Annotated[int, Depends(other)], b: Annotated[int, Depends(alone)]
    ) -> None: ...

    assert plan_of(show, is_async=True) == (["plain", "other", "alone"], [])


def test_a_plain_endpoint_has_plain_dependencies_in_its_thread() -> None:
    def show(
        a: Annotated[int, Depends(other)],
        b: Annotated[int, Depends(alone)],
        c: Annotated[Thing, Depends(Thing)],
    ) -> None: ...

    assert plan_of(show, is_async=False) == (["alone"], ["plain", "other", "Thing"])


def test_a_plain_dependency_of_an_async_one_comes_before() -> None:
    def show(
        a: Annotated[int, Depends(other)], b: Annotated[int, Depends(needs_plain)]
    ) -> None: ...

    assert plan_of(show, is_async=False) == (["plain", "needs_plain"], ["other"])


@pytest.mark.parametrize("is_async", [True, False])
def test_the_body_is_read_on_the_loop(is_async: bool) -> None:
    def show(a: Annotated[int, Depends(alone)], b: Json[int]) -> None: ...

    assert plan_of(show, is_async=is_async) == (["alone", "the"], [])
