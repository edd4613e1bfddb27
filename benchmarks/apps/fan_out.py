"""A channel of event streams and WebSockets, and the longest time without a turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import thread_time

from microweb import App, Request, Response, WebSocket
from microweb.channels import Channels

TICK_S = 0.0005

app = App()
news = Channels(history=10)["news"]
holds = [0.0]


@app.lifespan
@asynccontextmanager
async def watch(app: App) -> AsyncIterator[None]:
    task = asyncio.create_task(tick())
    yield
    task.cancel()


async def tick() -> None:
    """Note how long the loop worked until it came back: processor time, as others use it too."""
    while True:
        begun = thread_time()
        await asyncio.sleep(TICK_S)
        holds[0] = max(holds[0], thread_time() - begun)


@app.get("/")
async def count() -> str:
    return str(len(news))


@app.get("/events")
async def events(request: Request) -> Response:
    return Response.events(news.subscribe(last_event_id=request.last_event_id))


@app.websocket("/socket")
async def socket(socket: WebSocket) -> None:
    async with news.forward(socket):
        async for _ in socket:
            pass


@app.post("/publish")
async def publish(request: Request) -> None:
    text = await request.text()
    holds[0] = 0.0
    await news.publish(text)


@app.get("/longest")
async def longest() -> str:
    return str(holds[0] * 1e3)
