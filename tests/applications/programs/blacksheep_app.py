"""An application of BlackSheep."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from blacksheep import (
    Application,
    Content,
    FromFiles,
    FromJSON,
    Request,
    Response,
    StreamedContent,
    WebSocket,
    json,
    redirect,
    text,
)
from blacksheep.server.openapi.v3 import OpenAPIHandler
from blacksheep.server.websocket import WebSocketDisconnectError
from openapidocs.v3 import Info

app = Application()
docs = OpenAPIHandler(info=Info(title="Shop", version="1"))
docs.bind_app(app)
app.use_sessions("not a secret")
app.serve_files(Path(__file__).parent / "static", root_path="static")
events: list[str] = []


@dataclass
class Item:
    name: str
    price: float


@app.on_start
async def start(app: Application) -> None:
    events.append("started")


@app.on_stop
async def stop(app: Application) -> None:
    print("stopped", flush=True)


@app.router.get("/")
async def index(request: Request) -> Response:
    return text(f"{request.session.get('name')} {request.client_ip}")


@app.router.post("/login")
async def login(request: Request) -> Response:
    form = await request.form()
    request.session["name"] = form["name"]
    return redirect("/")


@app.router.get("/items/{number}")
async def item(number: int, size: int = 1) -> Response:
    return json({"number": number, "size": size})


@app.router.post("/items")
async def make(data: FromJSON[Item]) -> Response:
    return json({"name": data.value.name}, 201)


@app.router.post("/upload")
async def upload(files: FromFiles) -> Response:
    return json([[part.file_name.decode(), len(part.data)] for part in files.value])


@app.router.post("/body")
async def body(request: Request) -> Response:
    size = 0
    async for piece in request.stream():
        size += len(piece)
    return text(str(size))


@app.router.get("/ticks")
async def ticks() -> Response:
    async def lines() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"tick\n"
            await asyncio.sleep(0)

    return Response(200, content=StreamedContent(b"text/plain", lines))


@app.router.get("/events")
async def get_events() -> Response:
    return Response(200, content=Content(b"text/plain", ",".join(events).encode()))


@app.router.ws("/echo/{name}")
async def echo(websocket: WebSocket, name: str) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(f"{name} {await websocket.receive_text()}")
    except WebSocketDisconnectError:
        events.append(f"{name} left")
