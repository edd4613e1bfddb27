"""WebSocket: the messages of one client, in both directions, for an endpoint. RFC 6455

The first use of the socket makes the handshake. Until then its request is an ordinary request.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol, TypeVar, overload

from ..bodies.incoming import convert_json
from ..bodies.json import encode_json, parse_json
from ..bodies.json_types import converter_near
from ..errors import ClientDisconnected, LocalProtocolError
from ..http.interfaces import Fields
from ..http.request_log import name_in_log
from ..remedies import Suggesting
from ..request import Request
from .connection import WebSocketConnection
from .frames import NORMAL, PING, encode_frame
from .handshake import offered_subprotocols

T = TypeVar("T")

_SENT_CODES = frozenset((*range(1000, 1004), *range(1007, 1015)))  # RFC 6455 section 7.4; IANA
_MAX_REASON = 123  # bytes: a control frame has 125. RFC 6455 section 5.5

# The handshake sets these fields.
_HANDSHAKE_FIELDS = ("connection", "content-length", "transfer-encoding", "upgrade")


class Gate(Protocol):
    """The maker of a socket's handshake."""

    async def open(self, fields: list[tuple[str, str]]) -> WebSocketConnection:
        """Make the handshake, or wait until it is made. Raises: ClientDisconnected."""


