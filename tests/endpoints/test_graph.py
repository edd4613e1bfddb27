"""The dependencies of an endpoint: order, circles, names with two types, the body."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from microweb import App, ConfigurationError, Request
from microweb.endpoints.arguments import Binding
from microweb.endpoints.dependencies import dependencies_in
from microweb.endpoints.graph import Graph
from microweb.endpoints.signature import REQUEST, inspect_endpoint
from microweb.typed import Cookie, Depends, Header, Json, Meta, Query


def bound(endpoint: Callable[..., Any], method: str = "POST", **path: str) -> Binding:
    return Binding(inspect_endpoint(endpoint), path, REQUEST, (method,))


def refusal(endpoint: Callable[..., Any], method: str = "POST", **path: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        bound(endpoint, method, **path)
    return str(caught.value)


async def limit(limit: Query[int] = 10) -> int:
    return limit


async def page(limit: Annotated[int, Depends(limit)], x_page: Header[int]) -> int:
    return limit * x_page


def test_inputs_are_those_of_all_functions() -> None:
    async def show(page: Annotated[int, Depends(page)], id: int, theme: Cookie[str]) -> None: ...

    inputs = bound(show, id="int").inputs
    assert [(each.source, each.name) for each in inputs] == [
        ("path", "id"),
        ("cookie", "theme"),
        ("query", "limit"),
        ("header", "x-page"),
    ]


def test_a_dependency_that_was_inspected_is_not_inspected_again() -> None:
    async def show(page: Annotated[int, Depends(page)]) -> None: ...

    signature = inspect_endpoint(show)
    inspected = tuple(dependencies_in(signature))
    graph = Graph(inspected=inspected)
    Binding(signature, {}, REQUEST, ("GET",), graph)
    assert [dependency for dependency, _ in graph.found.values()] == list(inspected)


def test_a_function_that_replaces_an_inspected_one_is_inspected() -> None:
    async def show(limit: Annotated[int, Depends(limit)]) -> None: ...

    async def other() -> int:
        return 1

    signature = inspect_endpoint(show)
    graph = Graph({limit: other}, dependencies_in(signature))
    Binding(signature, {}, REQUEST, ("GET",), graph)
    assert [dependency.function for dependency, _ in graph.found.values()] == [other]


def test_an_input_of_two_functions_is_listed_once() -> None:
    async def show(page: Annotated[int, Depends(page)], limit: int) -> None: ...

    assert [each.name for each in bound(show).inputs] == ["limit", "x-page"]


def test_the_fields_of_a_class_are_listed_once() -> None:
    @dataclass
    class Page:
        limit: int
        offset: int

    async def pages(page: Query[Page]) -> int:
        return page.limit

    async def show(pages: Annotated[int, Depends(pages)], limit: int) -> None: ...

    [limit_input, page_input] = bound(show).inputs
    assert [each.name for each in (*limit_input.leaves, *page_input.leaves)] == ["limit", "offset"]


def test_one_name_with_two_types_is_refused() -> None:
    async def show(limit: str, page: Annotated[int, Depends(limit)]) -> None: ...

    text = refusal(show)
    assert "show at test_graph.py" in text
    assert "limit at test_graph.py" in text
    assert "read 'limit' from the query as two types, str and int: annotate both" in text


def test_a_constraint_makes_another_type() -> None:
    async def show(
        limit: Annotated[int, Meta(ge=1)], page: Annotated[int, Depends(limit)]
    ) -> None: ...

    assert "as two types" in refusal(show)


def test_a_circle_is_refused() -> None:
    async def first(value: "Annotated[int, Depends(second)]") -> int:
        return value

    async def second(value: Annotated[int, Depends(first)]) -> int:
        return value

    first.__annotations__["value"] = Annotated[int, Depends(second)]

    async def show(value: Annotated[int, Depends(second)]) -> None: ...

    text = refusal(show)
    assert "the dependencies form a circle: second at test_graph.py" in text
    assert text.count("-> first at") == text.count("-> second at") == 1


def test_an_unmarked_scalar_without_a_path_parameter_is_refused() -> None:
    async def tenant(tenant_id: int) -> int:
        return tenant_id

    async def show(tenant: Annotated[int, Depends(tenant)]) -> None: ...

    bound(show, tenant_id="int")
    text = refusal(show)
    assert "the route's path has no {tenant_id}" in text
    assert "mark it `Query[T]`" in text


def test_a_default_does_not_make_an_unmarked_scalar_a_query_parameter() -> None:
    async def tenant(tenant_id: int = 1) -> int:
        return tenant_id

    async def show(tenant: Annotated[int, Depends(tenant)]) -> None: ...

    assert "the route's path has no {tenant_id}" in refusal(show)


def test_a_parameter_without_a_source_is_refused_with_all_names() -> None:
    async def inner(thing: Request | dict[str, int]) -> int:
        return 1

    async def outer(inner: Annotated[int, Depends(inner)]) -> int:
        return inner

    async def show(outer: Annotated[int, Depends(outer)]) -> None: ...

    text = refusal(show)
    assert text.index("show at") < text.index("outer at") < text.index("inner at")
    assert "parameter 'thing' has no source" in text


def test_a_marker_as_default_is_refused() -> None:
    async def show(limit: int = Depends(limit)) -> None: ...  # type: ignore[assignment]

    assert "write it in the annotation: `limit: Annotated[T, Depends(function)]`" in refusal(show)


def test_two_bodies_are_refused() -> None:
    async def total(numbers: Json[list[int]]) -> int:
        return sum(numbers)

    async def show(total: Annotated[int, Depends(total)], names: Json[list[str]]) -> None: ...

    assert "a request has one body" in refusal(show)


def test_a_body_of_a_get_is_refused() -> None:
    async def total(numbers: Json[list[int]]) -> int:
        return sum(numbers)

    async def show(total: Annotated[int, Depends(total)]) -> None: ...

    assert "GET has no body" in refusal(show, "GET")


def test_another_type_than_the_annotation_is_refused_at_registration() -> None:
    app = App()

    async def show(limit: Annotated[str, Depends(limit)]) -> None: ...

    with pytest.raises(ConfigurationError, match="expected str as annotated, but limit at"):
        app.get("/")(show)
