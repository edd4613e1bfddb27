"""A user's error handler: its parameters, and the answer that it returns."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from support.apps import answering, get, raising

from microweb import App, ConfigurationError, HTTPError, Request, Response
from microweb.endpoints.error_handler import ErrorHandler
from microweb.errors import NotFound


def test_an_error_handler_says_whether_it_takes_the_request() -> None:
    assert ErrorHandler(404, both).takes_request
    assert not ErrorHandler(404, lambda error: "gone").takes_request


async def both(request: Request, error: NotFound) -> str:
    return f"{request.path} {error.detail}"


async def swapped(error: Exception, request: Request) -> str:
    return f"{request.path} {error}"


async def by_annotation(req: Request, problem: NotFound) -> str:
    return f"{req.path} {problem.detail}"


async def by_position(request: Request, error: NotFound, /) -> str:
    return f"{request.path} {error.detail}"


async def by_keyword(*, error: NotFound, request: Request) -> str:
    return f"{request.path} {error.detail}"


def in_a_thread(request: Request, error: NotFound) -> str:
    return f"{request.path} {error.detail}"


class Handler:
    async def __call__(self, request: Request, error: NotFound) -> str:
        return f"{request.path} {error.detail}"


def decorated() -> Callable[..., object]:
    @functools.wraps(both)
    def wrapper(*args: Any, **kwargs: Any) -> object:
        return both(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    "handler",
    [both, by_annotation, by_position, by_keyword, in_a_thread, Handler(), decorated()],
)
async def test_handler_gets_request_and_error(handler: Callable[..., object]) -> None:
    app = raising(NotFound("gone"))
    app.errorhandler(404)(handler)
    response = await get(app)
    assert (response.status_code, response.text) == (404, "/ gone")


async def test_parameters_may_stand_in_any_order_or_be_left_out() -> None:
    app = raising(NotFound("gone"))
    app.errorhandler(404)(swapped)
    assert (await get(app)).text == "/ 404 gone"
    assert (await get(answering(raising(NotFound()), 404))).text == "404"


@pytest.mark.parametrize(
    ("value", "status", "text"),
    [
        ("gone", 404, "gone"),
        ({"a": 1}, 404, '{"a":1}'),
        (None, 404, ""),
        (("gone", {"X-A": "1"}), 404, "gone"),
        (("gone", 410), 410, "gone"),
        (("gone", 200, {"X-A": "1"}), 200, "gone"),
        (Response("mine", 203), 203, "mine"),
    ],
)
async def test_plain_value_keeps_the_status_of_the_error(
    value: object, status: int, text: str
) -> None:
    app = App()

    @app.errorhandler(404)
    async def missing() -> object:
        return value

    response = await get(app)
    assert (response.status_code, response.text) == (status, text)


async def test_header_fields_of_the_error_stay() -> None:
    app = answering(raising(HTTPError(401, headers={"WWW-Authenticate": "Basic"})), 401, 405)
    assert (await get(app)).headers["www-authenticate"] == "Basic"
    async with app.test_client() as client:
        response = await client.post("/")
    assert (response.text, response.headers["allow"]) == ("405", "GET, HEAD, OPTIONS")


def test_handler_of_a_parameter_that_it_is_not_given() -> None:
    with pytest.raises(ConfigurationError) as caught:

        @App().errorhandler(404)
        async def missing(request: Request, user: str) -> None: ...

    assert "missing at test_error_handler.py:" in str(caught.value)
    assert "expected only the parameters 'request' and 'error'" in str(caught.value)
    assert "got 'user'" in str(caught.value)


async def test_handler_that_returns_rubbish_is_named(caplog: pytest.LogCaptureFixture) -> None:
    app = App()

    @app.errorhandler(404)
    async def missing() -> object:
        return 5

    assert (await get(app)).status_code == 500
    assert "missing at test_error_handler.py" in caplog.text
    assert "returned int" in caplog.text
