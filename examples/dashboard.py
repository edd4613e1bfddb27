"""A dashboard: numbers are measured once a second, and the page dashboard.html draws them.

A client that reconnects gets the events that it missed: turn the browser's network off and on, or

$ python examples/dashboard.py
$ curl -N http://localhost:5000/numbers
$ curl -N http://localhost:5000/numbers -H 'Last-Event-ID: <the id of an event>'
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

from microweb import App, Request, Response
from microweb.channels import Channels

PAUSE_S = 1.0
PAGE = Path(__file__).with_name("dashboard.html")

app = App()
channels = Channels(history=120)
numbers = channels["numbers"]


async def measure() -> None:
    """Publish the CPU use of this process and the delay of its event loop."""
    while True:
        began_at, cpu_s = time.perf_counter(), time.process_time()
        await asyncio.sleep(PAUSE_S)
        took_s = time.perf_counter() - began_at
        cpu = 100 * (time.process_time() - cpu_s) / took_s
        late_ms = max(0.0, 1000 * (took_s - PAUSE_S))
        await numbers.publish({"cpu": cpu, "late": late_ms, "readers": len(numbers)})


@app.lifespan
async def measuring(app: App) -> AsyncIterator[None]:
    task = asyncio.create_task(measure())
    yield
    task.cancel()
    await asyncio.wait([task])


@app.get("/")
async def page() -> Response:
    return Response.file(PAGE)


@app.get("/numbers")
async def events(request: Request) -> Response:
    """A client without an id gets a `gap`, which clears the page, and then all kept events."""
    return Response.events(numbers.subscribe(last_event_id=request.last_event_id or ""))


if __name__ == "__main__":
    app.run()
