"""Handlers that share a resource: a pool of 4 connections whose queries take 20 ms."""

import asyncio
import os
import time

from microweb import App

app = App()
pool = asyncio.Semaphore(4)


async def query() -> None:
    async with pool:
        await asyncio.sleep(0.02)


@app.get("/")
async def index() -> str:
    return f"{os.getpid()}\n"


@app.get("/wait")
async def wait() -> str:
    """Wait for a query."""
    await query()
    return "row\n"


@app.get("/work")
async def work() -> str:
    """Wait for a query, and calculate for 3 ms of processor time."""
    await query()
    ends_at = time.process_time() + 0.003
    while time.process_time() < ends_at:
        pass
    return "row\n"
