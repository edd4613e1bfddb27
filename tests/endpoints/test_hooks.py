"""before_request and after_request."""

from __future__ import annotations

import pytest
from support.apps import client_of, hello

from microweb import (
    App,
    ConfigurationError,
    Request,
    Response,
    abort,
)


def test_hooks_of_a_wrong_number_of_parameters_are_refused() -> None:
    app = App()
    with pytest.raises(
        ConfigurationError, match=r"before_request takes \(request\), this takes \(\)"
    ):
        app.before_request(lambda: None)
    with pytest.raises(
        ConfigurationError, match=r"after_request takes \(request, response\), this "
    ):
        app.after_request(lambda response: response)
    with pytest.raises(ConfigurationError, match=r"^before_request: expected a function, got 'x'"):
        app.before_request("x")  # type: ignore[type-var]


async def test_before_request_may_answer() -> None:
    app, trace = App(), []

    @app.before_request
    async def first(request: Request) -> None:
        trace.append("first")

    @app.before_request
    def second(request: Request) -> object:  # in a thread
        trace.append("second")
        return ("stop", 403) if request.query.get("stop") else None

    @app.get("/")
    async def index() -> str:
        trace.append("index")
        return "hi"

    async with client_of(app) as client:
        assert (await client.get("/")).text == "hi"
        response = await client.get("/?stop=1")
    assert (response.status_code, response.text) == (403, "stop")
    assert trace == ["first", "second", "index", "first", "second"]


async def test_after_request_runs_for_errors_too() -> None:
    app = App()

    @app.after_request
    def stamp(request: Request, response: Response) -> None:  # in a thread
        response.headers["X-Status"] = str(response.status)

    @app.after_request
    async def replace(request: Request, response: Response) -> object:
        return ("teapot", 418) if request.path == "/tea" else None

    @app.before_request
    async def guard(request: Request) -> None:
        if request.path == "/secret":
            abort(401)

    @app.get("/")
    async def index() -> str:
        raise ValueError

    async with client_of(app, raise_errors=False) as client:
        for path, status in (("/", 500), ("/no", 404), ("/tea", 418), ("/secret", 401)):
            response = await client.get(path)
            assert (response.status_code, response.headers["x-status"]) == (status, str(status))


async def test_hook_that_fails_is_named(caplog: pytest.LogCaptureFixture) -> None:
    app = App()

    @app.before_request
    async def rubbish(request: Request) -> object:
        return 5

    app.get("/")(hello)
    async with client_of(app, raise_errors=False) as client:
        assert (await client.get("/")).status_code == 500
    assert "rubbish at test_hooks.py" in caplog.text
