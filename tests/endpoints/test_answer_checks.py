"""Answers that are not as annotated: errors under test and in debug mode, not in production."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from support.serving import DEADLINE_S

from microweb import App, Response, Router
from microweb.typed import Meta


@dataclass
class Order:
    id: int
    note: Annotated[str, Meta(min_length=1)] = "-"


@dataclass
class Busy:
    wait: int


def returning(hint: Any, value: Any) -> Callable[..., Any]:
    async def endpoint() -> Any:
        return value

    endpoint.__annotations__["return"] = hint
    return endpoint


async def answer_of(hint: Any, value: Any) -> Any:
    app = App()
    app.get("/")(returning(hint, value))
    async with app.test_client() as client:
        return await client.get("/")


@pytest.mark.parametrize(
    ("hint", "value", "text"),
    [
        (Order, Order("x"), '#/id: expected an integer, got "x"'),  # type: ignore[arg-type]
        (Order, Order(1, ""), "#/note: expected a length of at least 1"),
        (list[Order], [Order(1), Order(None)], "#/1/id: expected an integer"),  # type: ignore[arg-type]
        (dict[str, int], {"a": "x"}, '#/a: expected an integer, got "x"'),
        (Order, {"note": "a"}, "expected Order, or an object with 'id', as annotated, got"),
        (Order, "text", "expected JSON as annotated, got text/plain; charset=utf-8: return a"),
        (Order, None, "expected JSON as annotated, got no content"),
        (int, "text", "expected JSON as annotated, got text/plain"),
        (int, 1.5, "expected an integer, got 1.5"),
        (Annotated[int, Meta(ge=1)], 0, "expected at least 1, got 0"),
        (
            tuple[Order, Literal[201]],
            (Order(1), 200),
            "expected the status 201 as annotated, got 200: return that status, or add it",
        ),
        (
            tuple[Order, Literal[201]] | tuple[Busy, Literal[409]],
            (Busy(1), 201),
            "#/id: missing",
        ),
    ],
)
async def test_answer_that_is_not_as_annotated_names_the_endpoint(
    hint: Any, value: Any, text: str
) -> None:
    with pytest.raises(TypeError) as caught:
        await answer_of(hint, value)
    assert "endpoint at test_answer_checks.py:" in str(caught.value)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("hint", "value", "status"),
    [
        (Order, Order(1), 200),
        (Order, Response.json({"any": "thing"}), 200),
        (Order | None, None, 204),
        (tuple[Order, int], (Order(1), 201), 201),
        (tuple[Order, Literal[201]] | tuple[Busy, Literal[409]], (Busy(1), 409), 409),
        (tuple[Order | None, Literal[200]], (None, 200), 200),
        (tuple[None, Literal[205]], (None, 205), 205),
        (dict, {"a": 1}, 200),
        (object, Order("x"), 200),  # type: ignore[arg-type]
        (str, "text", 200),
        (Order | str, "text", 200),
        (Order, ("text", 404), 404),
        (Annotated[int, Meta(ge=1)], 1, 200),
        (tuple[Order, Literal[201], dict[str, str]], (Order(1), 201, {"X": "y"}), 201),
    ],
)
async def test_answer_as_annotated_passes(hint: Any, value: Any, status: int) -> None:
    assert (await answer_of(hint, value)).status_code == status


async def test_routes_of_included_and_mounted_apps_are_checked() -> None:
    inner, router, app = App(), Router("/r"), App()
    wrong = returning(list[int], ["x"])
    inner.get("/")(wrong)
    router.get("/")(wrong)
    app.include(router)
    app.mount("/m", inner)
    async with app.test_client() as client:
        for path in ("/r/", "/m/"):
            with pytest.raises(TypeError, match="its answer is not as annotated"):
                await client.get(path)


async def test_debug_checks_too() -> None:
    app = App(debug=True)
    app.get("/")(returning(list[int], ["x"]))
    async with app.test_client(raise_errors=False, base_url="http://localhost") as client:
        response = await client.get("/")
    assert response.status_code == 500
    assert "its answer is not as annotated" in response.text


async def test_production_does_not_check() -> None:
    app = App()
    app.get("/")(returning(list[int], ["x"]))
    async with app.serve(host="127.0.0.1", port=0) as server, asyncio.timeout(DEADLINE_S):
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b'["x"]')
        writer.close()
