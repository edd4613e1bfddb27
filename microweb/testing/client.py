"""Tests of an application: a client without a socket, a live server, a client that misbehaves.

`TestClient` is an `httpx.AsyncClient` whose connections end in memory, in the same callback that
`asyncio.start_server` calls. A request so passes the real parser, limits, framing and connection;
what is left out is the kernel.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_threads
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from ..concurrency.background import exit_of
from ..errors import ConfigurationError, HTTPError, MissingExtra, ProtocolError
from ..http.cookies import SetCookie
from ..http.interfaces import Address
from ..request import Request
from ..response import Response
from ..server.config import ServerConfig, ServerOptions
from ..server.process import Application, loop_factory, make_server, run_to_end
from ..server.server import Server
from .events import EventStream
from .httpx_backend import Content, httpx_errors, new_pool, to_httpcore
from .network import ClientEnd, MemoryServer

try:
    import httpx
except ImportError as error:
    raise MissingExtra("microweb.testing", "testing") from error

if TYPE_CHECKING:
    from .websocket import ClientSocket

_GRACE_S = 0.1  # the client is gone when its server stops: nothing is worth waiting for
_LIVE_GRACE_S = 1.0


class TestedApplication(Application, Protocol):
    """An application as far as its test client speaks of it."""

    def all_middleware(self) -> Sequence[object]: ...


class TestClient(httpx.AsyncClient):
    """An `httpx.AsyncClient` of one application, made by `app.test_client()`.

    `async with` enters the app's lifespan and leaves it; without, the first request does and
    `aclose()` leaves. With `raise_errors`, what an endpoint raises and nobody answers comes out of
    the await; without, it is a 500. `httpx_options` are those of `httpx.AsyncClient`. Nothing of
    the environment (proxies, .netrc) is looked at.

        async with app.test_client() as client:
            assert (await client.get("/")).text == "hello world"
    """

    __test__ = False  # no class of tests, whatever pytest thinks of its name

    def __init__(
        self,
        app: TestedApplication,
        *,
        raise_errors: bool = True,
        lifespan: bool = True,
        base_url: httpx.URL | str = "http://testserver",
        **httpx_options: Any,
    ) -> None:
        self._app = app
        self._memory = MemoryTransport(app, raise_errors=raise_errors, lifespan=lifespan)
        options = {"trust_env": False, **httpx_options}
        super().__init__(transport=self._memory, base_url=base_url, **options)

    async def login_session(self, values: Mapping[str, Any]) -> None:
        """Have the client come with a session that holds `values`, in place of what it had.

        Raises: ConfigurationError where the app has no `Sessions`, or more than one.

            await client.login_session({"user": "ada"})
            assert (await client.get("/")).text == "hello ada"
        """
        from ..middleware.sessions import Sessions

        all_of_them = [each for each in self._app.all_middleware() if isinstance(each, Sessions)]
        if len(all_of_them) != 1:
            raise ConfigurationError(
                f"login_session: expected one Sessions in the app, got {len(all_of_them)}: "
                "app.use(Sessions(secret_key))"
            )
        (sessions,) = all_of_them
        cookie = SetCookie(sessions.cookie, await sessions.start(values), path=sessions.path)
        field = cookie.encode(secure_by_default=self.base_url.scheme == "https")
        # As if the app had answered: what it sets later replaces this one.
        asked = httpx.Request("GET", self.base_url)
        self.cookies.extract_cookies(
            httpx.Response(200, headers={"set-cookie": field}, request=asked)
        )

    def websocket(
        self,
        path: httpx.URL | str,
        *,
        subprotocols: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        compress: bool = False,
    ) -> ClientSocket:
        """Return a WebSocket to `path`, which `async with` connects, with this client's cookies.

        `compress` offers permessage-deflate. Raises: HandshakeRefused, awaited, where the answer is
        no 101; MissingExtra without websockets.

            async with client.websocket("/chat/a") as socket:
                await socket.send("hello")
                assert await socket.receive() == "hello"
        """
        from .websocket import ClientSocket

        request = self.build_request("GET", path, headers=headers, params=params)
        if self.auth is not None:
            request = next(self.auth.sync_auth_flow(request))
        return ClientSocket(
            self._memory,
            request,
            subprotocols=subprotocols,
            compress=compress,
            timeout_s=self.timeout.read,
            on_response=self.cookies.extract_cookies,
        )

    def events(
        self, path: str, *, method: str = "GET", last_event_id: str | None = None, **options: Any
    ) -> EventStream:
        """Return the server-sent events that are answered at `path`: `async with`.

        `last_event_id` is what a client comes again with; `options` are those of a request
        (`params`, `headers`, `json`). Leaving the block leaves the server, and waits until that has
        closed what made the events. With `raise_errors`, what that raises comes out of the block.

            async with client.events("/clock") as events:
                assert (await anext(events)).data == "12:00"
        """
        headers = httpx.Headers(options.pop("headers", None))
        headers.setdefault("Accept", "text/event-stream")
        fields = headers.raw
        if last_event_id:
            fields.append((b"Last-Event-ID", last_event_id.encode()))
        request = self.build_request(method, path, headers=fields, **options)
        return EventStream(self, request, self._see_off, last_event_id or "")

    async def _see_off(self, response: httpx.Response, raises: bool) -> None:
        address = response.extensions["network_stream"].get_extra_info("client_addr")
        try:
            async with asyncio.timeout(self.timeout.read):
                error = await self._memory.see_off(address)
        except TimeoutError as error:
            raise httpx.ReadTimeout("what made the events did not end") from error
        if raises and error is not None:
            raise error

    async def raw(self, data: bytes) -> bytes:
        """Send bytes on a connection of their own, end our side, return all that comes back.

        The connection is plain, whatever the `base_url`. Raises: httpx.ReadTimeout where the server
        has not closed within the client's read timeout.

            assert (await client.raw(b"GET /\\r\\n\\r\\n")).startswith(b"HTTP/1.1 400 ")
        """
        end = await self._memory.connect()
        sending = asyncio.create_task(_send_and_end(end, data))
        received = []
        try:
            async with asyncio.timeout(self.timeout.read):
                while piece := await end.read():
                    received.append(piece)
        except TimeoutError as error:
            raise httpx.ReadTimeout("the server did not close the connection") from error
        finally:
            end.close()
            await sending
        return b"".join(received)


async def _send_and_end(end: ClientEnd, data: bytes) -> None:
    try:
        await end.write(data)
    except ConnectionError:
        return  # the server has heard enough; what it said is the result
    end.write_eof()


class MemoryTransport(httpx.AsyncBaseTransport):
    """Requests to an application, over connections in memory, for an httpx client of your own.

    `options` are the fields of `ServerConfig`. The app's lifespan begins with the first request,
    or `async with`, and ends with `aclose()`; afterwards the transport may be used again. Requests
    to any host come here; for https the application sees TLS, though nothing is encrypted.

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
        """Send one request. Raises: httpx.TransportError; with `raise_errors` the app's own."""
        await self._open()
        with httpx_errors():
            answer = await self._pool.handle_async_request(to_httpcore(request))
        address = answer.extensions["network_stream"].get_extra_info("client_addr")
        error = self._take_error(address, answer.status)
        if error is not None:
            await answer.aclose()
            raise error
        content = Content(answer, lambda: self._take_error(address))
        return httpx.Response(
            answer.status, headers=answer.headers, stream=content, extensions=answer.extensions
        )

    async def connect(self, sslcontext: ssl.SSLContext | None = None) -> ClientEnd:
        """Return the client's end of a new connection; the caller closes it."""
        return (await self._open()).connect(sslcontext)

    def error_of(self, end: ClientEnd) -> BaseException | None:
        """Return what was raised on a connection and is to come out of the client's await."""
        host, port = end.transport.get_extra_info("peername")
        return self._take_error(Address(host, port))

    async def see_off(self, address: Address) -> BaseException | None:
        """Wait until the server is done with a client that has left; return what it raised.

        The server looks at its clients once a second: here it does so now.
        """
        if self._server is not None:
            await self._server.see_off(address)
        return self._take_error(address)

    async def aclose(self) -> None:
        """Close all connections and leave the lifespan. Raises what the lifespan raises then."""
        server, self._server = self._server, None
        if server is not None and server.is_here:
            await self._pool.aclose()
            await server.stop()
            if (error := server.take_exit()) is not None:
                raise error

    async def _open(self) -> MemoryServer:
        server = self._server
        if server is None or not server.is_here:
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
        app.freeze()
        life = app.life() if self._has_lifespan else None
        server = Server(self._handle, self._config, refuse=app.refuse, lifespan=life)
        app.attach(server.background)
        return MemoryServer(server)

    def _handle(self, request: Request) -> Coroutine[Any, Any, Response]:
        self._requests[request.peer] = request
        return self._app(request)

    def _take_error(self, address: Address, status: int = 500) -> BaseException | None:
        """Return, once, what the last request of a connection raised and `status` does not tell.

        An error that is no Exception is to end the test, whatever was answered, as is one of a
        task in the background: Ctrl-C, and `pytest.fail` in an endpoint.
        """
        if self._server is not None and (error := self._server.take_exit()) is not None:
            return error
        request = self._requests.get(address)
        error = request.error if request is not None else None
        if error is None:
            if not self._raises_errors:
                self._requests.pop(address, None)  # with what it holds, such as an upload's file
            return None
        if (exit := exit_of(error)) is None and not (self._raises_errors and status == 500):
            return None
        del self._requests[address]
        if exit is not None:
            return exit
        return None if isinstance(error, (HTTPError, ProtocolError)) else error


