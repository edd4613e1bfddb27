"""A WebSocket client over a connection in memory: `client.websocket(path)` of a `TestClient`.

It uses the sans-I/O protocol of `websockets`. Its handshake passes the real parser and connection,
as the client's requests do. RFC 6455
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol

from ..errors import MicrowebError, MissingExtra
from .network import ClientEnd

try:
    import httpx
except ImportError as error:
    raise MissingExtra("microweb.testing", "testing") from error
try:
    from websockets.client import ClientProtocol
    from websockets.datastructures import Headers
    from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
    from websockets.frames import BINARY, CONT, TEXT, Frame
    from websockets.http11 import Request, Response
    from websockets.protocol import CLOSED, CONNECTING, OPEN
    from websockets.typing import Subprotocol
    from websockets.uri import parse_uri
except ImportError as error:
    raise MissingExtra("client.websocket()", "websockets") from error


class HandshakeRefused(MicrowebError):
    """The response to a handshake was not a 101. `response` is that `httpx.Response`."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        super().__init__(f"{response.status_code} {response.text[:200]}".rstrip())


class SocketClosed(MicrowebError):
    """The socket is closed, with `code` and `reason`. RFC 6455 section 7.1.5

    `code` is 1006 if the connection ended without a close frame.
    """

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{code} {reason}".rstrip())


class SocketTransport(Protocol):
    """The parts of a client's transport that its WebSockets need."""

    async def connect(self, sslcontext: ssl.SSLContext | None = None) -> ClientEnd: ...
    def error_of(self, end: ClientEnd) -> BaseException | None:
        """Return the application's error on a connection if the client must raise it."""


_NOT_CONNECTED = "expected a connected socket: use `async with client.websocket(path) as socket:`"


