"""An application that buffers for its clients: `slow_memory_app.py LOOP MAX_BUFFERED`."""

from __future__ import annotations

import sys

from microweb import App, Request, WebSocket, from_thread

LARGE = 20 * 1000 * 1000
CONSTANT = b"x" * LARGE

app = App()


@app.get("/")
async def index() -> str:
    return "index"


@app.post("/body")
async def body(request: Request) -> str:
    return str(len(await request.body()))


@app.post("/thread")
def thread(request: Request) -> str:
    return str(len(from_thread(request.body())))


@app.post("/form")
async def form(request: Request) -> str:
    return str(len(await request.form()))


@app.get("/large")
async def large() -> bytes:
    return b"x" * LARGE


@app.get("/constant")
async def constant() -> bytes:
    return CONSTANT


@app.websocket("/messages", origins="*")
async def messages(socket: WebSocket) -> None:
    async for message in socket:
        await socket.send(str(len(message)))


if __name__ == "__main__":
    loop, max_buffered = sys.argv[1:]
    app.run(
        host="127.0.0.1",
        port=0,
        loop=loop,  # type: ignore[arg-type]
        log="off",
        max_buffered=int(max_buffered),
        trusted_proxies=("127.0.0.3",),
    )
