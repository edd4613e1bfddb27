"""An app whose responses wait for a gate, and requests of tests to a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from support.serving import (
    GET,
    peer_of,
)

from microweb import App
from microweb.server.server import Server
from microweb.testing.misbehaving import Misbehaving


class Gate:
    """An app whose `/wait` responds after the gate was opened."""

    def __init__(self) -> None:
        self.app = App()
        self.entered = asyncio.Event()
        self.is_open = asyncio.Event()
        self.endings: list[str] = []
        self.app.get("/")(self.index)
        self.app.route("/wait", methods=["GET", "POST"])(self.wait)
        self.app.get("/stream")(self.stream)

    async def index(self) -> str:
        return "index"

    async def wait(self) -> str:
        self.entered.set()
        try:
            await self.is_open.wait()
        except asyncio.CancelledError:
            self.endings.append("cancelled")
            raise
        self.endings.append("finished")
        return "at last"

    async def stream(self) -> AsyncIterator[str]:
        yield "first"
        self.entered.set()
        await self.is_open.wait()
        yield "second"


async def ask(server: Server, request: bytes = GET) -> bytes:
    async with peer_of(server) as peer:
        await peer.send(request)
        await peer.half_close()
        return await peer.read_all()


async def is_refused(server_address: tuple[str, int]) -> bool:
    try:
        async with Misbehaving(*server_address):
            return False
    except ConnectionRefusedError:
        return True
