"""The chain of a route: middleware around an endpoint, and the errors raised in it."""

from __future__ import annotations

from typing import Any

import pytest
from support.apps import client_of, hello, tracer

from microweb import App, Handler, Request, Response, Router, abort
from microweb.dispatch.chain import _is_ours
from microweb.middleware.cors import CORS


async def of_an_application(request: Request, call_next: Handler) -> Response:
    return await call_next(request)


def test_middleware_of_microweb_is_known_as_such() -> None:
    """Its responses are not copied, because a copy takes time."""
    assert _is_ours(CORS("*"))
    assert not _is_ours(of_an_application)


async def test_first_registered_middleware_is_outermost() -> None:
    app, trace = App(), []
    app.use(tracer(trace, "a"))
    app.get("/", use=[tracer(trace, "route 1"), tracer(trace, "route 2")])(hello)
    app.middleware(tracer(trace, "b"))
    async with client_of(app) as client:
        await client.get("/")
    assert trace == ["a", "b", "route 1", "route 2", "/route 2", "/route 1", "/b", "/a"]


async def test_middleware_of_routers_and_mounts_runs_inside_the_apps() -> None:
    app, inner, trace = App(), App(), []
    router = Router("/r", use=[tracer(trace, "router")])
    router.get("/", use=[tracer(trace, "route")])(hello)
    router.use(tracer(trace, "router later"))
    inner.include(router)
    inner.use(tracer(trace, "inner"))
    app.mount("/m", inner, use=[tracer(trace, "mount")])
    app.use(tracer(trace, "app"))
    async with client_of(app) as client:
        assert (await client.get("/m/r/")).text == "/m|/r/"
    begun = ["app", "mount", "inner", "router", "router later", "route"]
    assert trace == begun + [f"/{name}" for name in reversed(begun)]


async def test_use_of_a_mounted_router() -> None:
    app, router, trace = App(), Router(), []
    router.get("/x")(hello)
    app.mount("/m", router, use=[tracer(trace, "mount")])
    async with client_of(app) as client:
        assert (await client.get("/m/x")).text == "|/m/x"
    assert trace == ["mount", "/mount"]


async def test_object_as_middleware() -> None:
    class Stamp:
        async def __call__(self, request: Request, call_next: Handler) -> Response:
            response = await call_next(request)
            response.headers["X-Stamp"] = "yes"
            return response

    app = App()
    app.use(Stamp())
    app.get("/")(hello)
    async with client_of(app) as client:
        assert (await client.get("/")).headers["x-stamp"] == "yes"


@pytest.mark.parametrize(
    ("value", "status", "text"),
    [("no", 200, "no"), (("no", 403), 403, "no"), ({"a": 1}, 200, '{"a":1}'), (b"", 200, "")],
)
async def test_middleware_may_return_what_an_endpoint_may(
    value: Any, status: int, text: str
) -> None:
    app = App()

    @app.middleware
    async def stop(request: Request, call_next: Handler) -> Any:
        return value

    app.get("/")(hello)
    async with client_of(app) as client:
        response = await client.get("/")
    assert (response.status_code, response.text) == (status, text)


async def test_middleware_always_gets_a_response() -> None:
    app, seen = App(), []

    @app.middleware
    async def look(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        seen.append((isinstance(response, Response), response.status, type(request.error).__name__))
        return response

    @app.middleware
    async def guard(request: Request, call_next: Handler) -> Response:
        if request.path == "/secret":
            abort(401)
        return await call_next(request)

    @app.get("/")
    async def index(request: Request) -> str:
        raise ValueError(request.path)

    app.get("/text")(hello)
    async with client_of(app, raise_errors=False) as client:
        for path in ("/", "/text", "/nowhere", "/secret"):
            await client.get(path)
        await client.post("/")
    assert seen == [
        (True, 500, "ValueError"),
        (True, 200, "NoneType"),
        (True, 404, "NotFound"),
        (True, 401, "Unauthorized"),
        (True, 405, "MethodNotAllowed"),
    ]


async def test_fault_of_middleware_is_a_500_that_says_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App()

    @app.middleware
    async def fail(request: Request, call_next: Handler) -> Response:
        await call_next(request)
        raise ValueError("secret")

    app.get("/")(hello)
    async with client_of(app, raise_errors=False) as client:
        response = await client.get("/")
    assert (response.status_code, response.text) == (500, "Internal Server Error\n")
    assert [record.name for record in caplog.records] == ["microweb.error"]


async def test_middleware_that_returns_rubbish_is_named() -> None:
    app = App()

    @app.middleware
    async def rubbish(request: Request, call_next: Handler) -> Any:
        return 5

    app.get("/")(hello)
    with pytest.raises(TypeError, match=r"rubbish at test_chain.py:\d+ returned int"):
        async with client_of(app) as client:
            await client.get("/")


async def test_middleware_that_returns_nothing_forgot_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App()

    @app.middleware
    async def forgetful(request: Request, call_next: Handler) -> Any:
        await call_next(request)

    app.get("/")(hello)
    async with app.test_client(raise_errors=False) as client:
        assert (await client.get("/")).status_code == 500
    assert "forgetful at test_chain.py:" in caplog.text
    assert "returned None: did you forget `return await call_next(request)`?" in caplog.text
