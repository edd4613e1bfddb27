"""One request of another ASGI server, from its scope to the end of its answer.

The exchange runs in the task of the other server. It makes a `Request`, awaits the handler, and
sends the `Response` as messages. An error before the head is an ordinary error response. After it,
the exchange raises `AnswerCut`, so that the other server cuts the connection and no client takes a
cut answer for a whole one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Set
from contextlib import suppress
from types import SimpleNamespace

from ..bodies.stream import StreamBody
from ..errors import ClientDisconnected, ConfigurationError, ProtocolError
from ..http.framing import CLOSE
from ..request import Handler, Request, make_request
from ..response import Response
from ..server.answering import is_streaming
from ..server.refusal import failure
from ..server.refusal_log import log_refusal
from ..server.state import ServerState
from .asgi_app_answer import MessageStream, RawFields
from .asgi_app_body import MessageBody
from .asgi_app_peer import ScopePeer
from .asgi_app_request import NO_LINE, NO_SECTION, line_of, may_have_body, section_of
from .asgi_app_socket import SocketStream
from .asgi_app_wire import Wire
from .asgi_types import Receive, Scope, Send

Refuse = Callable[[ProtocolError], Awaitable[Response]]


class AnswerCut(Exception):
    """A part of an answer was sent, and its rest can't be: the server must cut the connection.

    The error itself is in the log of microweb.error.
    """


class ScopeExchange:
    """The exchange of one HTTP or WebSocket scope. `peer` is the client, as a request sees it."""

    def __init__(self, state: ServerState, scope: Scope, receive: Receive, send: Send) -> None:
        self._state = state
        self._scope = scope
        self._wire = Wire(state, receive, send)
        self.peer = ScopePeer(state, scope, self._wire)
        self._body: MessageBody | None = None
        self._stream: MessageStream | None = None

    async def run(self, handler: Handler, root: str, published: Set[str]) -> None:
        """Answer the scope by `handler`, with the path `root` where the application is mounted.

        The values of the scope's state are those of `request.state`, except the names `published`.
        Raises: AnswerCut; all errors of the other server's `send` before the head.
        """
        watch = self.peer.watch
        try:
            if self._scope["type"] == "websocket":
                await self._wire.receive()  # websocket.connect
            await self._run(handler, root, published)
        except ClientDisconnected:
            pass
        except asyncio.CancelledError:
            if not watch.is_lost:
                raise
        finally:
            if watch.is_lost and self._wire.task is not None:
                self._wire.task.uncancel()
            if self._body is not None:
                self._body.end()
            if self._stream is not None:
                await self._stream.outbox.close()
            await self.peer.end()

    async def _run(self, handler: Handler, root: str, published: Set[str]) -> None:
        request, connection = None, b""
        try:
            request = self._make_request(root, published)
            response = await handler(request)
        except ClientDisconnected:
            raise
        except ProtocolError as error:
            log_refusal("%d: %s", error.status, error, reason=error.reason, status=error.status)
            request = request or make_request(NO_LINE, NO_SECTION, self.peer)
            response, connection = await self._state.refuse(error), CLOSE
        except BaseException as error:
            if request is None or self.peer.watch.ends_task(error):
                raise
            response = failure(request, error)
        self._state.requests += 1
        if self._body is not None and self._body.error is not None:
            connection = CLOSE  # its rest may still arrive
        await self._answer(request, response, connection)

    def _make_request(self, root: str, published: Set[str]) -> Request:
        scope = self._scope
        line, section = line_of(scope, root), section_of(scope)
        request = make_request(line, section, self.peer)
        if scope["type"] == "http" and may_have_body(section):
            request.source = self._body = MessageBody(self._wire, section)
        state: dict[str, object] | None = scope.get("state")
        if state and (names := state.keys() - published):
            request._state = SimpleNamespace(**{name: state[name] for name in names})
        self._wire.request = request
        return request

    # --- the answer

    async def _answer(self, request: Request, response: Response, connection: bytes) -> None:
        is_socket, extensions = self._scope["type"] == "websocket", self.peer.extensions
        if response.status == 101 and not is_socket:
            response = failure(request, _not_ours())
        if is_socket and response.status != 101 and "websocket.http.response" not in extensions:
            if isinstance(response.source, StreamBody):
                await response.source.discard()
            return await self._wire.send({"type": "websocket.close", "code": 1000})  # a 403
        make = SocketStream if response.status == 101 else MessageStream
        self._stream = stream = make(
            self._wire,
            self.peer,
            prefix="websocket.http.response" if is_socket else "http.response",
            is_later=not request.section.http_version.startswith("1"),
        )
        try:
            answer = response.encode(request, self._state.head_cache, connection)
        except BaseException as error:  # the response is not valid in HTTP
            response = failure(request, error)
            answer = response.encode(request, self._state.head_cache, CLOSE)
        if answer is not None:
            await stream.send_whole(answer)
        else:
            await self._write(request, response, stream, connection)

    async def _write(
        self, request: Request, response: Response, stream: MessageStream, connection: bytes
    ) -> None:
        """Send an answer that writes itself, or a 500 if that fails before the head."""
        watch, heads = self.peer.watch, self._state.head_cache
        watch.is_streaming = is_streaming(response)
        stream.has_trailers = watch.is_streaming and self._takes_trailers(request)
        try:
            await response.send_to(stream, request, heads, connection)
            await stream.finish(_trailers_of(response))
        except ClientDisconnected:
            raise
        except BaseException as error:
            if watch.ends_task(error):
                raise
            is_cut = stream.has_begun
            response = failure(request, error, is_cut=is_cut)
            if is_cut:
                with suppress(Exception):  # send what was made before; `error` is what counts
                    await stream.drain()
                raise AnswerCut("the answer was cut: see the log of microweb.error") from None
            stream.has_trailers = False
            await response.send_to(stream, request, heads, CLOSE)
            await stream.finish([])
        finally:
            watch.is_streaming = False

    def _takes_trailers(self, request: Request) -> bool:
        """Whether the other server and the client take trailers. RFC 9110 section 10.1.4"""
        if request.method == "HEAD" or "http.response.trailers" not in self.peer.extensions:
            return False
        return "trailers" in request.headers.get("te", "").lower()


def _trailers_of(response: Response) -> RawFields:
    trailers = response.source.trailers if isinstance(response.source, StreamBody) else None
    if not trailers:
        return []
    pairs = trailers.pairs()
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs]


def _not_ours() -> ConfigurationError:
    return ConfigurationError(
        "UpgradeResponse: expected microweb's own server (`microweb run`), got another ASGI "
        "server, which gives its connection to no other protocol; for a WebSocket, install the "
        "package that this server needs for it"
    )
