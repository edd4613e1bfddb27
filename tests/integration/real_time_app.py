"""Event streams and WebSockets on one channel: python real_time_app.py LOOP HOST PING_S"""

from __future__ import annotations

import asyncio
import sys

from microweb import App, Request, Response, WebSocket
from microweb.channels.channel import Channels

HEARTBEAT_S = 1.0

app = App()
channels = Channels(history=10)
news = channels["news"]


@app.get("/events")
async def events(request: Request) -> Response:
    subscription = news.subscribe(last_event_id=request.last_event_id)
    return Response.events(subscription, heartbeat_s=HEARTBEAT_S)


@app.websocket("/socket")
async def socket(socket: WebSocket) -> None:
    async with news.forward(socket):
        async for _ in socket:
            pass


@app.post("/publish")
async def publish(request: Request) -> None:
    await news.publish(await request.text())


@app.get("/counts")
async def counts() -> dict[str, int]:
    return {"subscribers": len(news), "tasks": len(asyncio.all_tasks())}


@app.on_shutdown
async def say_so() -> None:
    print("shutdown handler ran", flush=True)


if __name__ == "__main__":
    loop, host, ping_s = sys.argv[1:]
    app.run(
        host,
        0,
        loop=loop,  # type: ignore[arg-type]
        log="off",
        ping_interval_s=float(ping_s),
        ping_timeout_s=float(ping_s),
    )
