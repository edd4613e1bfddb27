"""WebSocket: messages both ways with one client, as its endpoint has them. RFC 6455

The handshake is made at the socket's first use; until then its request is one like any other.
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
from ..remedies import Suggesting
from ..request import Request, name_in_log
from .connection import Conversation
from .frames import NORMAL, PING, encode_frame
from .handshake import offered_subprotocols

T = TypeVar("T")

_SENT_CODES = frozenset((*range(1000, 1004), *range(1007, 1015)))  # RFC 6455 section 7.4; IANA
_MAX_REASON = 123  # bytes: a control frame has 125. RFC 6455 section 5.5

# What the handshake itself says.
_OURS = ("connection", "content-length", "transfer-encoding", "upgrade")


class Gate(Protocol):
    """What stands between a socket and its connection."""

    async def open(self, fields: list[tuple[str, str]]) -> Conversation:
        """Make the handshake, or wait for one that is under way. Raises: ClientDisconnected."""


class WebSocket(metaclass=Suggesting):
    """One client's connection in a WebSocket endpoint; its first use makes the handshake.

    Iteration ends when either side closes, or the client is lost. `receive`, `send` and the like
    raise ClientDisconnected then, which is no error of the endpoint's and is not logged.

    Messages come in order, and those that came before a close come before the end. One task may
    receive while others send.

        @app.websocket("/echo")
        async def echo(socket: WebSocket):
            async for message in socket:
                await socket.send(message)
    """

    __slots__ = ("_conversation", "_gate", "_has_accepted", "_is_refused", "request", "subprotocol")

    def __init__(self, request: Request, gate: Gate) -> None:
        self.request = request
        self.subprotocol: str | None = None
        self._gate: Gate | None = gate  # up to the handshake
        self._has_accepted = False
        self._is_refused = False
        self._conversation: Conversation | None = None

    # --- the handshake

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The subprotocols that the client can speak, the ones it likes best first."""
        return offered_subprotocols(self.request)

    async def accept(self, subprotocol: str | None = None, headers: Fields | None = None) -> None:
        """Make the handshake: answer 101, with `subprotocol` and `headers`; without, any use does.

        Cookies that are set go into `headers`, or are the middleware's. Raises: LocalProtocolError
        for a second time, for a subprotocol that the client did not offer, and for a field that is
        the handshake's own; ClientDisconnected where the client has left, or middleware answered
        something else.
        """
        if self._has_accepted:
            raise LocalProtocolError("this WebSocket was accepted already, by accept() or a use")
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
        """Make the handshake, as any use does, if nothing has made it yet.

        Raises: ClientDisconnected, as `accept`.
        """
        if self._conversation is None:
            await self._open([])

    async def _open(self, fields: list[tuple[str, str]]) -> Conversation:
        if self._is_refused:
            raise ClientDisconnected("the WebSocket was closed before it was accepted")
        self._has_accepted = True
        if self._gate is not None:
            self._conversation = await self._gate.open(fields)
            self._gate = None  # it holds the endpoint's task, whose error would hold this
        assert self._conversation is not None
        return self._conversation

    # --- messages

    async def receive(self) -> str | bytes:
        """Return the next message: a str for text, else bytes.

        Cancelled, as by a timeout, it has taken nothing. Raises: ClientDisconnected;
        LocalProtocolError where another task receives already.
        """
        conversation = self._conversation or await self._open([])
        return await conversation.receive(conversation.disconnected)

    @overload
    async def receive_json(self) -> Any: ...
    @overload
    async def receive_json(self, type: type[T]) -> T: ...
    async def receive_json(self, type: type[T] | None = None) -> Any:
        """Return the next message's JSON value; `type` is as for `request.json`.

        Raises: as `receive`; BadRequest for what is no JSON, UnprocessableContent for what is not
        of that type. Where nobody catches these the socket closes with 1007.
        """
        return await self._parse(await self.receive(), type, sys._getframe(1))

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return self

    def __anext__(self) -> Coroutine[Any, Any, str | bytes]:
        if self._conversation is None:
            return self._open_and_iterate()
        return self._conversation.receive(StopAsyncIteration)

    async def _open_and_iterate(self) -> str | bytes:
        return await (await self._open([])).receive(StopAsyncIteration)

    @overload
    def iter_json(self) -> AsyncIterator[Any]: ...
    @overload
    def iter_json(self, type: type[T]) -> AsyncIterator[T]: ...
    async def iter_json(self, type: type[T] | None = None) -> AsyncIterator[Any]:
        """Yield each message's JSON value. Raises: as `receive_json`, but for the end."""
        async for message in self:
            yield await self._parse(message, type, sys._getframe(1))

    async def _parse(self, message: str | bytes, type: type[Any] | None, frame: FrameType) -> Any:
        data = message.encode() if isinstance(message, str) else message
        value = parse_json(data, max_values=self.request.max_json_values)
        if type is None:
            return value
        return await convert_json(
            data, value, converter_near(type, frame), name_in_log(self.request)
        )

    async def send(self, message: str | bytes) -> None:
        """Send a str as text, bytes as binary; return once it is on its way.

        With much on its way already it waits for a client that reads slowly; one that takes nothing
        for `write_timeout_s` is dropped. Raises: ClientDisconnected; TypeError for no message.
        """
        conversation = self._conversation or await self._open([])
        if conversation.write(conversation.compress(message) or encode_frame(message)):
            await conversation.drain()

    async def send_json(self, value: object) -> None:
        """Send a value as JSON text. Raises: as `send`; TypeError for what is not JSON's."""
        await self.send(encode_json(value, self.request.app.json_default).decode())

    async def send_frame(self, frame: bytes) -> None:
        """Send a frame that `encode_frame` made, perhaps for many sockets. Raises: as `send`."""
        conversation = self._conversation or await self._open([])
        if conversation.write(frame):
            await conversation.drain()

    async def ping(self) -> None:
        """Send a ping, which the client's end answers by itself. Raises: ClientDisconnected.

        The server sends its own each `ping_interval_s` in which the client was silent.
        """
        await self.send_frame(PING)

    @contextmanager
    def pushing(self) -> Iterator[None]:
        """Let a stop of the server end the endpoint inside the block, until it receives there.

        For an endpoint that only sends: nothing else would tell it that the socket is closed. Use
        it behind the handshake. Raises: ClientDisconnected if there is no connection.
        """
        conversation = self._conversation
        if conversation is None:
            raise ClientDisconnected("this WebSocket has no connection: call accept() before")
        conversation.begin_pushing()
        try:
            yield
        finally:
            conversation.end_pushing()

    # --- the end

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close, once; before the socket was accepted that is an answer of 403.

        Nothing is received afterwards. Raises: ValueError for a code that can't be sent (1000 to
        1003, 1007 to 1014, 3000 to 4999 can) and for a reason above 123 bytes. RFC 6455 section 7.4
        """
        if code not in _SENT_CODES and not 3000 <= code <= 4999:
            raise ValueError(f"expected a close code such as 1000, 1008 or 4000, got {code!r}")
        if len(reason.encode()) > _MAX_REASON:
            raise ValueError(f"expected a reason of {_MAX_REASON} bytes, got {reason!r:.80}")
        if not self._has_accepted:
            self._is_refused = True
            return
        (self._conversation or await self._open([])).close(code, reason)

    @property
    def close_code(self) -> int | None:
        """The code of the first close, None while open; 1005 without one, 1006 where it was lost.

        RFC 6455 section 7.1.5
        """
        closed_with = self._conversation and self._conversation.closed_with
        return closed_with[0] if closed_with else None

    @property
    def close_reason(self) -> str:
        """The reason that came with the code, as its sender wrote it."""
        closed_with = self._conversation and self._conversation.closed_with
        return closed_with[1] if closed_with else ""

    def __repr__(self) -> str:
        state = "open" if self._conversation else "not accepted"
        if self.close_code is not None:
            state = f"closed with {self.close_code}"
        return f"<WebSocket {self.request.line.target!r:.80} {state}>"


def _checked_fields(headers: Fields) -> list[tuple[str, str]]:
    """Return the fields that an endpoint adds to the 101. Raises: LocalProtocolError."""
    fields = list(headers.items() if isinstance(headers, Mapping) else headers)
    for name, _ in fields:
        if name.lower() in _OURS or name.lower().startswith("sec-websocket-"):
            raise LocalProtocolError(f"{name[:80]} is the handshake's: leave it out")
    return fields
