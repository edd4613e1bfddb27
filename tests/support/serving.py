"""Servers for tests: in memory with a test clock, and on loopback with a quick tick."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from contextvars import Context
from typing import Unpack

import pytest

from microweb.request import Handler
from microweb.server import server as server_module
from microweb.server.config import ServerConfig, ServerOptions
from microweb.server.connection import Connection
from microweb.server.process import Application, make_server
from microweb.server.server import STREAM_LIMIT, Server
from microweb.testing.misbehaving import Misbehaving
from microweb.testing.network import ClientEnd, connect

from . import over_tls

DEADLINE_S = 20.0  # of each wait; a passing test takes far less
QUICK_S = 0.01
LATER_S = 1_000_000.0

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def get(target: str, *fields: str, version: str = "1.1") -> bytes:
    """Return a GET request."""
    lines = [f"GET {target} HTTP/{version}", "Host: a", *fields]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def post(target: str, body: bytes = b"", *fields: str) -> bytes:
    """Return a POST request with a Content-Length, unless `fields` contain the framing."""
    framing = fields or (f"Content-Length: {len(body)}",)
    lines = [f"POST {target} HTTP/1.1", "Host: a", *framing]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode() + body


def statuses(data: bytes) -> list[int]:
    """Return the status codes of the responses in `data`."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)]


async def read_until(end: ClientEnd, delimiter: bytes) -> bytes:
    """Return the bytes up to the read that completes `delimiter`, or up to the end."""
    data = b""
    async with asyncio.timeout(DEADLINE_S):
        while delimiter not in data and (piece := await end.read()):
            data += piece
    return data


async def read_all(end: ClientEnd) -> bytes:
    """Return all bytes until the server closes its side."""
    data = b""
    async with asyncio.timeout(DEADLINE_S):
        while piece := await end.read():
            data += piece
    return data


class MemoryHouse:
    """A server of one handler in memory, and the test clock for its deadlines."""

    def __init__(self, handler: Handler, **options: Unpack[ServerOptions]) -> None:
        self.now = 1000.0
        self.server = Server(handler, ServerConfig.from_options(options))

    async def open(self) -> None:
        await self.server.open()
        self.server.state.clock = self.server.state.precise_clock = lambda: self.now
        self._tick()

    def connect(self, context: Context | None = None, *, is_secure: bool = False) -> ClientEnd:
        """Return the client's end of a new connection, which is served in a copy of `context`.

        The default is an empty context, as in a real server; the test runner sets variables in the
        present one. With `is_secure`, the connection counts as TLS and can't be half-closed.
        """
        return (Context() if context is None else context).run(
            connect,
            self.server.accept,
            limit=STREAM_LIMIT,
            client=("127.0.0.1", 50000),
            server=("127.0.0.1", 80),
            sslcontext=ssl.create_default_context() if is_secure else None,
        )

    @property
    def connection(self) -> Connection:
        """The only connection."""
        (connection,) = self.server.connections
        return connection

    async def pass_time(self, seconds: float) -> None:
        """Advance the test clock, check each connection as the tick does, and let the tasks run."""
        await settle()
        self.now += seconds
        self._tick()
        for connection in tuple(self.server.connections):
            connection.check(self.now)
        await settle()

    def _tick(self) -> None:
        # The server's tick sets this deadline too, but by the event loop's clock.
        self.server.state.idle_deadline = self.now + self.server.config.idle_timeout_s + 1


async def settle() -> None:
    """Run the event loop until all tasks wait: no step in memory takes more turns than this."""
    for _ in range(30):
        await asyncio.sleep(0)


@asynccontextmanager
async def in_memory(
    handler: Handler, **options: Unpack[ServerOptions]
) -> AsyncIterator[MemoryHouse]:
    """Serve a handler in memory. At the end, check that no task and no connection is left."""
    house = MemoryHouse(handler, **options)
    tasks = asyncio.all_tasks()
    await house.open()
    try:
        yield house
    finally:
        house.server.state.clock = lambda: house.now + LATER_S  # past every deadline
        await house.server.stop(silence_s=0.0)
    assert not house.server.connections
    assert asyncio.all_tasks() <= tasks


@asynccontextmanager
async def on_loopback(
    app: Application, *, tick_s: float = QUICK_S, **options: Unpack[ServerOptions]
) -> AsyncIterator[Server]:
    """Serve an app on this event loop and a free port, with a tick of less than a second."""
    defaults = ServerOptions(host="127.0.0.1", port=0, log="off", grace_s=1.0)
    with pytest.MonkeyPatch.context() as patched, ExitStack() as stack:
        if over_tls.IS_ON:
            defaults |= stack.enter_context(over_tls.certificate_options())
        patched.setattr(server_module, "_TICK_S", tick_s)
        server = await make_server(app, defaults | options)
        try:
            yield server
        finally:
            await server.stop(silence_s=0.0)


def peer_of(server: Server, *, timeout_s: float = DEADLINE_S) -> Misbehaving:
    """Return a client of `server`. It is not yet connected."""
    host, port = server.sockets[0].getsockname()[:2]
    if server.config.has_tls:
        return over_tls.MisbehavingOverTLS(host, port, timeout_s=timeout_s)
    return Misbehaving(host, port, timeout_s=timeout_s)


async def ask(server: Server, request: bytes) -> bytes:
    """Return the answer to a request with `Connection: close`."""
    async with peer_of(server) as peer, asyncio.timeout(DEADLINE_S):
        await peer.send(request)
        return await peer.read_all()


def pass_a_second(server: Server) -> None:
    """Move the clock, so that silent connections count as idle."""
    clock = server.state.clock
    server.state.clock = lambda: clock() + 1.0 + QUICK_S


async def until_none(connections: set[Connection]) -> None:
    """Wait until the server has no connections."""
    async with asyncio.timeout(DEADLINE_S):
        while connections:
            await asyncio.sleep(QUICK_S)
