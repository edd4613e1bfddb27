"""The short answers of `python -m benchmarks` on Sanic: `python site_sanic.py PORT`."""

import logging
import sys

from sanic import HTTPResponse, Request, Sanic, json, text
from site_data import PIECE, PIECES

app = Sanic("site", configure_logging=False)
logging.getLogger("sanic.error").setLevel(logging.CRITICAL)


@app.get("/")
async def index(request: Request) -> HTTPResponse:
    return text("Hello, World!")


@app.get("/user/<id:int>")
async def user(request: Request, id: int) -> HTTPResponse:
    return text(f"user {id}")


@app.get("/json")
async def answer_json(request: Request) -> HTTPResponse:
    return json({"message": "Hello, World!"})


@app.post("/echo")
async def echo(request: Request) -> HTTPResponse:
    return json(request.json)


@app.get("/stream")
async def stream(request: Request) -> None:
    response = await request.respond(content_type="application/octet-stream")
    for _ in range(PIECES):
        await response.send(PIECE)
    await response.eof()


if __name__ == "__main__":
    app.run("127.0.0.1", int(sys.argv[1]), single_process=True, access_log=False, motd=False)
