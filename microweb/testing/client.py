"""`TestClient`: tests of an application without a socket.

It is an `httpx.AsyncClient` whose connections end in memory, in the same callback that
`asyncio.start_server` calls. A request so passes the real parser, limits, framing and connection;
what is left out is the kernel.
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
