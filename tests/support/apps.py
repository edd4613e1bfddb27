"""Parts of applications in tests: clients, endpoints, error handlers, middleware that traces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from microweb import App, Handler, Request, Response
from microweb.endpoints.error_handler import ErrorKey
from microweb.testing.client import TestClient


def client_of(app: App, **options: Any) -> TestClient:
    return app.test_client(follow_redirects=False, **options)


async def hello(request: Request, **params: object) -> str:
    return f"{request.prefix}|{request.path}"


def noted(lifespan_log: list[str], name: str) -> Callable[[App], AsyncIterator[dict[str, object]]]:
    async def life(app: App) -> AsyncIterator[dict[str, object]]:
        lifespan_log.append(name)
        try:
            yield {name: True}
        finally:
            lifespan_log.append(f"/{name}")

    return life


def tracer(trace: list[str], name: str) -> Callable[[Request, Handler], Awaitable[Response]]:
    async def middleware(request: Request, call_next: Handler) -> Response:
        trace.append(name)
        response = await call_next(request)
        trace.append(f"/{name}")
        return response

    return middleware


def raising(error: Exception, *, debug: bool = False) -> App:
    app = App(debug=debug)

    @app.get("/")
    async def index() -> str:
        raise error

    return app


def answering(app: App, *keys: ErrorKey) -> App:
    """Register an error handler for each key, which responds with the key's name."""
    for key in keys:
        app.errorhandler(key)(named(key))
    return app


def named(key: ErrorKey) -> Callable[[], Awaitable[str]]:
    async def handler() -> str:
        return key.__name__ if isinstance(key, type) else str(key)

    return handler


async def get(app: App, url: str = "/", **options: Any) -> Any:
    async with app.test_client(raise_errors=False) as client:
        return await client.get(url, **options)
