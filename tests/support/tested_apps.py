"""Applications for tests of the testing package."""

from __future__ import annotations

from collections.abc import AsyncIterator

from microweb import App, Request

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Broken(Exception):
    """The error that an endpoint of these tests raises."""


def hello_app() -> App:
    """Return an app with endpoints that respond, echo, and fail."""
    app = App()

    @app.get("/")
    async def hello() -> str:
        return "hello"

    @app.get("/port")
    async def port(request: Request) -> str:
        assert request.client is not None
        return str(request.client.port)

    @app.post("/echo")
    async def echo(request: Request) -> bytes:
        return await request.body()

    @app.get("/broken")
    async def broken() -> str:
        raise Broken("as told")

    return app


def with_lifespan(events: list[str]) -> App:
    """Return an app that records the events of its lifespan and its requests."""
    app = App()

    @app.lifespan
    async def life(app: App) -> AsyncIterator[dict[str, int]]:
        events.append("enter")
        yield {"answer": 42}
        events.append("leave")

    @app.get("/")
    async def show() -> str:
        events.append("request")
        return str(getattr(app.state, "answer", None))

    return app
