"""The application of these benchmarks on microweb: its process, and 2 ms of work."""

from __future__ import annotations

import os
import time

from microweb import App, Request

app = App()
PID = str(os.getpid())


@app.get("/")
async def index() -> str:
    return PID


@app.post("/")
async def post(request: Request) -> str:
    await request.body()
    return PID


@app.get("/work")
async def work() -> str:
    """Use 2 ms of processor time, whatever the speed of this machine is."""
    ends_at = time.thread_time() + 0.002
    while time.thread_time() < ends_at:
        pass
    return PID
