from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from support.processes import DEADLINE_S, ENVIRONMENT

from microweb import App
from microweb.middleware.metrics import Metrics
from microweb.server.config import ServerConfig
from microweb.server.metered import is_measured, metered
from microweb.server.server import Server


def test_app_with_metrics_is_measured() -> None:
    app, inner = App(), App()
    app.mount("/inner", inner)
    assert not is_measured(app)
    inner.use(Metrics())
    assert is_measured(app)
    assert not is_measured(object())  # an application of another interface


async def test_lifespan_of_the_app_is_inside() -> None:
    seen: list[int] = []

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        seen.append(len(server.state.observers))
        yield
        seen.append(len(server.state.observers))

    app = App()
    inner = life()
    assert metered(app, inner, lambda: server, ServerConfig()) is inner
    around = metered(app, inner, lambda: server, ServerConfig(metrics_bind="9100"))
    server = Server(app.handle, lifespan=around)
    await server.open()
    assert seen == [1]
    await server.stop()
    assert seen == [1, 1]
    assert server.state.observers == ()


WITHOUT = """
import asyncio, sys
from microweb import App

app = App()

@app.get("/")
async def index() -> str:
    return "hello"

async def main() -> None:
    async with app.serve(host="127.0.0.1", port=0) as server:
        assert server.state.observers == ()
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        writer.write(b"GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n")
        assert (await reader.read()).endswith(b"hello")
        writer.close()

asyncio.run(main())
print(*(name for name in sys.modules if "metrics" in name))
"""


async def test_without_metrics_nothing_is_measured_and_imported() -> None:
    command = [sys.executable, "-c", WITHOUT]
    ended = await asyncio.to_thread(
        subprocess.run, command, env=ENVIRONMENT, capture_output=True, timeout=DEADLINE_S, text=True
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, ""), ended.stderr
