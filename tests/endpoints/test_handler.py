"""Kinds of functions as endpoints: each is called, on the loop or in a thread."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.endpoints import Endpoint, app_with, get

from microweb import App, Handler, Request, Response, from_thread


class Users:
    async def show(self, id: int) -> str:
        return f"user {id}"

    async def __call__(self, request: Request, id: int) -> str:
        return f"{request.method} {id}"


async def test_bound_method() -> None:
    assert (await get(Users().show, "/5", "/{id}")).text == "user 5"


async def test_callable_object() -> None:
    assert (await get(Users(), "/5", "/{id}")).text == "GET 5"


async def test_partial_keeps_what_it_gives() -> None:
    async def show(request: Request, greeting: str, id: int, limit: int = 1) -> str:
        return f"{greeting} {id} {limit} {request.method}"

    given = functools.partial(show, greeting="hi", limit=7)
    assert (await get(given, "/5?greeting=no&limit=9", "/{id}")).text == "hi 5 7 GET"


async def test_partial_of_a_positional_argument() -> None:
    async def show(store: dict[str, str], id: str) -> str:
        return store[id]

    assert (await get(functools.partial(show, {"a": "b"}), "/a", "/{id}")).text == "b"


async def test_plain_def_runs_beside_the_loop() -> None:
    import threading

    main = threading.get_ident()

    def show(id: int) -> str:
        return f"{id} {threading.get_ident() != main}"

    assert (await get(show, "/5", "/{id}")).text == "5 True"


async def test_plain_def_awaits_by_from_thread() -> None:
    app = App()

    @app.post("/")
    def echo(request: Request) -> Any:
        return {"got": from_thread(request.json())}

    async with app.test_client() as client:
        assert (await client.post("/", json=[1])).json() == {"got": [1]}


def opaque(function: Endpoint) -> Endpoint:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


async def test_decorator_keeps_the_name_of_the_route() -> None:
    @opaque
    async def show(request: Request) -> str:
        return ""

    assert app_with(show).routes[0].name == "show"


def test_decorators_of_the_app_return_the_function_untouched() -> None:
    async def show(request: Request) -> str:
        return ""

    async def around(request: Request, call_next: Handler) -> Response:
        return await call_next(request)

    app = App()
    assert app.get("/a", name="a")(app.post("/a")(show)) is show
    assert app.middleware(around) is around
    assert app.before_request(show) is show
    assert app.errorhandler(404)(show) is show
    assert app.on_startup(show) is show


# --- answers --------------------------------------------------------------------------


async def test_a_fault_of_the_endpoint_is_answered_by_the_app() -> None:
    app = App()

    @app.get("/")
    async def show() -> str:
        raise ValueError("of the endpoint")

    @app.errorhandler(ValueError)
    async def failed(error: ValueError) -> tuple[str, int]:
        return str(error), 409

    async with app.test_client() as client:
        response = await client.get("/")
    assert (response.status_code, response.text) == (409, "of the endpoint")


async def test_a_text_that_has_no_encoding_is_named() -> None:
    async def show() -> str:
        return "a\ud800"

    with pytest.raises(ValueError, match="at index 1, after"):
        await get(show)


async def test_what_a_plain_hook_returns_is_awaited() -> None:
    async def answer(request: Request) -> str:
        return "awaited"

    app = App()
    app.before_request(lambda request: answer(request))
    async with app.test_client() as client:
        assert (await client.get("/")).text == "awaited"


async def test_a_plain_def_may_read_a_body_that_is_on_its_way() -> None:
    app = App()

    @app.post("/")
    def show(request: Request) -> bytes:
        return from_thread(request.body())

    async def pieces() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(0)
        yield b"b"

    async with app.test_client() as client:
        assert (await client.post("/", content=pieces())).content == b"ab"
