"""Error records name the route and the trace, whatever part of the application failed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Annotated, Any

import pytest
from support.answering import make_request
from support.processes import DEADLINE_S

from microweb import WSGI, App, Request, Response, WebSocket
from microweb.http.request_log import log_fields
from microweb.request import Handler
from microweb.typed import Depends

TRACE = {"request_id": "abc", "trace_id": "a" * 32, "span_id": "b" * 16}


class Records(logging.Handler):
    """Keeps the records, and tells when there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self._loop.call_soon_threadsafe(self._changed.set)

    async def first(self) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_S):
            await self._changed.wait()
        (record,) = self.records
        assert record.name == "microweb.error" and record.exc_info is not None
        return vars(record)


async def trace(request: Request, call_next: Handler) -> Response:
    """Set the ids, as `RequestID` and `Tracing` do."""
    request.state.request_id = TRACE["request_id"]
    request.exchange.trace_id, request.exchange.span_id = TRACE["trace_id"], TRACE["span_id"]
    return await call_next(request)


async def session() -> AsyncIterator[str]:
    yield "session"
    raise LookupError("in the clean-up")


def make_app() -> App:
    app, inner = App(), App()
    app.use(trace)

    @app.get("/users/{id}")
    async def user(id: int) -> str:
        raise LookupError("in the endpoint")

    @app.get("/session/{id}")
    async def clean_up(id: int, value: Annotated[str, Depends(session)]) -> str:
        return value

    @app.websocket("/chat/{room}")
    async def chat(room: str, socket: WebSocket) -> None:
        await socket.send("open")
        raise LookupError("in the WebSocket")

    @inner.get("/{name}")
    async def show(name: str) -> str:
        raise LookupError("in an app below a prefix")

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"asgi"})
            raise LookupError("after the answer")

    class Bad(list[bytes]):
        def close(self) -> None:
            raise LookupError("in close")

    def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "4")])
        return Bad([b"wsgi"])

    app.mount("/inner", inner)
    app.mount("/asgi", asgi)
    app.mount("/wsgi", WSGI(wsgi))
    return app


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/users/7", "/users/{id}"),
        ("/session/7", "/session/{id}"),
        ("/chat/7", "/chat/{room}"),
        ("/inner/7", "/inner/{name}"),
        ("/asgi/7", None),
        ("/wsgi/7", None),
    ],
)
async def test_error_record_names_the_route_and_the_trace(path: str, route: str | None) -> None:
    records, logger = Records(), logging.getLogger("microweb.error")
    logger.addHandler(records)
    try:
        async with make_app().test_client(raise_errors=False) as client:
            if path.startswith("/chat"):
                async with client.websocket(path) as socket:
                    assert await socket.receive() == "open"
                    found = await records.first()
            else:
                await client.get(path)
                found = await records.first()
    finally:
        logger.removeHandler(records)
    assert {name: found[name] for name in TRACE} == TRACE
    assert found["route"] == route


def test_request_without_ids_makes_no_exchange() -> None:
    request = make_request()
    nothing = {"request_id": None, "route": None, "trace_id": None, "span_id": None}
    assert log_fields(request) == nothing
    assert not request.has_exchange
    assert log_fields(None) == {"request_id": None}
