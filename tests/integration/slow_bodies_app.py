"""An application of plain `def` endpoints, for clients that send slowly: `slow_bodies_app.py LOOP`.

The folder of this file is served below `/static`. No deadline ends a client that is slow.
"""

from __future__ import annotations

import sys
from pathlib import Path

from microweb import App, Request, Response, from_thread
from microweb.middleware.authentication import BasicAuth

app = App()


def check(user: str, password: str) -> bool:
    return user == "ada" and password == "correct"


@app.get("/plain")
def plain() -> str:
    return "plain"


@app.post("/slow")
def slow(request: Request) -> str:
    return from_thread(request.text())


@app.post("/stream", max_body=1 << 30)
def stream(request: Request) -> str:
    async def count() -> int:
        return sum([len(piece) async for piece in request.stream()])

    return str(from_thread(count()))


@app.post("/form")
def form(request: Request) -> str:
    return from_thread(request.form())["name"]


@app.post("/ignore")
def ignore() -> str:
    return "ignored"


@app.get("/file")
async def file() -> Response:
    return Response.file(__file__)


@app.get("/private", use=[BasicAuth(check, realm="test")])
async def private() -> str:
    return "private"


app.static("/static", Path(__file__).parent)

if __name__ == "__main__":
    app.run(
        host="127.0.0.1",
        port=0,
        loop=sys.argv[1],  # type: ignore[arg-type]
        log="off",
        body_timeout_s=1000,
        write_timeout_s=1000,
    )
