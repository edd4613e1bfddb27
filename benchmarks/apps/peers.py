"""The application of these benchmarks for other servers: the process that answers."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

BODY = str(os.getpid()).encode()
FIELDS = [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))]
RAW_FIELDS = [(name.lower().encode(), value.encode()) for name, value in FIELDS]


async def asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer with the process, after the request body."""
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": RAW_FIELDS})
    await send({"type": "http.response.body", "body": BODY})


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """Answer with the process, after the request body."""
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", FIELDS)
    return [BODY]
