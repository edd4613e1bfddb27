"""Serve the program of a test, which is replaced for each example, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from support.asgi_programs import Message, Receive, Run, Send
from support.serving import on_loopback

from microweb.interop.asgi_server import ASGI


@dataclass
class ServedProgram:
    """Where the program of the present example is served."""

    host: str = "127.0.0.1"
    port: int = 0
    run: Run | None = None


RunProgram = Callable[[Run | None, Message, Receive, Send], Awaitable[None]]


@contextmanager
def served_on(runner: asyncio.Runner, run_program: RunProgram) -> Iterator[ServedProgram]:
    """Serve `run_program` on the loop of `runner`, for the examples that it runs one by one."""
    context = serving(run_program)
    served = runner.run(context.__aenter__())
    yield served
    runner.run(context.__aexit__(None, None, None))


@asynccontextmanager
async def serving(run_program: RunProgram) -> AsyncIterator[ServedProgram]:
    """Serve `run_program` as an ASGI application."""
    served = ServedProgram()

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        await run_program(served.run, scope, receive, send)

    async with on_loopback(ASGI(application)) as server:
        served.port = server.sockets[0].getsockname()[1]
        yield served
