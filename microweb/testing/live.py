"""Servers for tests: one in memory, and one on a real socket in its own thread."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_threads
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Unpack

from ..http.interfaces import Address
from ..server.config import ServerOptions
from ..server.process import Application, loop_factory, make_server, run_to_end
from ..server.server import STREAM_LIMIT, Server
from .network import ClientEnd, connect

_HOST = "127.0.0.1"
_FIRST_PORT = 49152  # of the dynamic ports, which clients use. RFC 6335 section 6
_GRACE_S = 1.0


class MemoryServer:
    """A `Server` without a listening socket. It runs until `stop()`, on the running event loop.

    One task enters and leaves the lifespan, because a task can't leave a cancel scope (a TaskGroup,
    a timeout) that another task has entered. The clients may be used from any task.
    """

    def __init__(self, server: Server) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = server
        self._ports = count(_FIRST_PORT)
        self._context: asyncio.Future[Context] = self._loop.create_future()
        self._stopping = asyncio.Event()
        self._exits: list[BaseException] = []
        server.background.on_exit = self._exits.append
        # Exchanges see the context variables of the lifespan, not of the test, as on a socket.
        self._task = self._loop.create_task(self._live(), context=Context())

    async def _live(self) -> None:
        try:
            await self._server.open()
            self._context.set_result(copy_context())
            await self._stopping.wait()
        finally:
            await self._server.stop(silence_s=0.0)

    @property
    def is_on_running_loop(self) -> bool:
        """Whether the server runs on the running event loop; its loop may be closed already."""
        return self._loop is asyncio.get_running_loop()

    @property
    def has_ended(self) -> bool:
        """Whether the lifespan has failed or has ended."""
        return self._task.done()

    async def opened(self) -> None:
        """Wait until the server accepts connections. Raises: the errors of the lifespan."""
        if not self._context.done():
            either: set[asyncio.Future[Any]] = {self._task, self._context}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            await self._task

    def connect(self, sslcontext: ssl.SSLContext | None = None) -> ClientEnd:
        """Return the client's end of a new connection: see `network.connect`."""
        context = self._context.result().copy()
        return context.run(
            connect,
            self._server.accept,
            limit=STREAM_LIMIT,
            client=Address(_HOST, next(self._ports)),
            server=Address(_HOST, 80 if sslcontext is None else 443),
            sslcontext=sslcontext,
        )

    async def wait_closed(self, address: Address) -> None:
        """Wait until the server has closed the connection of a client that has disconnected.

        The server's one-second check of the connection is made now.
        """
        for connection in tuple(self._server.connections):
            task = connection.network.task
            if connection.address == address and task is not None:
                connection.check(self._server.state.clock())
                await asyncio.wait([task])

    def take_exit(self) -> BaseException | None:
        """Return and forget the next error of a background task that is not an Exception."""
        return self._exits.pop(0) if self._exits else None

    async def stop(self) -> None:
        """Stop the server and leave the lifespan. Raises: the errors of the lifespan."""
        self._stopping.set()
        await self._task


@dataclass(frozen=True)
class LiveServer:
    """The address of a live server. `url` has no slash at its end: `http://127.0.0.1:49321`."""

    url: str
    host: str
    port: int


@contextmanager
def live_server(app: Application, **options: Unpack[ServerOptions]) -> Iterator[LiveServer]:
    """Serve `app` on a real socket from a thread with its own event loop: for browsers and curl.

    `options` are the fields of `ServerConfig`; by default the system chooses a free port. Leaving
    the block stops the server and waits for its end. Raises: ConfigurationError; the errors of the
    lifespan, when the block is entered or left.

        with live_server(app) as server:
            urllib.request.urlopen(f"{server.url}/hello")
    """
    defaults = ServerOptions(port=0, log="off", grace_s=_GRACE_S)
    server = make_server(app, defaults | options)
    started: Future[Callable[[], object]] = Future()

    async def serve() -> None:
        loop, stopping = asyncio.get_running_loop(), asyncio.Event()
        await server.start()
        try:
            started.set_result(partial(loop.call_soon_threadsafe, stopping.set))
            await stopping.wait()
        finally:
            await server.stop(silence_s=0.0)

    def run() -> None:
        with asyncio.Runner(loop_factory=loop_factory(server.config.loop)) as runner:
            run_to_end(runner, serve(), server)

    with ThreadPoolExecutor(1, "microweb-live-server") as thread:
        finished = thread.submit(run)
        either: list[Future[Any]] = [started, finished]
        wait_for_threads(either, return_when=FIRST_COMPLETED)
        if not started.done():
            finished.result()  # raises the error that prevented the start
        stop = started.result()
        try:
            host, port = server.sockets[0].getsockname()[:2]
            yield LiveServer(server.url, host, port)
        finally:
            stop()
            finished.result()
