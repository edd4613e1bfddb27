"""Apps from source text that run in other processes by `app.run()`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.processes import Program

HEAD = """
import asyncio, logging, os, signal, sys, threading, time
from microweb import App, Request

app = App()

@app.get("/")
async def index() -> str:
    return "hello"
"""
RUN = "app.run(port=0)"
HANGS = """
@app.get("/hang")
async def hang() -> None:
    print("hanging")
    await asyncio.Event().wait()
"""

LOOPS = ["asyncio"]
if importlib.util.find_spec("uvloop") is not None:
    LOOPS.append("uvloop")

Start = Callable[..., Program]


@contextmanager
def apps_in(folder: Path) -> Iterator[Start]:
    """Yield a function that starts an app from its source. The end of the block stops the app."""
    with ExitStack() as stack:

        def start_app(source: str, run: str = RUN) -> Program:
            script = folder / "app.py"
            script.write_text(f"{HEAD}\n{source}\n{run}\n")
            return stack.enter_context(Program(script))

        yield start_app
