"""An App as an ASGI 3 application: uvicorn, hypercorn, granian and other servers can serve it.

There is a `Server` without sockets: it owns the threads, the background tasks, the lifespan and the
sweep of deadlines, as under our own server. It opens with `lifespan.startup`. If the other server
sends none, it opens with the first request, without the lifespan, because nothing would end it.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace
from typing import Any, Protocol, cast

from ..dispatch.chain import Level
from ..dispatch.dispatcher import Dispatcher
from ..errors import ConfigurationError, ThreadsStuck
from ..logs import Log
from ..request import Handler, Request
from ..response import Response
from ..server.config import ServerConfig, ServerOptions
from ..server.loopback import LoopbackOnly, is_loopback_name
from ..server.process import Application
from ..server.server import Server
from .asgi_app_answer import DatelessHeads
from .asgi_app_exchange import ScopeExchange
from .asgi_app_request import root_path_of
from .asgi_types import ASGIOptions, Receive, Scope, Send

_MAX_ROOTS = 64

_log = Log("microweb.server")
_error_log = Log("microweb.error")


class ServedApp(Application, Protocol):
    """The parts of an App that serving it by ASGI needs."""

    state: SimpleNamespace

    def level(self) -> Level: ...


class ASGIApplication:
    """An App with its limits under another ASGI server: see `App.asgi`."""

    def __init__(self, app: ServedApp, options: ASGIOptions) -> None:
        self._app = app
        self._config = _config_of(options)
        self._server: Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handler: Handler = app.handle
        self._handlers: dict[str, Handler] = {}  # by the path where the app is mounted
        self._published: Mapping[str, object] = {}  # the values that its lifespan gave to the scope

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope: HTTP, a WebSocket, or the lifespan of the server.

        Raises: ConfigurationError for another type of scope; AnswerCut.
        """
        kind = scope["type"]
        if kind == "lifespan":
            return await self._live(scope, receive, send)
        if kind not in ("http", "websocket"):
            raise ConfigurationError(
                f"expected an ASGI scope of http, websocket or lifespan, got {kind!r:.80}"
            )
        server = self._server
        if server is None or self._loop is not asyncio.get_running_loop():
            server = await self._open_without_lifespan()
        root = root_path_of(scope)
        handler = self._handler if not root else self._handler_at(root)
        exchange = ScopeExchange(server.state, scope, receive, send)
        server.guests.add(exchange.peer)
        try:
            await exchange.run(handler, root, self._published.keys())
        finally:
            server.guests.discard(exchange.peer)

    # --- the server without sockets

    async def _open(self, lifespan: AbstractAsyncContextManager[None] | None) -> Server:
        app = self._app
        app.freeze()
        if self._server is not None and self._server.background.is_open:
            _abandon(self._server)  # its event loop has ended
        server = Server(app.handle, self._config, refuse=app.refuse, lifespan=lifespan)
        server.state.head_cache = DatelessHeads()
        self._handlers.clear()
        self._handler = self._guarded(app.handle)
        app.attach(server.background)
        await server.open()
        self._server, self._loop = server, asyncio.get_running_loop()
        return server

    async def _open_without_lifespan(self) -> Server:
        if _has_lifespan(self._app.level()):
            _log.warning(
                "the ASGI server has sent no lifespan.startup: the lifespans of the app do not run"
            )
        return await self._open(None)

    def _handler_at(self, root: str) -> Handler:
        """Return the handler below the path `root`, as if an outer app had mounted this one."""
        handler = self._handlers.get(root)
        if handler is None:
            level = self._app.level()
            outer = level._replace(routes=(), middleware=(), mounted=((root, (), level),))
            handler = self._guarded(_handler_of(Dispatcher(outer)))
            if len(self._handlers) >= _MAX_ROOTS:
                self._handlers.clear()
            self._handlers[root] = handler
        return handler

    def _guarded(self, handler: Handler) -> Handler:
        """Return a handler that shows an app in debug mode only to this machine."""
        if not self._app.is_debugging or self._config.debug_anywhere:
            return handler
        local = LoopbackOnly(handler, "localhost")

        async def answer(request: Request) -> Response:
            client = request.client
            if client is not None and not is_loopback_name(client.host):
                return Response(_ONLY_LOCAL, 421)
            return await local(request)

        return answer

    # --- the lifespan

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        server: Server | None = None
        try:
            await receive()  # lifespan.startup
            try:
                server = await self._open(self._app.life())
            except (Exception, SystemExit) as error:
                _error_log.error("the startup failed", exc_info=error)
                return await send({"type": "lifespan.startup.failed", "message": _line_of(error)})
            self._publish(scope.get("state"))
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
            try:
                stopping, server = server, None
                await stopping.stop()
            except (Exception, SystemExit) as error:
                _log_failed_stop(error)
                return await send({"type": "lifespan.shutdown.failed", "message": _line_of(error)})
            await send({"type": "lifespan.shutdown.complete"})
        finally:
            if server is not None:  # the other server has given up
                await server.stop()

    def _publish(self, state: dict[str, Any] | None) -> None:
        """Give the values of `app.state` to the scopes, for ASGI middleware around the app."""
        self._published = dict(vars(self._app.state))
        if state is not None:
            state.update(self._published)


_ONLY_LOCAL = (
    "Misdirected Request\ndebug is on: expected a client on this machine; "
    "app.asgi(debug_anywhere=True) allows any client\n"
)


def _has_lifespan(level: Level) -> bool:
    return level.has_lifespan or any(_has_lifespan(inner) for _, _, inner in level.mounted)


def _abandon(server: Server) -> None:
    """Release the threads of a server whose event loop has ended."""
    server.background.is_open, server.background.has_ended = False, True
    if server.pools is not None:
        server.pools.close()


def _handler_of(dispatcher: Dispatcher) -> Handler:
    matches = dispatcher.matches

    async def handle(request: Request) -> Response:
        match = matches.get(request.line.match_key) or dispatcher.match(request.line)
        request.match = match
        return await match.handler(request)

    return handle


def _config_of(options: ASGIOptions) -> ServerConfig:
    """Return the configuration of these options. Raises: ConfigurationError."""
    ours = ASGIOptions.__annotations__
    known = [field.name for field in dataclasses.fields(ServerConfig)]
    for name in options:
        if name in known and name not in ours:
            raise ConfigurationError(
                f"app.asgi: the ASGI server decides {name!r}: set it there; expected "
                f"{', '.join(ours)}"
            )
    config = ServerConfig.from_options(cast(ServerOptions, options))
    return dataclasses.replace(config, ping_interval_s=0.0)  # the other server pings


def _line_of(error: BaseException) -> str:
    return str(error) if isinstance(error, ConfigurationError) else f"{error!r}"


def _log_failed_stop(error: BaseException) -> None:
    if isinstance(error, ThreadsStuck):
        for place in error.places:
            _error_log.error("a thread is still busy: %s", place)
    else:
        _error_log.error("the shutdown failed", exc_info=error)
