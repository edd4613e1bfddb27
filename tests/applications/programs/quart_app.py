"""An application of Quart."""

import asyncio
from collections.abc import AsyncIterator

from quart import (
    Quart,
    abort,
    redirect,
    render_template_string,
    request,
    session,
    url_for,
    websocket,
)

app = Quart(__name__, static_folder="static")
app.secret_key = "not a secret"
events: list[str] = []


@app.before_serving
async def open_pool() -> None:
    events.append("opened")


@app.after_serving
async def close_pool() -> None:
    print("closed", flush=True)


@app.get("/")
async def index():
    return await render_template_string(
        "{{ session.name }} {{ url_for('static', filename='style.css') }} {{ request.url }}"
    )


@app.post("/login")
async def login():
    session["name"] = (await request.form)["name"]
    return redirect(url_for("index"))


@app.post("/json")
async def json():
    return {"got": await request.get_json()}, 201


@app.post("/upload")
async def upload():
    return {name: len(file.read()) for name, file in (await request.files).items()}


@app.post("/body")
async def body():
    size = 0
    async for piece in request.body:
        size += len(piece)
    return str(size)


@app.get("/ticks")
async def ticks():
    async def lines() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"tick\n"
                await asyncio.sleep(0.01)
        finally:
            events.append("ticks ended")

    return lines(), {"Content-Type": "text/plain"}


@app.get("/teapot")
async def teapot():
    abort(418)


@app.get("/work")
async def work():
    async def later() -> None:
        events.append("worked")

    app.add_background_task(later)
    return "begun"


@app.get("/events")
async def get_events():
    return events


@app.websocket("/echo/<name>")
async def echo(name: str):
    if name == "nobody":
        return "who are you?", 401
    try:
        while True:
            await websocket.send(f"{name} {await websocket.receive()}")
    except asyncio.CancelledError:
        events.append(f"{name} left")
        raise
