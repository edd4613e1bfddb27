"""`MemoryTransport`: send httpx requests to an application over connections in memory."""

from __future__ import annotations

import ssl
from collections.abc import Coroutine
from functools import partial
from typing import Any, Unpack

from ..concurrency.background import exit_of
from ..endpoints.answer_checks import check_answers_of
from ..errors import HTTPError, MissingExtra, ProtocolError
from ..http.interfaces import Address
from ..request import Request
from ..response import Response
from ..server.config import ServerConfig, ServerOptions
from ..server.metered import metered
from ..server.overload import limited
from ..server.process import Application
from ..server.server import Server
from .httpx_backend import Content, httpx_errors, new_pool, to_httpcore
from .live import MemoryServer
from .network import ClientEnd

try:
    import httpx
except ImportError as error:
    raise MissingExtra("microweb.testing", "testing") from error

_GRACE_S = 0.1  # when the server stops, its client is closed, so a longer wait is useless


class MemoryTransport(httpx.AsyncBaseTransport):
    """A transport to an application over connections in memory, for your own httpx client.

    `options` are the fields of `ServerConfig`. The app's lifespan begins with the first request,
    or `async with`, and ends with `aclose()`. After that the transport may be used again. Requests
    to every host reach the application. For https it sees a TLS connection, but no byte is
    encrypted.

        transport = MemoryTransport(app, max_body=1024)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            assert (await client.post("/", content=bytes(1025))).status_code == 413
    """

    def __init__(
        self,
        app: Application,
        *,
        raise_errors: bool = True,
        lifespan: bool = True,
        **options: Unpack[ServerOptions],
    ) -> None:
        self._app = app
        self._config = ServerConfig.from_options(ServerOptions(grace_s=_GRACE_S) | options)
        self._raises_errors = raise_errors
        self._has_lifespan = lifespan
        self._server: MemoryServer | None = None
        self._pool = new_pool(self.connect)
        self._requests: dict[Address | None, Request] = {}  # the last one of each connection

    async def __aenter__(self) -> MemoryTransport:
        await self._open()
        return self

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request. Raises: httpx.TransportError; with `raise_errors` the app's errors."""
        await self._open()
        with httpx_errors():
            answer = await self._pool.handle_async_request(to_httpcore(request))
        address = answer.extensions["network_stream"].get_extra_info("client_addr")
        error = self._take_error(address, answer.status)
        if error is not None:
            await answer.aclose()
            raise error
        forget = partial(self._forget, address)
        content = Content(answer, lambda: self._take_error(address), forget)
        return httpx.Response(
            answer.status, headers=answer.headers, stream=content, extensions=answer.extensions
        )

    async def connect(self, sslcontext: ssl.SSLContext | None = None) -> ClientEnd:
        """Return the client's end of a new connection; the caller closes it."""
        return (await self._open()).connect(sslcontext)

    def error_of(self, end: ClientEnd) -> BaseException | None:
        """Return the error of a connection's last request if the client must raise it."""
        host, port = end.transport.get_extra_info("peername")
        return self._take_error(Address(host, port))

    async def wait_closed(self, address: Address) -> BaseException | None:
        """Wait until the server has closed the connection of a client that has disconnected.

        Return the error of its last request if the client must raise it, else None.
        """
        if self._server is not None:
            await self._server.wait_closed(address)
        return self._take_error(address)

    async def aclose(self) -> None:
        """Close all connections and leave the lifespan. Raises: the errors of the lifespan."""
        server, self._server = self._server, None
        if server is not None and server.is_on_running_loop:
            await self._pool.aclose()
            await server.stop()
            if (error := server.take_exit()) is not None:
                raise error

    async def _open(self) -> MemoryServer:
        server = self._server
        if server is None or not server.is_on_running_loop:
            server = self._server = self._new_server()
            self._pool = new_pool(self.connect)
            self._requests = {}
        try:
            await server.opened()
        except BaseException:
            if server.has_ended and self._server is server:
                self._server = None  # the next request tries again
            raise
        return server

    def _new_server(self) -> MemoryServer:
        app = self._app
        check_answers_of(app)
        app.freeze()
        life = app.life() if self._has_lifespan else None
        life = metered(app, life, lambda: server, self._config)
        handler = limited(self._handle, app, self._config)
        server = Server(handler, self._config, refuse=app.refuse, lifespan=life)
        app.attach(server.background)
        return MemoryServer(server)

    def _handle(self, request: Request) -> Coroutine[Any, Any, Response]:
        self._requests[request.peer] = request
        return self._app.handle(request)

    def _forget(self, address: Address) -> None:
        """Free the resources of a request, such as an uploaded file, at the end of its answer."""
        if not self._raises_errors:
            self._requests.pop(address, None)

    def _take_error(self, address: Address, status: int = 500) -> BaseException | None:
        """Return and forget the error of a connection's last request if the test must raise it.

        An error that is not an Exception (Ctrl-C, `pytest.fail` in an endpoint) must end the test
        for any response, also if a background task raised it. With `raise_errors`, an Exception
        must be raised if the response is a 500.
        """
        if self._server is not None and (error := self._server.take_exit()) is not None:
            return error
        request = self._requests.get(address)
        error = request.error if request is not None else None
        if error is None:
            return None
        if (exit := exit_of(error)) is None and not (self._raises_errors and status == 500):
            return None
        del self._requests[address]
        if exit is not None:
            return exit
        return None if isinstance(error, (HTTPError, ProtocolError)) else error
