"""The process around one server: loop, signals, limits, what it says and how it exits."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, Protocol

from ..errors import ConfigurationError, MissingExtra, ProtocolError
from ..request import Request
from ..response import Response
from .access import access_logger, show_access_log
from .config import LoopName, ServerConfig, ServerOptions
from .server import Server
from .sockets import url_of

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from contextlib import AbstractAsyncContextManager
    from typing import Any

_log = logging.getLogger("microweb.server")


class Application(Protocol):
    """What a process serves: a handler with a life of its own."""

    def __call__(self, request: Request) -> Coroutine[Any, Any, Response]: ...
    def freeze(self) -> None: ...
    async def refuse(self, error: ProtocolError) -> Response: ...
    def life(self) -> AbstractAsyncContextManager[None]: ...


def make_server(app: Application, options: ServerOptions) -> Server:
    """Return a server of `app`, not started. Raises: ConfigurationError."""
    config = ServerConfig.from_options(options)
    app.freeze()
    wants_log = sys.stderr.isatty() if config.access_log == "auto" else config.access_log
    return Server(
        app,
        config,
        refuse=app.refuse,
        lifespan=app.life(),
        access_log=access_logger() if wants_log else None,
    )


def run(app: Application, options: ServerOptions) -> None:
    """Serve until a signal: see `App.run`."""
    try:
        _refuse_running_loop()
        server = make_server(app, options)
        loop_factory = _loop_factory(server.config.loop)
        _raise_file_limit(server.config.max_connections)
        if server.access_log is not None:
            show_access_log()
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_serve(server))
    except ConfigurationError as error:
        print(f"microweb: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:  # where the loop can't handle signals
        pass
    _leave_stuck_threads(server)


async def _serve(server: Server) -> None:
    stop = asyncio.Event()
    _handle_signals(stop.set)
    async with server:
        urls = " and ".join(url_of(bound) for bound in server.sockets)
        print(f"microweb: listening on {urls} (Ctrl-C stops it)", flush=True)
        await stop.wait()


def _handle_signals(stop: Callable[[], None]) -> None:
    """The first SIGINT or SIGTERM stops the server, a second one leaves at once."""
    loop = asyncio.get_running_loop()
    seen: list[int] = []

    def on_signal(number: int) -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, on_signal, number)
        except (NotImplementedError, RuntimeError):  # Windows, or not the main thread
            return


def _refuse_running_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigurationError(
        "an event loop is running here already: use `async with app.serve():` instead of run()"
    )


def _loop_factory(name: LoopName) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError as error:
        if name == "uvloop":
            raise MissingExtra("loop='uvloop'", "uvloop") from error
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _raise_file_limit(max_connections: int) -> None:
    """Raise the soft limit of open files to the hard one; warn where that is too low."""
    try:
        import resource
    except ImportError:  # Windows has none
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            _log.debug("the limit of open files stays at %d", soft)
    if soft != resource.RLIM_INFINITY and soft < max_connections:
        _log.warning(
            "the limit of open files is %d, under max_connections=%d", soft, max_connections
        )


def _leave_stuck_threads(server: Server) -> None:
    """Leave even where a plain `def` endpoint never returns: nothing else can end a thread."""
    stuck = server.pool.stuck() if server.pool is not None else []
    if stuck:
        _leave(stuck)


def _leave(stuck: list[str]) -> NoReturn:
    for place in stuck:
        _log.error("a thread is still busy, leaving without it: %s", place)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
