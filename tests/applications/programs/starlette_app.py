"""An application of Starlette: routes, middleware, sessions, files, streams, WebSockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

events: list[str] = []


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
    yield {"pool": "open"}
    print("the pool is closed", flush=True)


class Timed(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next) -> Response:
        response = await call_next(request)
        response.headers["X-Timed"] = "yes"
        return response


async def index(request: Request) -> Response:
    return JSONResponse({"pool": request.state.pool, "name": request.session.get("name")})


async def login(request: Request) -> Response:
    async with request.form() as form:
        request.session["name"] = form["name"]
    return Response(status_code=204)


async def user(request: Request) -> Response:
    return PlainTextResponse(
        f"{request.path_params['number']} {request.url} {request.url_for('user', number=8)} "
        f"{request.client.host}"
    )


async def body(request: Request) -> Response:
    size, pieces = 0, 0
    async for piece in request.stream():
        size, pieces = size + len(piece), pieces + 1
    return JSONResponse({"size": size, "is_streamed": pieces > 2})


async def ticks(request: Request) -> Response:
    async def lines() -> AsyncIterator[bytes]:
        number = 0
        try:
            while True:
                yield b"tick %d\n" % number
                number += 1
                await asyncio.sleep(0.01)
        finally:
            events.append("the ticks have ended")

    return StreamingResponse(lines(), media_type="text/plain")


async def large(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100_000

    return StreamingResponse(pieces(), headers={"Content-Length": "10000000"})


async def wait(request: Request) -> Response:
    events.append("waiting")
    while not await request.is_disconnected():
        await asyncio.sleep(0.01)
    events.append("the client has left")
    return Response()


async def work(request: Request) -> Response:
    return PlainTextResponse("begun", background=BackgroundTask(events.append, "worked"))


async def get_events(request: Request) -> Response:
    return JSONResponse(events)


async def source(request: Request) -> Response:
    return FileResponse(Path(__file__))


async def teapot(request: Request) -> Response:
    raise HTTPException(418, "short and stout")


async def fail(request: Request) -> Response:
    raise RuntimeError("no such luck")


class Thing(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return PlainTextResponse("got")

    async def put(self, request: Request) -> Response:
        return PlainTextResponse(await request.body())


class Echo(WebSocketEndpoint):
    encoding = "bytes"

    async def on_receive(self, websocket: WebSocket, data: bytes) -> None:
        await websocket.send_bytes(data[::-1])

    async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
        events.append(f"closed {close_code}")


async def chat(websocket: WebSocket) -> None:
    if websocket.headers.get("authorization") is None:
        await websocket.send_denial_response(PlainTextResponse("who are you?", 401))
        return
    await websocket.accept("chat", [(b"x-pool", websocket.state.pool.encode())])
    async for data in websocket.iter_json():
        if data == "bye":
            await websocket.close(4001, "as you like")
            return
        await websocket.send_json({"got": data})


routes = [
    Route("/", index),
    Route("/login", login, methods=["POST"]),
    Route("/users/{number:int}", user, name="user"),
    Route("/body", body, methods=["POST"]),
    Route("/ticks", ticks),
    Route("/large", large),
    Route("/wait", wait),
    Route("/work", work),
    Route("/events", get_events),
    Route("/source", source),
    Route("/teapot", teapot),
    Route("/fail", fail),
    Route("/thing", Thing),
    Mount("/static", StaticFiles(directory=Path(__file__).parent / "static", html=True)),
    Mount("/sub", routes=[Route("/users/{number:int}", user)]),
    WebSocketRoute("/echo", Echo),
    WebSocketRoute("/chat", chat),
]
app = Starlette(
    routes=routes,
    lifespan=lifespan,
    middleware=[
        Middleware(Timed),
        Middleware(SessionMiddleware, secret_key="not a secret"),
        Middleware(GZipMiddleware, minimum_size=1000),
    ],
)
bare = Starlette(routes=routes, lifespan=lifespan)
