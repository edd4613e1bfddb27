"""A small site with each kind of request that a proxy must forward. Replace it by your own app.

$ microweb run app.py      then open http://localhost:5000
"""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256

from microweb import App, Request, Response, WebSocket, html
from microweb.middleware.health import Health

MAX_UPLOAD = 64 * 1024 * 1024  # nginx.conf and Caddyfile have the same limit

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>It works</title>
<p>Events: <output id="ticks">none yet</output>. WebSocket: <output id="echo">no answer yet</output>
<form method="post" action="/uploads" enctype="multipart/form-data">
  <input name="file" type="file" required><button>Upload</button></form>
<script>
  const show = id => message => document.getElementById(id).textContent = message.data;
  new EventSource("/ticks").onmessage = show("ticks");
  const socket = new WebSocket(location.origin.replace("http", "ws") + "/echo");
  socket.onmessage = show("echo");
  socket.onopen = () => socket.send("it answers");
</script>"""

app = App()
app.use(Health())  # before all other middleware: a probe names an IP address as its host


@app.get("/")
async def index() -> str:
    return html(PAGE)


@app.get("/client")
async def client(request: Request) -> dict[str, str]:
    """Return the client and the URL as the app sees them: they must be those of the browser."""
    return {"client": request.client.host if request.client else "", "url": request.url}


@app.get("/ticks")
async def ticks(pause_s: float = 1.0) -> Response:
    return Response.events(count(max(pause_s, 0.1)))


async def count(pause_s: float) -> AsyncIterator[str]:
    number = 0
    while True:
        number += 1
        yield str(number)
        await asyncio.sleep(pause_s)


@app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    async for message in socket:
        await socket.send(message)


@app.post("/uploads", max_body=MAX_UPLOAD)
async def upload(request: Request) -> dict[str, object]:
    """Hash a file. One of more than 1 MiB is in TMPDIR until the response is made."""
    file = (await request.form()).files["file"]
    hashed = sha256()
    async for piece in file:
        hashed.update(piece)
    return {"name": file.filename, "bytes": file.size, "sha256": hashed.hexdigest()}
