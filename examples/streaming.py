"""Streams, both ways: an answer that comes piece by piece, an upload that is never held whole.

$ python examples/streaming.py
$ curl -N http://localhost:5000/countdown
$ curl -T some-large-file http://localhost:5000/sha256
"""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256

from microweb import App, Request

PAUSE_S = 1.0

app = App()


@app.get("/countdown")
async def countdown(start: int = 5) -> AsyncIterator[str]:
    """Each piece is sent as it is made. A client that leaves ends the generator at its `await`."""
    for number in range(start, 0, -1):
        yield f"{number}\n"
        await asyncio.sleep(PAUSE_S)
    yield "lift-off\n"


@app.put("/sha256", max_body=1 << 30)
async def digest(request: Request) -> dict[str, object]:
    """Up to 1 GiB, in pieces of at most 64 KiB."""
    size, hashed = 0, sha256()
    async for piece in request.stream():
        size += len(piece)
        hashed.update(piece)
    return {"bytes": size, "sha256": hashed.hexdigest()}


if __name__ == "__main__":
    app.run()
