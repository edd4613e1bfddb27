"""One call of an ASGI application for a WebSocket: its `receive` and `send`."""

from __future__ import annotations

import asyncio
from typing import Any

from ..concurrency.background import create_task
from ..errors import ClientDisconnected, LocalProtocolError
from ..http.origins import EVERY_ORIGIN
from ..http.request_log import log_fields, name_in_log
from ..logs import Log
from ..request import Request
from ..response import Response
from ..websocket.endpoint import answering
from ..websocket.socket import WebSocket
from .asgi_fields import bytes_of
from .asgi_pieces import gone
from .asgi_scope import socket_scope
from .asgi_types import ASGIApplication, Message

_log = Log("microweb.error")

_LOST, _NO_CODE = 1006, 1005
_OPENING, _OPEN, _REFUSING, _CLOSED = "opening", "open", "refusing", "closed"


async def answer_socket(request: Request, app: ASGIApplication, state: dict[str, Any]) -> Response:
    """Return the 101 of a WebSocket, or the response that refuses it.

    The application decides about origins. Raises: HTTPError; each exception of the application
    before the handshake.
    """

    async def run(socket: WebSocket) -> object:
        call = SocketCall(socket)
        try:
            await app(socket_scope(request, state, socket.subprotocols), call.receive, call.send)
        except Exception as error:
            if call.has_closed and isinstance(error, ConnectionError):  # raised by `send`
                raise ClientDisconnected("the client has left") from error
            if not call.has_refused:
                raise
            if not isinstance(error, OSError):  # which `send` raises after the refusal
                fields = log_fields(request)
                _log.exception("%s failed after its answer", name_in_log(request), extra=fields)
        return call.refusal()

    response = await answering(run, frozenset((EVERY_ORIGIN,)))(request)
    assert isinstance(response, Response)
    return response


class SocketCall:
    """A call for one WebSocket."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._state = _OPENING
        self._has_decided = asyncio.Event()  # it has accepted or refused the handshake
        self._has_connected = False
        self._is_accepted = False
        self._head: Message | None = None  # of a response that refuses the handshake
        self._body = b""

    @property
    def has_refused(self) -> bool:
        """Whether the application has refused the handshake, and its answer is complete."""
        return self._state == _CLOSED and not self._is_accepted

    @property
    def has_closed(self) -> bool:
        """Whether the WebSocket was accepted, and is closed."""
        return self._state == _CLOSED and self._is_accepted

    def refusal(self) -> Response | None:
        """Return the response that refuses the handshake; None for a 403, or if it was made."""
        if self._head is None:
            return None
        response = Response(self._body, self._head["status"])
        response.headers.fill(_fields_of(self._head))
        return response

    async def receive(self) -> Message:
        """Return the next message of the client, or that it has left."""
        if not self._has_connected:
            self._has_connected = True
            return {"type": "websocket.connect"}
        socket = self._socket
        if self._state in (_OPENING, _REFUSING):  # another task accepts
            await self._wait_for_decision()
        if self._state == _OPEN:
            try:
                data = await socket.receive()
            except ClientDisconnected:
                self._state = _CLOSED
            else:
                text, content = (data, None) if isinstance(data, str) else (None, data)
                return {"type": "websocket.receive", "text": text, "bytes": content}
        code = socket.close_code or (_NO_CODE if self._state == _CLOSED else _LOST)
        return {"type": "websocket.disconnect", "code": code, "reason": socket.close_reason}

    async def send(self, message: Message) -> None:
        """Take the next message of the application.

        Raises: OSError if the client has left; LocalProtocolError for a message that may not come
        now; ValueError for a close code that can't be sent.
        """
        kind = message["type"]
        try:
            match self._state, kind:
                case "opening", "websocket.accept":
                    await self._accept(message)
                case "open", "websocket.send":
                    await self._socket.send(_data_of(message))
                case "opening" | "open", "websocket.close":
                    is_open = self._state == _OPEN
                    self._decide(_CLOSED)
                    if is_open:
                        reason = message.get("reason") or ""
                        await self._socket.close(message.get("code") or 1000, reason)
                case "opening", "websocket.http.response.start":
                    self._state, self._head = _REFUSING, message
                case "refusing", "websocket.http.response.body":
                    self._body += bytes_of(message.get("body", b""))
                    if not message.get("more_body", False):
                        self._decide(_CLOSED)
                case "closed", "websocket.send" | "websocket.close":
                    raise gone()
                case _:
                    raise LocalProtocolError(
                        f"an ASGI application: the WebSocket is {self._state}, got {kind!r:.80}"
                    )
        except ClientDisconnected as error:
            self._decide(_CLOSED)
            raise gone() from error

    async def _accept(self, message: Message) -> None:
        await self._socket.accept(message.get("subprotocol"), _fields_of(message))
        self._is_accepted = True
        self._decide(_OPEN)

    def _decide(self, state: str) -> None:
        self._state = state
        self._has_decided.set()

    async def _wait_for_decision(self) -> None:
        """Wait until the application has accepted or refused, or the client has left."""
        leaving = create_task(self._socket.request.disconnected(), "asgi websocket")
        deciding = create_task(self._has_decided.wait(), "asgi websocket")
        try:
            await asyncio.wait((leaving, deciding), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            deciding.cancel()


def _data_of(message: Message) -> str | bytes:
    content, text = message.get("bytes"), message.get("text")
    if content is None and isinstance(text, str):
        return text
    if content is None or text is not None:
        raise LocalProtocolError("websocket.send: expected either 'bytes' or 'text'")
    return bytes_of(content)


def _fields_of(message: Message) -> list[tuple[str, str]]:
    return [
        (bytes_of(name).decode("latin-1"), bytes_of(value).decode("latin-1"))
        for name, value in message.get("headers") or ()
    ]
