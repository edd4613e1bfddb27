"""One call of an ASGI application for a request: its `receive` and `send`, and its answer.

The application runs in a task of its own, because it may work on after its answer, and is not
cancelled if its client leaves. The handler waits for the first part of the answer only. So the
middleware around a mounted application gets a Response with its status and fields.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from ..concurrency.background import create_task
from ..concurrency.threads import run_in_thread
from ..errors import BodyConsumed, ClientDisconnected, LocalProtocolError, ServiceUnavailable
from ..http.response_head import WITHOUT_CONTENT
from ..logs import Log
from ..request import Request, name_in_log, request_id_of
from ..response import Response
from .asgi_pieces import AnswerPieces, gone
from .asgi_scope import http_scope
from .asgi_types import ASGIApplication, Message

_DISCONNECT = "http.disconnect"
# They belong to the server, which decides about the connection.
_HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
_READ_BYTES = 256 * 1024
_FILE = "a file of an ASGI application"

_log = Log("microweb.error")


class HTTPCall:
    """A call for one request."""

    def __init__(self, request: Request, app: ASGIApplication, state: dict[str, Any]) -> None:
        self._request = request
        self._scope = http_scope(request, state)
        self._body: AsyncIterator[bytes] | None = None  # if it has not arrived whole
        self._left = request.section.content_length  # bytes of it; 0 if that is not known
        self._is_received = False
        self._has_left = False  # the application has received the disconnect
        self._reading: asyncio.Lock | None = None
        self._expected = "http.response.start"  # the next message; "" after the last one
        self._head: Response | None = None
        self._has_trailers = False
        self._pieces: AnswerPieces | None = None  # of a streamed answer
        self._decided: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._task = create_task(self._run(app), "asgi")

    async def answer(self) -> Response:
        """Return the response when its status, its fields and its first piece are known.

        Raises: each exception of the application before that.
        """
        try:
            async with self._request.shield():
                response = await self._decided
        except asyncio.CancelledError:
            if self._pieces is not None:  # the client has left: `send` says so
                await self._pieces.aclose()
            elif not self._decided.done() or self._decided.cancelled():
                self._task.cancel()
            raise
        if not self._task.done():
            try:
                self._request.after_response(self._wait_for_end)
            except ServiceUnavailable:
                self._task.cancel()
                raise
        return response

    async def _wait_for_end(self) -> None:
        """Let a stop of the server wait for the application, which works on after its answer."""
        await self._task

    async def _run(self, app: ASGIApplication) -> None:
        error: BaseException | None = None
        try:
            await app(self._scope, self.receive, self.send)
        except Exception as raised:
            error = raised
        except BaseException as raised:
            self._end(raised)
            raise
        try:
            self._end(error)
        finally:
            error = None  # it refers to this frame, and to those of the application

    def _end(self, error: BaseException | None) -> None:
        """Decide the answer, or its end, when the application has ended."""
        if self._expected and error is None:
            error = LocalProtocolError(
                f"the ASGI application ended before its answer: expected it to send "
                f"{self._expected!r}"
            )
        if self._has_left and isinstance(error, OSError):  # raised by `send`
            error = ClientDisconnected("the client has left")
        if not self._decided.done():
            is_cancelled = isinstance(error, asyncio.CancelledError)
            if error is not None and not is_cancelled:
                self._decided.set_exception(error)
            else:
                self._decided.cancel()
        elif self._pieces is not None and self._expected:
            self._pieces.end(error)
        elif error is not None and not isinstance(
            error, (OSError, ClientDisconnected, asyncio.CancelledError)
        ):
            fields = {"request_id": request_id_of(self._request)}
            text = "%s failed after its answer"
            _log.error(text, name_in_log(self._request), exc_info=error, extra=fields)

    # --- the messages of the request

    async def receive(self) -> Message:
        """Return the next part of the body; after it, wait until the client leaves."""
        if self._is_received or not self._expected:
            if self._expected:
                await self._request.disconnected()
            self._has_left = bool(self._expected)  # else the answer is complete
            return {"type": _DISCONNECT}
        if self._body is None:
            try:
                whole = self._request.incoming.take(self._request.max_body)
            except BodyConsumed:  # the head of an answer without content is sent
                self._is_received = True
                return {"type": _DISCONNECT}
            if whole is not None:
                self._is_received = True
                return {"type": "http.request", "body": whole, "more_body": False}
            self._body = self._request.stream()
            self._reading = asyncio.Lock()
        assert self._reading is not None
        async with self._reading:
            return await self._receive_piece(self._body)

    async def _receive_piece(self, body: AsyncIterator[bytes]) -> Message:
        try:
            piece = await anext(body, b"") if not self._is_received else b""
        except (ClientDisconnected, BodyConsumed):
            self._is_received = self._has_left = True
            return {"type": _DISCONNECT}
        self._left -= len(piece)
        self._is_received = not piece or self._left == 0
        return {"type": "http.request", "body": piece, "more_body": not self._is_received}

    # --- the messages of the answer

    async def send(self, message: Message) -> None:
        """Take the next part of the answer.

        Raises: OSError if the client has left; LocalProtocolError for a message that may not come
        now, and for a status or a field that HTTP can't carry.
        """
        kind = message["type"]
        if kind == "http.response.early_hint" and self._expected:
            await self._request.early_hints([link.decode("latin-1") for link in message["links"]])
            return
        if not self._expected and kind.startswith("http.response."):
            return  # "any further messages on the channel will be ignored"
        is_file = kind == "http.response.pathsend" and self._expected == "http.response.body"
        if kind != self._expected and not is_file:
            raise LocalProtocolError(
                f"an ASGI application: expected {self._expected!r}, got {kind!r:.80}"
            )
        if self._has_left and not (self._pieces is not None and self._pieces.is_unread):
            raise gone()
        if kind == "http.response.start":
            self._head = _head_of(message)
            self._has_trailers = bool(message.get("trailers", False))
            self._expected = "http.response.body"
        elif is_file:
            await self._send_file(os.fspath(message["path"]))
        elif kind == "http.response.body":
            await self._send_body(
                bytes(message.get("body", b"")), has_more=bool(message.get("more_body", False))
            )
        else:
            self._add_trailers(message)

    async def _send_body(self, body: bytes, *, has_more: bool) -> None:
        assert self._head is not None
        if not has_more and self._pieces is None and not self._has_trailers:
            self._expected = ""
            if self._decided.done():  # the handler was cancelled
                raise gone()
            self._head.body = body
            self._decided.set_result(self._head)
            return
        if self._pieces is None:
            is_unread = self._request.method == "HEAD" or self._head.status in WITHOUT_CONTENT
            self._pieces = AnswerPieces(is_unread=is_unread)
            self._head = _streamed(self._head, self._pieces)
            if self._decided.done():
                raise gone()
            self._decided.set_result(self._head)
        pieces = self._pieces
        if has_more:
            await pieces.put(body)
            return
        self._expected = "http.response.trailers" if self._has_trailers else ""
        try:
            await pieces.put(body)
        finally:
            if not self._expected:
                pieces.end()

    async def _send_file(self, path: str) -> None:
        """Send a file in place of a body."""
        with open(path, "rb") as file:
            while piece := await run_in_thread(_FILE, partial(file.read, _READ_BYTES)):
                await self._send_body(piece, has_more=True)
        await self._send_body(b"", has_more=False)

    def _add_trailers(self, message: Message) -> None:
        assert self._head is not None and self._pieces is not None
        for name, value in message.get("headers", ()):
            self._head.trailers.add(name.decode("latin-1"), value.decode("latin-1"))
        if not message.get("more_trailers", False):
            self._expected = ""
            self._pieces.end()


def _head_of(message: Message) -> Response:
    """Return a response without a body. Raises: LocalProtocolError."""
    response = Response(b"", message["status"])
    headers = response.headers
    for name, value in message.get("headers", ()):
        if name.lower() not in _HOP_BY_HOP:
            headers.add(bytes(name).decode("latin-1"), bytes(value).decode("latin-1"))
    return response


def _streamed(head: Response, pieces: AnswerPieces) -> Response:
    response = Response.stream(pieces, head.status)
    response.headers.fill(head.headers.pairs())
    return response
