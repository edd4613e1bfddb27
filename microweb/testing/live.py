"""Servers under test: one in memory, and one on a real socket in a thread of its own."""

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
_FIRST_PORT = 49152  # of those that clients have. RFC 6335 section 6
_GRACE_S = 1.0


class MemoryServer:
    """A `Server`, not started, that listens nowhere: from now to `stop()`, on the running loop.

    The lifespan is entered and left on a task of its own, whichever tasks the clients are used
    from: a cancel scope inside of it (a TaskGroup, a timeout) can't be left by another task.
    """

    def __init__(self, server: Server) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = server
        self._ports = count(_FIRST_PORT)
        self._context: asyncio.Future[Context] = self._loop.create_future()
        self._stopping = asyncio.Event()
        self._exits: list[BaseException] = []
        server.background.on_exit = self._exits.append
        # As behind a socket, exchanges see the variables of the lifespan, not those of the test.
        self._task = self._loop.create_task(self._live(), context=Context())

    async def _live(self) -> None:
        try:
            await self._server.open()
            self._context.set_result(copy_context())
            await self._stopping.wait()
        finally:
            await self._server.stop(silence_s=0.0)

    @property
    def is_here(self) -> bool:
        """Whether it runs on the running loop; another one's may be gone."""
        return self._loop is asyncio.get_running_loop()

    @property
    def has_ended(self) -> bool:
        """Whether the lifespan has failed or was left."""
        return self._task.done()

    async def opened(self) -> None:
        """Wait until connections are taken. Raises what the lifespan raises."""
        if not self._context.done():
            either: set[asyncio.Future[Any]] = {self._task, self._context}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            await self._task

    def connect(self, sslcontext: ssl.SSLContext | None = None) -> ClientEnd:
        """Return the client's end of a new connection: see `connect`."""
        context = self._context.result().copy()
        return context.run(
            connect,
            self._server.accept,
            limit=STREAM_LIMIT,
            client=Address(_HOST, next(self._ports)),
            server=Address(_HOST, 80 if sslcontext is None else 443),
            sslcontext=sslcontext,
        )

    async def see_off(self, address: Address) -> None:
        """Have the server look at a client, which has left, and wait until it is done with it."""
        for connection in tuple(self._server.connections):
            task = connection.network.task
            if connection.address == address and task is not None:
                connection.check(self._server.state.clock())
                await asyncio.wait([task])

    def take_exit(self) -> BaseException | None:
        """Return, once, what a task in the background raised that is no Exception."""
        return self._exits.pop(0) if self._exits else None

    async def stop(self) -> None:
        """Stop the server and leave the lifespan. Raises what that raises."""
        self._stopping.set()
        await self._task


@dataclass(frozen=True)
class LiveServer:
    """Where a live server is: `url` is `http://127.0.0.1:49321`, without a slash at its end."""

    url: str
    host: str
    port: int


@contextmanager
def live_server(app: Application, **options: Unpack[ServerOptions]) -> Iterator[LiveServer]:
    """Serve `app` on a real socket, from a thread with a loop of its own: for browsers and curl.

    `options` are the fields of `ServerConfig`; by default the port is one that is free. Leaving
    the block stops the server and waits for it. Raises: ConfigurationError; what the lifespan
    raises, at either end.

        with live_server(app) as server:
            urllib.request.urlopen(f"{server.url}/hello")
    """
    defaults = ServerOptions(port=0, access_log=False, grace_s=_GRACE_S)
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
            finished.result()  # raises what was in the way
        stop = started.result()
        try:
            host, port = server.sockets[0].getsockname()[:2]
            yield LiveServer(server.url, host, port)
        finally:
            stop()
            finished.result()
