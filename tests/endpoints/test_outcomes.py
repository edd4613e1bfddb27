"""Descriptions of the answers that a return annotation declares."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import pytest

from microweb import App, ConfigurationError, HTTPError, Response, html
from microweb.endpoints.outcomes import Outcome, outcomes_of, uses_json
from microweb.endpoints.signature import inspect_endpoint
from microweb.http.mediatypes import HTML, JSON, OCTETS, TEXT
from microweb.typed import Content, Json, Meta, Query

Page = type(html("<p>"))


@dataclass
class Order:
    id: int


class Color(Enum):
    RED = "red"


class Changes(TypedDict, total=False):
    id: int


class Pair(NamedTuple):
    first: int
    second: int


def returning(hint: object) -> Callable[..., Any]:
    async def endpoint() -> Any:
        """Not called."""

    endpoint.__annotations__["return"] = hint
    return endpoint


@pytest.mark.parametrize(
    ("hint", "outcomes"),
    [
        (Order, [Outcome(200, Order, JSON)]),
        (dict[str, int], [Outcome(200, dict[str, int], JSON)]),
        (list, [Outcome(200, list, JSON)]),
        (Changes, [Outcome(200, Changes, JSON)]),
        (Pair, [Outcome(200, Pair, JSON)]),
        (str, [Outcome(200, str, TEXT)]),
        (bytes, [Outcome(200, bytes, OCTETS)]),
        (Page, [Outcome(200, Page, HTML)]),
        (None, [Outcome(204, type(None), None)]),
        (Response, [Outcome(None, Response, None)]),
        (
            Annotated[Response, Content("image/png")],
            [Outcome(None, Response, None, content=Content("image/png"))],
        ),
        (object, [Outcome(None, object, None)]),
        (Any, [Outcome(None, object, None)]),
        (AsyncIterator[str], [Outcome(200, AsyncIterator[str], TEXT)]),
        (Generator[bytes, None, None], [Outcome(200, Generator[bytes, None, None], OCTETS)]),
        (AsyncIterator[str | bytes], [Outcome(200, AsyncIterator[str | bytes], None)]),
        (AsyncIterator[Any], [Outcome(200, AsyncIterator[Any], None)]),
        (AsyncIterator, [Outcome(200, AsyncIterator, None)]),
        (Iterable[Order], [Outcome(200, Iterable[Order], None)]),
        (int, [Outcome(200, int, JSON)]),
        (Decimal, [Outcome(200, Decimal, JSON)]),
        (Color, [Outcome(200, Color, JSON)]),
        (Literal[1, 2], [Outcome(200, Literal[1, 2], JSON)]),
        (Literal["a"], [Outcome(200, Literal["a"], TEXT)]),
        (Literal["a", 1], [Outcome(200, Literal["a", 1], None)]),
        (
            Annotated[int, Meta(ge=1)],
            [Outcome(200, Annotated[int, Meta(ge=1)], JSON)],
        ),
        (Order | None, [Outcome(200, Order, JSON), Outcome(204, type(None), None)]),
        (tuple[Order, Literal[201]], [Outcome(201, Order, JSON, False, True)]),
        (
            tuple[Order, Literal[200, 201]],
            [Outcome(200, Order, JSON, False, True), Outcome(201, Order, JSON, False, True)],
        ),
        (tuple[Order, Literal[201], dict[str, str]], [Outcome(201, Order, JSON, True, True)]),
        (tuple[Order, int], [Outcome(None, Order, JSON)]),
        (tuple[str, dict[str, str]], [Outcome(None, str, TEXT, True)]),
        (
            tuple[Order, Literal[201]] | tuple[Changes, Literal[409]],
            [Outcome(201, Order, JSON, False, True), Outcome(409, Changes, JSON, False, True)],
        ),
        (tuple[Order | None, Literal[200]], [Outcome(200, Order | None, JSON, False, True)]),
        (tuple[Order | str, Literal[200]], [Outcome(200, Order | str, None, False, True)]),
        (tuple[None, Literal[304]], [Outcome(304, type(None), None, False, True)]),
    ],
)
def test_annotation_declares_outcomes(hint: object, outcomes: list[Outcome]) -> None:
    assert list(outcomes_of(returning(hint))) == outcomes


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (tuple[Order, Literal[204]], "expected no content with the status 204, got"),
        (tuple[Order | None, Literal[304]], "expected no content with the status 304"),
        (tuple[Order, Literal[700]], "expected a status from 200 to 599, got 700"),
        (tuple[Order, Literal["a"]], "expected a status from 200 to 599, got 'a'"),
        (tuple[int, str, float], r"expected tuple\[content, Literal\[201\]\]"),
        (tuple[int, ...], r"return a list or a NamedTuple for a value of several items"),
        (tuple[Order], r"expected tuple\[content, Literal\[201\]\]"),
        (AsyncIterator[Order], "expected str or bytes as the pieces of a stream, got"),
        (Iterator[int], "encode each piece, return a list, or return Response.events"),
        (Generator[str | None, None, None], "expected str or bytes as the pieces"),
        (tuple[Order, Literal[200], int], r"expected tuple\[content, Literal\[201\]\]"),
    ],
)
def test_tuple_that_is_no_answer_is_a_configuration_error(hint: object, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text) as caught:
        App().get("/")(returning(hint))
    assert "endpoint at test_outcomes.py:" in str(caught.value)


def test_endpoint_without_annotation_has_any_outcome() -> None:
    async def endpoint():  # type: ignore[no-untyped-def]
        """Not called."""

    assert outcomes_of(endpoint) == (Outcome(None, object, None),)


async def takes_json(order: Json[Order]) -> str:
    return str(order.id)


async def takes_query(order: Query[int]) -> str:
    return str(order)


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        (takes_json, True),
        (takes_query, False),
        (returning(Order), True),
        (returning(Order | None), True),
        (returning(tuple[Order, int]), True),
        (returning(Response), False),
        (returning(str), False),
    ],
)
def test_route_uses_json_if_it_takes_or_returns_it(
    endpoint: Callable[..., Any], expected: bool
) -> None:
    assert uses_json(inspect_endpoint(endpoint)) is expected


async def test_errors_of_a_route_that_uses_json_are_problem_details() -> None:
    app = App()

    async def refuse(request: Any, call_next: Any) -> Response:
        raise HTTPError(401, "who are you?")

    @app.get("/orders")
    async def orders() -> list[Order]:
        raise HTTPError(409, "busy")

    @app.get("/broken")
    async def broken() -> list[Order]:
        raise LookupError("a secret")

    @app.get("/locked", use=[refuse])
    async def locked() -> list[Order]:
        """Not called."""

    @app.get("/text")
    async def text() -> str:
        raise HTTPError(409, "busy")

    async with app.test_client(raise_errors=False) as client:
        for path, status in (("/orders", 409), ("/broken", 500), ("/locked", 401)):
            response = await client.get(path)
            assert response.status_code == status
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["status"] == status
            assert response.headers["vary"] == "Accept"
        assert (await client.get("/orders", headers={"Accept": "text/plain"})).text == (
            "Conflict\nbusy\n"
        )
        assert (await client.get("/text")).text == "Conflict\nbusy\n"
        assert (await client.get("/elsewhere")).text == "Not Found\n"


@pytest.mark.parametrize(("path", "form"), [("/wrong", "problem+json"), ("/broken", "plain")])
async def test_with_debug_a_fault_stays_text_for_curl(path: str, form: str) -> None:
    app = App(debug=True)

    @app.get("/wrong")
    async def wrong() -> list[Order]:
        raise HTTPError(409, "busy")

    @app.get("/broken")
    async def broken() -> list[Order]:
        raise LookupError("a reason")

    async with app.test_client(raise_errors=False, base_url="http://localhost") as client:
        assert form in (await client.get(path)).headers["content-type"]


@pytest.mark.parametrize(
    "hint",
    [Annotated[bytes, Content("a/b")], tuple[Annotated[bytes, Content("a/b")], Literal[201]]],
)
def test_only_a_response_has_a_described_content(hint: object) -> None:
    with pytest.raises(ConfigurationError, match="expected Content at a Response, got it at"):
        outcomes_of(returning(hint))


@pytest.mark.parametrize(
    ("hint", "contents"),
    [
        (Order | str, [(JSON, Order), (TEXT, str)]),
        (Literal["a", 1], [(TEXT, Literal["a"]), (JSON, Literal[1])]),
        (Order | None, [(JSON, Order)]),
        (object, [(None, object)]),
    ],
)
def test_each_alternative_has_its_media_type(hint: object, contents: list[object]) -> None:
    assert list(Outcome(200, hint, None).contents) == contents
