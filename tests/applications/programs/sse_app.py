"""Events of sse-starlette."""

import asyncio
from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

released: asyncio.Semaphore = asyncio.Semaphore(0)
seen: list[str] = []


async def events(request: Request) -> Response:
    async def made() -> AsyncIterator[ServerSentEvent | dict[str, str]]:
        try:
            number = 0
            while True:
                yield ServerSentEvent(f"line {number}\nmore", event="tick", id=str(number))
                number += 1
                await released.acquire()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    return EventSourceResponse(made(), ping=3600)


async def release(request: Request) -> Response:
    released.release()
    return Response(status_code=204)


async def get_seen(request: Request) -> Response:
    return JSONResponse(seen)


app = Starlette(
    routes=[
        Route("/events", events),
        Route("/release", release, methods=["POST"]),
        Route("/seen", get_seen),
    ]
)
