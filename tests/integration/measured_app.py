"""An application in its own process, for measurements: `measured_app.py LOOP [FILES]`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import BinaryIO

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


@app.get("/exhaust")
async def exhaust(seconds: float) -> str:
    """Open files until no descriptor is left, and close them after some seconds."""
    files: list[BinaryIO] = []
    with suppress(OSError):
        while True:
            files.append(open("/dev/null", "rb"))  # noqa: SIM115

    def release() -> None:
        for each in files:
            each.close()

    asyncio.get_running_loop().call_later(seconds, release)
    return str(len(files))


if __name__ == "__main__":
    loop, *files = sys.argv[1:]
    if files:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (int(files[0]),) * 2)
    app.run(host="127.0.0.1", port=0, loop=loop, log="off")  # type: ignore[arg-type]