# --- on the network -------------------------------------------------------------------


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
    defaults = ServerOptions(port=0, access_log=False, grace_s=_LIVE_GRACE_S)
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


class Misbehaving:
    """A TCP client that does what no HTTP library would: for tests of a server's patience.

    `async with` connects and closes. It sends bytes as they are and reads only when it is told to.
    `timeout_s` bounds each wait, which then raises TimeoutError. Where the server has reset the
    connection, `send` and `receive` raise ConnectionError.

        async with Misbehaving(server.host, server.port) as peer:
            await peer.drip(b"GET / HTTP/1.1\\r\\n", interval_s=0.01)
            await peer.half_close()
            assert await peer.read_all() == b""
    """

    def __init__(self, host: str, port: int, *, timeout_s: float = 10.0) -> None:
        self._address = (host, port)
        self._timeout_s = timeout_s
        self._buffer = b""  # received, and not asked for yet

    async def __aenter__(self) -> Misbehaving:
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.get_running_loop().sock_connect(self._socket, self._address)
        except BaseException:
            self._socket.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    async def send(self, data: bytes) -> None:
        """Send all of `data`, which waits while the server does not read."""
        async with asyncio.timeout(self._timeout_s):
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def drip(self, data: bytes, *, interval_s: float = 0.0) -> None:
        """Send one byte at a time, each in a segment of its own, `interval_s` apart."""
        for byte in data:
            await self.send(bytes((byte,)))
            await asyncio.sleep(interval_s)

    async def half_close(self) -> None:
        """End this side; the server's answers can still be read."""
        self._socket.shutdown(socket.SHUT_WR)

    async def reset(self) -> None:
        """Close with a TCP reset, as a peer that crashed; only leaving is left to do."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    async def read_nothing(self) -> None:
        """Make the receive buffer as small as the system allows, so that the server soon waits.

        The first megabytes would fit into it otherwise. Call it before anything large is asked for.
        """
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return what the server sent next, at most `max_bytes`; `b""` at its end."""
        if self._buffer:
            data, self._buffer = self._buffer[:max_bytes], self._buffer[max_bytes:]
            return data
        async with asyncio.timeout(self._timeout_s):
            return await asyncio.get_running_loop().sock_recv(self._socket, max_bytes)

    async def read_until(self, delimiter: bytes) -> bytes:
        """Return what comes up to and with `delimiter`, or what came before the end."""
        data = b""
        while delimiter not in data and (piece := await self.receive()):
            data += piece
        head, found, rest = data.partition(delimiter)
        self._buffer = rest + self._buffer
        return head + found

    async def read_all(self) -> bytes:
        """Return everything up to the server's end."""
        pieces = []
        while piece := await self.receive():
            pieces.append(piece)
        return b"".join(pieces)
