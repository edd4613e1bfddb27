"""`TestClient`: test an application without a socket.

It is an `httpx.AsyncClient` with connections in memory. They call the callback that the server
gives to `asyncio.start_server`. So a request passes the real parser, limits, framing and
connection; only the kernel is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ConfigurationError, MissingExtra
from ..http.cookies import SetCookie
from ..server.process import Application
from .events import EventStream
from .network import ClientEnd
from .transport import MemoryTransport

try:
    import httpx
except ImportError as error:
    raise MissingExtra("microweb.testing", "testing") from error

if TYPE_CHECKING:
    from .websocket import ClientSocket


class TestedApplication(Application, Protocol):
    """The parts of an application that a test client needs."""

    def all_middleware(self) -> Sequence[object]: ...


class TestClient(httpx.AsyncClient):
    """An `httpx.AsyncClient` of one application, made by `app.test_client()`.

    `async with` enters the app's lifespan and leaves it. Without `async with`, the first request
    enters it and `aclose()` leaves it. With `raise_errors`, the request raises an error of the
    endpoint that no error handler answers; otherwise the response is a 500. `httpx_options` are
    passed to `httpx.AsyncClient`. Environment variables and .netrc are ignored.

        async with app.test_client() as client:
            assert (await client.get("/")).text == "hello world"
    """

    __test__ = False  # pytest would collect a class of this name

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
        """Start a session that holds `values`, and set its cookie in place of the former one.

        Raises: ConfigurationError if the app does not have exactly one `Sessions` middleware.

            await client.login_session({"user": "ada"})
            assert (await client.get("/")).text == "hello ada"
        """
        from ..middleware.sessions import Sessions

        all_of_them = [each for each in self._app.all_middleware() if isinstance(each, Sessions)]
        if len(all_of_them) != 1:
            raise ConfigurationError(
                f"login_session: expected one Sessions in the app, got {len(all_of_them)}: "
                "add it by app.use(Sessions(secret_key))"
            )
        (sessions,) = all_of_them
        cookie = SetCookie(sessions.cookie, await sessions.start(values), path=sessions.path)
        field = cookie.encode(secure_by_default=self.base_url.scheme == "https")
        # Taken from a response, so that a later Set-Cookie of the app replaces this cookie.
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
        """Return a WebSocket to `path` with this client's cookies; `async with` connects it.

        `compress` offers permessage-deflate. Raises: MissingExtra if websockets is not installed.
        `async with` raises HandshakeRefused if the response is not a 101.

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
        """Return the event stream at `path`; `async with` sends the request.

        `last_event_id` is sent as a reconnecting client sends it. `options` are those of a request
        (`params`, `headers`, `json`). Leaving the block closes the connection, and waits until the
        server has closed the generator of the events. With `raise_errors`, an error of the
        generator is raised at the end of the block.

            async with client.events("/clock") as events:
                assert (await anext(events)).data == "12:00"
        """
        headers = httpx.Headers(options.pop("headers", None))
        headers.setdefault("Accept", "text/event-stream")
        fields = headers.raw
        if last_event_id:
            fields.append((b"Last-Event-ID", last_event_id.encode()))
        request = self.build_request(method, path, headers=fields, **options)
        return EventStream(self, request, self._wait_closed, last_event_id or "")

    async def _wait_closed(self, response: httpx.Response, raises: bool) -> None:
        address = response.extensions["network_stream"].get_extra_info("client_addr")
        try:
            async with asyncio.timeout(self.timeout.read):
                error = await self._memory.wait_closed(address)
        except TimeoutError as error:
            raise httpx.ReadTimeout(
                f"the generator of the events did not end within {self.timeout.read} s after its "
                "client had disconnected: look for a `finally` block that waits"
            ) from error
        if raises and error is not None:
            raise error

    async def raw(self, data: bytes) -> bytes:
        """Send bytes on a new connection, half-close it, and return all bytes of the server.

        The connection is never TLS, even with an https `base_url`. Raises: httpx.ReadTimeout if the
        server does not close the connection within the client's read timeout.

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
            raise httpx.ReadTimeout(
                f"the server did not close the connection within {self.timeout.read} s"
            ) from error
        finally:
            end.close()
            await sending
        return b"".join(received)


async def _send_and_end(end: ClientEnd, data: bytes) -> None:
    try:
        await end.write(data)
    except ConnectionError:
        return  # the server has closed the connection; the caller reads its response
    end.write_eof()