class WebSocket(metaclass=Suggesting):
    """The WebSocket of one client, in an endpoint. Its first use makes the handshake.

    Iteration ends when either side closes, or when the connection is lost. Methods such as
    `receive` and `send` then raise ClientDisconnected. An endpoint need not catch it: it is not an
    error, and is not logged.

    Messages come in order, and messages sent before a close come before the end. One task may
    receive while others send.

        @app.websocket("/echo")
        async def echo(socket: WebSocket):
            async for message in socket:
                await socket.send(message)
    """

    __slots__ = ("_connection", "_gate", "_has_accepted", "_is_refused", "request", "subprotocol")

    def __init__(self, request: Request, gate: Gate) -> None:
        self.request = request
        self.subprotocol: str | None = None
        self._gate: Gate | None = gate  # until the handshake
        self._has_accepted = False
        self._is_refused = False
        self._connection: WebSocketConnection | None = None

    # --- the handshake

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """Return the subprotocols that the client offers, in its order of preference."""
        return offered_subprotocols(self.request)

    async def accept(self, subprotocol: str | None = None, headers: Fields | None = None) -> None:
        """Make the handshake: answer 101, with `subprotocol` and `headers`.

        Any other use makes it too, without these. Set cookies in `headers` or in middleware.
        Raises: LocalProtocolError if the handshake is made already, for a subprotocol that the
        client did not offer, and for a field that the handshake sets; ClientDisconnected if the
        client has disconnected, or if middleware sent another response.
        """
        if self._has_accepted:
            raise LocalProtocolError(
                "this WebSocket was accepted already: call accept() once, before any other use"
            )
        if subprotocol is not None and subprotocol not in self.subprotocols:
            raise LocalProtocolError(
                f"expected one of the subprotocols {self.subprotocols!r:.80} that the client "
                f"offers, got {subprotocol!r:.80}"
            )
        fields = _checked_fields(headers or ())
        if subprotocol is not None:
            fields.append(("Sec-WebSocket-Protocol", subprotocol))
        await self._open(fields)
        self.subprotocol = subprotocol

    async def open(self) -> None:
        """Make the handshake, as any use does, unless it is made.

        Raises: ClientDisconnected, as `accept`.
        """
        if self._connection is None:
            await self._open([])

    async def _open(self, fields: list[tuple[str, str]]) -> WebSocketConnection:
        if self._is_refused:
            raise ClientDisconnected("the WebSocket was closed before it was accepted")
        self._has_accepted = True
        if self._gate is not None:
            self._connection = await self._gate.open(fields)
            self._gate = None  # else a cycle: it holds the endpoint's task, whose error holds this
        assert self._connection is not None
        return self._connection

    # --- messages

    async def receive(self) -> str | bytes:
        """Return the next message: a str for text, else bytes.

        A cancelled call, as by a timeout, loses no message. Raises: ClientDisconnected;
        LocalProtocolError if another task receives already.
        """
        connection = self._connection or await self._open([])
        return await connection.receive(connection.disconnected)

    @overload
    async def receive_json(self) -> Any: ...
    @overload
    async def receive_json(self, type: type[T]) -> T: ...
    async def receive_json(self, type: type[T] | None = None) -> Any:
        """Return the JSON value of the next message; `type` is as for `request.json`.

        Raises: as `receive`; BadRequest for invalid JSON, UnprocessableContent for a value of
        another type. If the endpoint doesn't catch one of these two, the socket closes with 1007.
        """
        return await self._parse(await self.receive(), type, sys._getframe(1))

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return self

    def __anext__(self) -> Coroutine[Any, Any, str | bytes]:
        if self._connection is None:
            return self._open_and_iterate()
        return self._connection.receive(StopAsyncIteration)

    async def _open_and_iterate(self) -> str | bytes:
        return await (await self._open([])).receive(StopAsyncIteration)

    @overload
    def iter_json(self) -> AsyncIterator[Any]: ...
    @overload
    def iter_json(self, type: type[T]) -> AsyncIterator[T]: ...
    async def iter_json(self, type: type[T] | None = None) -> AsyncIterator[Any]:
        """Yield the JSON value of each message. Raises: as `receive_json`, except at the end."""
        async for message in self:
            yield await self._parse(message, type, sys._getframe(1))

    async def _parse(self, message: str | bytes, type: type[Any] | None, frame: FrameType) -> Any:
        data = message.encode() if isinstance(message, str) else message
        value = parse_json(data, max_values=self.request.max_json_values)
        if type is None:
            return value
        convert, _ = converter_near(type, frame)
        return await convert_json(data, value, convert, name_in_log(self.request))

    async def send(self, message: str | bytes) -> None:
        """Send a str as text or bytes as binary; return when the message is written or queued.

        If much is queued, it waits until the client has read some of it. A client that reads
        nothing for `write_timeout_s` is disconnected. Raises: ClientDisconnected; TypeError for
        another type.
        """
        connection = self._connection or await self._open([])
        if connection.write(connection.compress(message) or encode_frame(message)):
            await connection.drain()

    async def send_json(self, value: object) -> None:
        """Send a value as JSON text. Raises: as `send`; TypeError if JSON doesn't take it."""
        await self.send(encode_json(value, self.request.app.json_default).decode())

    async def send_frame(self, frame: bytes) -> None:
        """Send a frame of `encode_frame`, which many sockets may share. Raises: as `send`."""
        connection = self._connection or await self._open([])
        if connection.write(frame):
            await connection.drain()

    async def ping(self) -> None:
        """Send a ping; the client's WebSocket library answers it. Raises: ClientDisconnected.

        The server too sends pings, after each `ping_interval_s` without data from the client.
        """
        await self.send_frame(PING)

    @contextmanager
    def pushing(self) -> Iterator[None]:
        """Let a stop of the server cancel the endpoint inside the block, until it receives there.

        Use it after the handshake, in an endpoint that only sends: without it the endpoint may not
        notice that the socket is closed. Raises: ClientDisconnected if there is no connection.
        """
        connection = self._connection
        if connection is None:
            raise ClientDisconnected("expected an accepted WebSocket: call accept() first")
        connection.begin_pushing()
        try:
            yield
        finally:
            connection.end_pushing()

    # --- the end

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close the socket; before the handshake, answer 403. Later calls do nothing.

        Nothing is received afterwards. Raises: ValueError for a code that can't be sent (1000 to
        1003, 1007 to 1014 and 3000 to 4999 can) and for a reason of more than 123 bytes. RFC 6455
        section 7.4
        """
        if code not in _SENT_CODES and not 3000 <= code <= 4999:
            raise ValueError(f"expected a close code such as 1000, 1008 or 4000, got {code!r}")
        if len(reason.encode()) > _MAX_REASON:
            raise ValueError(
                f"expected a reason of at most {_MAX_REASON} bytes, got {reason!r:.80}"
            )
        if not self._has_accepted:
            self._is_refused = True
            return
        (self._connection or await self._open([])).close(code, reason)

    @property
    def close_code(self) -> int | None:
        """Return the code of the first close frame; None while the socket is open.

        1005 means a close frame without a code, 1006 a lost connection. RFC 6455 section 7.1.5
        """
        closed_with = self._connection and self._connection.closed_with
        return closed_with[0] if closed_with else None

    @property
    def close_reason(self) -> str:
        """Return the reason in the first close frame."""
        closed_with = self._connection and self._connection.closed_with
        return closed_with[1] if closed_with else ""

    def __repr__(self) -> str:
        state = "open" if self._connection else "not accepted"
        if self.close_code is not None:
            state = f"closed with {self.close_code}"
        return f"<WebSocket {self.request.line.target!r:.80} {state}>"


def _checked_fields(headers: Fields) -> list[tuple[str, str]]:
    """Return the fields that an endpoint adds to the 101. Raises: LocalProtocolError."""
    fields = list(headers.items() if isinstance(headers, Mapping) else headers)
    for name, _ in fields:
        if name.lower() in _HANDSHAKE_FIELDS or name.lower().startswith("sec-websocket-"):
            raise LocalProtocolError(f"the handshake sets {name[:80]!r}: leave it out of headers")
    return fields
