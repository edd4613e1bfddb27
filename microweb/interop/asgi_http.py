"""One call of an ASGI application for a request: its `receive` and `send`, and its answer.

The application runs in a task of its own, because it may work on after its answer, and is not
cancelled if its client leaves. The task starts eagerly: an application that answers without
waiting has ended before the handler would wait for it. Else the handler waits for the first part of
the answer only. So the middleware around a mounted application gets a Response with its status and
fields.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from errno import ENOENT
from functools import partial
from typing import Any

from ..bodies.open_file import OpenFile
from ..concurrency.background import TaskExit
from ..concurrency.eager import start_eagerly
from ..concurrency.threads import run_in_thread
from ..errors import (
    BodyConsumed,
    ClientDisconnected,
    LocalProtocolError,
    MicrowebError,
    NotFound,
    ServiceUnavailable,
)
from ..http.ranges import Span
from ..http.request_log import log_fields, name_in_log
from ..http.response_head import WITHOUT_CONTENT, check_status
from ..logs import Log
from ..request import Request
from ..response import Response
from .asgi_fields import bytes_of, lines_of, whole_answer
from .asgi_pieces import AnswerPieces, gone
from .asgi_scope import http_scope
from .asgi_types import ASGIApplication, Message, Scope
from .span_body import SpanBody

_DISCONNECT = "http.disconnect"
_READ_BYTES = 256 * 1024
_FILE = "a file of an ASGI application"

_log = Log("microweb.error")


class HTTPCall:
    """A call for one request."""

    # The initial values; most calls change few of them.
    _body: AsyncIterator[bytes] | None = None  # if it has not arrived whole
    _is_received = False
    _has_left = False  # the client, as the application has received; or nobody takes the answer
    _reading: asyncio.Lock | None = None
    _expected = "http.response.start"  # the next message; "" after the last one
    _status = 200
    _lines: dict[str, str]  # of the fields, set with the status
    _has_trailers = False
    _pieces: AnswerPieces | None = None  # of a streamed answer
    _answer: Response | None = None
    _error: BaseException | None = None  # in place of an answer
    _is_decided = False  # one of these two is set
    _decided: asyncio.Future[None] | None = None  # if the handler waits
    _has_ended = False  # the application

    def __init__(self, request: Request) -> None:
        self._request = request
        self._left = request.section.content_length  # bytes of the body; 0 if that is not known

    async def answer(self, app: ASGIApplication, state: dict[str, Any]) -> Response:
        """Return the response of `app` when its status, its fields and its first piece are known.

        `state` is that of the lifespan. Raises: each exception of the application before that.
        """
        task = start_eagerly(self._run(app, http_scope(self._request, state)), "asgi")
        if not self._is_decided:
            await self._wait_for_answer(task)
        elif self._pieces is not None:
            with self._watched():
                pass
        if not self._has_ended:
            try:
                self._request.after_response(_WorkAfterAnswer(self._request, task))
            except ServiceUnavailable:
                task.cancel()
                await self._abandon()
                raise
        if self._error is not None:
            await self._abandon()
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error  # and with it a cycle of references
        assert self._answer is not None
        return self._answer

    async def _wait_for_answer(self, task: asyncio.Task[None]) -> None:
        self._decided = asyncio.get_running_loop().create_future()
        try:
            with self._watched():
                await self._decided
        except asyncio.CancelledError:
            if not self._is_decided:
                task.cancel()
            await self._abandon()
            raise

    def _watched(self) -> AbstractContextManager[None]:
        """Return a block that the client cannot cancel. Up to the answer's end, it may `_lose`."""
        return self._request.transport.cleaning_up(self._request, self._lose)

    def _lose(self) -> None:
        """Wait no longer: the client has left. The application works on without a connection."""
        self._has_left = True
        if self._pieces is not None and self._expected:
            self._pieces.end(ClientDisconnected("the client has left"))
        elif not self._is_decided:
            self._error = ClientDisconnected("the client has left")
            self._decide()

    async def _abandon(self) -> None:
        """Let each later `send` raise OSError, because nobody takes the answer."""
        self._has_left = True
        if self._pieces is not None:
            await self._pieces.aclose()

    async def _run(self, app: ASGIApplication, scope: Scope) -> None:
        try:
            await app(scope, self.receive, self.send)
        except BaseException as error:  # the answer raises it or is cut by it, or it is logged
            was_decided = self._is_decided
            self._end(error)
            if was_decided and isinstance(error, (SystemExit, KeyboardInterrupt)):
                raise TaskExit(f"an ASGI application raised {error!r}") from error
        else:
            if self._expected:
                self._end(None)
            self._has_ended = True

    def _end(self, error: BaseException | None) -> None:
        """Decide the answer, or its end, when the application has ended."""
        self._has_ended = True
        if self._has_left and (error is None or isinstance(error, OSError)):  # raised by `send`
            error = ClientDisconnected("the client has left")
        elif error is None:
            error = LocalProtocolError(
                f"the ASGI application ended before its answer: expected it to send "
                f"{self._expected!r}"
            )
        if not self._is_decided:
            if self._error is None:
                self._error = error
            self._decide()
        elif self._pieces is not None and self._expected:
            self._pieces.end(error)
        elif error is not None and not isinstance(
            error, (OSError, ClientDisconnected, asyncio.CancelledError, GeneratorExit)
        ):
            fields = log_fields(self._request)
            text = (
                "%s failed after its client had left"
                if self._has_left
                else "%s failed after its answer"
            )
            _log.error(text, name_in_log(self._request), exc_info=error, extra=fields)

    def _decide(self) -> None:
        self._is_decided = True
        if self._decided is not None and not self._decided.done():
            self._decided.set_result(None)

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
            except MicrowebError as error:
                self._fail(error)
                raise
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
        except MicrowebError as error:
            self._fail(error)
            raise
        self._left -= len(piece)
        self._is_received = not piece or self._left == 0
        return {"type": "http.request", "body": piece, "more_body": not self._is_received}

    def _fail(self, error: MicrowebError) -> None:
        """Let an error of the body decide the answer: many applications answer each by a 400."""
        if not self._is_decided:
            self._error = error

    # --- the messages of the answer

    async def send(self, message: Message) -> None:
        """Take the next part of the answer.

        Raises: OSError if the client has left; LocalProtocolError for a message that may not come
        now, and for a status or a field that HTTP can't carry.
        """
        kind = message["type"]
        if kind != self._expected:
            await self._send_other(kind, message)
        elif self._has_left and not (self._pieces is not None and self._pieces.is_unread):
            raise gone()
        elif kind == "http.response.start":
            status = message["status"]
            self._status = status if status == 200 else check_status(status)
            self._lines = lines_of(message.get("headers", ()))
            self._has_trailers = message.get("trailers", False)
            self._expected = "http.response.body"
        elif kind == "http.response.trailers":
            self._add_trailers(message)
        else:
            body = message.get("body", b"")
            if type(body) is not bytes:
                body = bytes_of(body)
            has_more = message.get("more_body", False)
            if has_more or self._pieces is not None or self._has_trailers:
                await self._send_piece(body, has_more=has_more)
                return
            self._expected = ""
            self._answer = whole_answer(self._status, self._lines, body)
            self._is_decided = True
            if self._decided is not None:
                self._decide()

    async def _send_other(self, kind: str, message: Message) -> None:
        """Take a message beside the usual order. Raises: as `send`."""
        if kind == "http.response.early_hint" and self._expected:
            links = [link.decode("latin-1") for link in message["links"]]
            await self._request.early_hints(links)
        elif kind == "http.response.pathsend" and self._expected == "http.response.body":
            if self._has_left:
                raise gone()
            await self._send_file(os.fspath(message["path"]))
        elif self._expected or not kind.startswith("http.response."):
            raise LocalProtocolError(
                f"an ASGI application: expected {self._expected!r}, got {kind!r:.80}"
            )
        # else "any further messages on the channel will be ignored"

    async def _send_piece(self, body: bytes, *, has_more: bool) -> None:
        if self._pieces is None:
            is_unread = self._request.method == "HEAD" or self._status in WITHOUT_CONTENT
            self._pieces = AnswerPieces(is_unread=is_unread)
            self._answer = Response.stream(self._pieces, self._status)
            self._answer.headers.lines = self._lines
            self._decide()
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
        """Send a file in place of a body. Raises: OSError."""
        if self._has_trailers or self._pieces is not None:
            with open(path, "rb") as file:
                while piece := await run_in_thread(_FILE, partial(file.read, _READ_BYTES)):
                    await self._send_piece(piece, has_more=True)
            await self._send_piece(b"", has_more=False)
            return
        body, size = await run_in_thread(_FILE, partial(_open, path))
        if self._has_left:  # meanwhile
            raise gone()
        self._expected = ""
        self._answer = Response(body, self._status)
        self._answer.headers.lines = self._lines
        self._answer.headers["Content-Length"] = str(size)
        self._decide()

    def _add_trailers(self, message: Message) -> None:
        assert self._answer is not None and self._pieces is not None
        for name, value in message.get("headers", ()):
            self._answer.trailers.add(name.decode("latin-1"), value.decode("latin-1"))
        if not message.get("more_trailers", False):
            self._expected = ""
            self._pieces.end()


def _open(path: str) -> tuple[SpanBody, int]:
    """Return the content of a file as a body, and its size. Raises: OSError."""
    try:
        file = OpenFile(path)
    except NotFound as error:
        raise FileNotFoundError(ENOENT, "not a regular file", path) from error
    return SpanBody(file, Span(0, file.size)), file.size


class _WorkAfterAnswer:
    """Waits for an application that works on after its answer, so that a stop waits for it."""

    def __init__(self, request: Request, task: asyncio.Task[None]) -> None:
        self.__name__ = f"{name_in_log(request)} of an ASGI application"
        self._task = task

    async def __call__(self) -> None:
        await self._task