class ClientSocket:
    """The client's end of a WebSocket, made by `client.websocket(path)`; `async with` connects.

    Leaving the block closes the WebSocket with 1000, and waits for the server's close. `response`
    is the response to the handshake, `subprotocol` the server's choice among the offered ones. If
    the client has `raise_errors`, an error of the endpoint that no error handler answers is raised
    by the next await of the socket, or at the end of the block.

    The client's read timeout bounds each wait. Raises: HandshakeRefused, from `async with`;
    SocketClosed; httpx.ReadTimeout.
    """

    def __init__(
        self,
        transport: SocketTransport,
        request: httpx.Request,
        *,
        subprotocols: Sequence[str],
        compress: bool,
        timeout_s: float | None,
        on_response: Callable[[httpx.Response], object],
    ) -> None:
        self._transport = transport
        self._request = request
        self._timeout_s = timeout_s
        self._on_response = on_response
        self._is_secure = request.url.scheme == "https"
        url = request.url.copy_with(scheme="wss" if self._is_secure else "ws")
        self._protocol = ClientProtocol(
            parse_uri(str(url)),
            extensions=[ClientPerMessageDeflateFactory()] if compress else None,
            subprotocols=[Subprotocol(each) for each in subprotocols] or None,
            max_size=None,
        )
        self._messages: deque[str | bytes] = deque()
        self._parts: list[bytes] = []
        self._is_text = False
        self._end: ClientEnd | None = None
        self._response: httpx.Response | None = None

    @property
    def response(self) -> httpx.Response:
        """The response to the handshake. Raises: RuntimeError before it has arrived."""
        if self._response is None:
            raise RuntimeError(_NOT_CONNECTED)
        return self._response

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server chose."""
        return self._protocol.subprotocol

    @property
    def close_code(self) -> int | None:
        """The code of the close, None while the socket is open; 1006 without a close frame."""
        return None if self._protocol.state is not CLOSED else self._protocol.close_code

    @property
    def close_reason(self) -> str:
        """The reason of the close; empty if there is none."""
        return self._protocol.close_reason or ""

    # --- connecting and leaving

    async def __aenter__(self) -> ClientSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if self._is_secure else None
        self._end = await self._transport.connect(context)
        try:
            self._protocol.send_request(self._handshake())
            await self._flush()
            while self._protocol.state is CONNECTING:
                await self._read()
                if self._protocol.handshake_exc is not None:
                    self._raise_error()
                    raise self._refusal(self._protocol.handshake_exc)
        except BaseException:
            self._connected().close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                await self.close()
                while self._protocol.state is not CLOSED:
                    await self._read()
                self._raise_error()
        finally:
            self._connected().close()

    def _handshake(self) -> Request:
        """Return the handshake with the fields of the client and of the WebSocket protocol."""
        fields = Headers()
        for name, value in self._request.headers.multi_items():
            if name != "connection":
                fields[name] = value
        for name, value in self._protocol.connect().headers.raw_items():
            if name not in ("Host", "Authorization"):
                fields[name] = value
        return Request(self._request.url.raw_path.decode("ascii"), fields)

    def _refusal(self, error: Exception) -> Exception:
        if self._response is not None:
            return HandshakeRefused(self._response)
        return httpx.RemoteProtocolError(str(error))

    def _take_response(self, response: Response) -> None:
        self._response = httpx.Response(
            response.status_code,
            headers=list(response.headers.raw_items()),
            content=bytes(response.body or b""),
            request=self._request,
        )
        self._on_response(self._response)

    # --- messages

    async def send(self, message: str | bytes) -> None:
        """Send a str as a text message, bytes as a binary one. Raises: SocketClosed."""
        self._check_open()
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        else:
            self._protocol.send_binary(message)
        await self._flush()

    async def send_json(self, value: object) -> None:
        """Send a value as JSON in a text message. Raises: SocketClosed."""
        await self.send(json.dumps(value))

    async def ping(self) -> None:
        """Send a ping. The next `receive()` also processes the pong. Raises: SocketClosed."""
        self._check_open()
        self._protocol.send_ping(b"")
        await self._flush()

    async def receive(self) -> str | bytes:
        """Return the next message. Raises: SocketClosed; the endpoint's error."""
        while not self._messages:
            if self._protocol.state is CLOSED:
                self._raise_error()
                raise self._closed()
            await self._read()
        return self._messages.popleft()

    async def receive_json(self) -> Any:
        """Return the JSON value of the next message. Raises: as `receive`; ValueError."""
        return json.loads(await self.receive())

    def __aiter__(self) -> ClientSocket:
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.receive()
        except SocketClosed:
            raise StopAsyncIteration from None

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame, once. Messages before the server's close can still be received."""
        if self._protocol.state is OPEN:
            self._protocol.send_close(code, reason)
            await self._flush()

    # --- bytes

    async def _read(self) -> None:
        """Read the next bytes, and process their frames."""
        end = self._connected()
        try:
            async with asyncio.timeout(self._timeout_s):
                data = await end.read()
        except TimeoutError as error:
            raise httpx.ReadTimeout(
                f"expected a frame from the server within {self._timeout_s} s, got none"
            ) from error
        except ConnectionError:
            data = b""
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self._take_response(event)
            elif isinstance(event, Frame) and event.opcode in (TEXT, BINARY, CONT):
                self._take_frame(event)
        await self._flush()

    def _take_frame(self, frame: Frame) -> None:
        if frame.opcode is not CONT:
            self._is_text = frame.opcode is TEXT
        self._parts.append(bytes(frame.data))
        if frame.fin:
            data, self._parts = b"".join(self._parts), []
            self._messages.append(data.decode() if self._is_text else data)

    async def _flush(self) -> None:
        """Write the protocol's pending bytes. If the connection is lost, the next read shows it."""
        for data in self._protocol.data_to_send():
            try:
                if data:
                    await self._connected().write(data)
                else:
                    self._connected().write_eof()
            except ConnectionError:
                return

    def _connected(self) -> ClientEnd:
        if self._end is None:
            raise RuntimeError(_NOT_CONNECTED)
        return self._end

    def _check_open(self) -> None:
        self._connected()
        if self._protocol.state is not OPEN:
            self._raise_error()
            raise self._closed()

    def _closed(self) -> SocketClosed:
        close = self._protocol.close_rcvd or self._protocol.close_sent
        return SocketClosed(1006, "") if close is None else SocketClosed(close.code, close.reason)

    def _raise_error(self) -> None:
        error = self._transport.error_of(self._connected())
        if error is not None:
            raise error
