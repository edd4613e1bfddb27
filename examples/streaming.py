"""Streams: an answer that is sent piece by piece, and an upload that is never whole in memory.

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
    """Yield pieces, which are sent immediately. If the client leaves, the `await` is cancelled."""
    for number in range(start, 0, -1):
        yield f"{number}\n"
        await asyncio.sleep(PAUSE_S)
    yield "lift-off\n"


@app.put("/sha256", max_body=1 << 30)
async def digest(request: Request) -> dict[str, object]:
    """Hash a body of up to 1 GiB, in pieces of at most 64 KiB."""
    size, hashed = 0, sha256()
    async for piece in request.stream():
        size += len(piece)
        hashed.update(piece)
    return {"bytes": size, "sha256": hashed.hexdigest()}


if __name__ == "__main__":
    app.run()
