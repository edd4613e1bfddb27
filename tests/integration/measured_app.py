"""An application in its own process, for measurements: `measured_app.py LOOP [FILES]`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

from microweb import App, Request, Response

PIECE = bytes(64 * 1024)

app = App()


@app.get("/")
async def index() -> str:
    return "index"


@app.post("/upload", max_body=1 << 30)
async def upload(request: Request) -> str:
    size = 0
    async for piece in request.stream():
        size += len(piece)
    return str(size)


@app.get("/download")
async def download(mib: int) -> AsyncIterator[bytes]:
    for _ in range(mib * 16):
        yield PIECE


@app.get("/file")
async def file(path: str) -> Response:
    return Response.file(path)


if __name__ == "__main__":
    loop, *files = sys.argv[1:]
    if files:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (int(files[0]),) * 2)
    app.run(host="127.0.0.1", port=0, loop=loop, log="off")  # type: ignore[arg-type]
