"""A WebSocket endpoint as a handler: the request before the handshake, the messages behind it.

Strategy: the endpoint runs in a task of its own, because it goes on across the handshake, while the
middleware around it has to end with an answer. What it returns or raises before it uses the socket
is that answer; at the first use the handler returns a 101, and the rest of the endpoint is what
that `UpgradeResponse` runs. The task has the context variables of the middleware, and is cancelled
with whatever awaits it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping

from ..concurrency.background import create_task
from ..concurrency.callables import describe, implementations_of
from ..endpoints.arguments import Binding, Getter, subject_itself
from ..endpoints.signature import REQUEST, Signature, Subject
from ..errors import (
    BadRequest,
    ClientDisconnected,
    ConfigurationError,
    ContentTooLarge,
    Forbidden,
    HTTPError,
    ServiceUnavailable,
    UnprocessableContent,
    is_disconnect,
    sole_error,
)
from ..http.bytestream import UpgradedStream
from ..logs import Log
from ..remedies import add_remedy
from ..request import Request, name_in_log, request_id_of
from .connection import Conversation
from .frames import (
    GOING_AWAY,
    INTERNAL_ERROR,
    INVALID_DATA,
    LOST,
    NORMAL,
    POLICY_VIOLATION,
    TOO_BIG,
    TRY_AGAIN_LATER,
)
from .handshake import accept_of, check_handshake, check_origin
from .protocol import Frames
from .socket import WebSocket
from .upgrade import UpgradeResponse

# How long an endpoint that does not notice may go on without its client.
_PATIENCE_S = 10.0  # behind a close, or a send that failed: it may be at work, or clean up
_PATIENCE_LOST_S = 1.0

_HANG_UP_S = 1.0  # from the peer's close to ours

_MAX_REASON = 123  # bytes. RFC 6455 section 5.5

SOCKET = Subject("socket", WebSocket, companions=(REQUEST,))

_log = Log("microweb.error")


def bind_socket(signature: Signature, path: Mapping[str, str]) -> Callable[[WebSocket], object]:
    """Return a function that calls a WebSocket endpoint for a socket.

    `path` is name -> converter name. Raises: ConfigurationError that names function and remedy.
    """
    function = signature.function
    if not any(map(inspect.iscoroutinefunction, implementations_of(function))):
        raise ConfigurationError(f"{describe(function)}: write a WebSocket endpoint as async def")
    binding = Binding(signature, path, SOCKET)

    def value(getter: Getter, socket: WebSocket) -> object:
        return socket if getter is subject_itself else getter(socket.request)

    def call(socket: WebSocket) -> object:
        arguments = {name: value(getter, socket) for name, getter in binding.named.items()}
        return function(*[value(getter, socket) for getter in binding.positional], **arguments)

    return call


def answering(
    call: Callable[[WebSocket], object], origins: frozenset[str]
) -> Callable[[Request], Awaitable[object]]:
    """Return what answers a request by the endpoint that `call` calls with its socket.

    Raises, awaited: HTTPError where the request is no handshake, or no page of `origins` may.
    """

    async def answer(request: Request) -> object:
        check_handshake(request)
        check_origin(request, origins)
        return await _Exchange(request, call).answer()

    return answer


class _Exchange:
    """One endpoint's run, from its request to the end of its connection."""

    def __init__(self, request: Request, call: Callable[[WebSocket], object]) -> None:
        self._request = request
        self._frames = Frames(request.transport.limits.max_message)
        offers = request.headers.get_all("sec-websocket-extensions")
        self._extensions = self._frames.negotiate(offers)
        loop = asyncio.get_running_loop()
        self._asked: asyncio.Future[None] = loop.create_future()
        self._response: UpgradeResponse | None = None  # until it is given: it holds this
        self._is_open = asyncio.Event()
        self._conversation: Conversation | None = None
        self._gone_at: float | None = None
        self._is_stopping = False  # the server
        value = call(WebSocket(request, self))
        running = value if inspect.iscoroutine(value) else _wait_for(value)
        self._task: asyncio.Task[object] = create_task(running, "websocket")

    # --- before the handshake

    async def answer(self) -> object:
        """Return what the endpoint returns, or the 101 that its first use asks for."""
        try:
            await self._until_asked()
        except BaseException:
            self._frames.close_parser()
            raise
        if self._asked.done():
            try:
                self._request.after_response(self._abandon)
            except ServiceUnavailable:
                await self._abandon()
                raise
            response, self._response = self._response, None
            return response
        self._frames.close_parser()
        value = self._task.result()
        if value is None:
            raise Forbidden("this WebSocket was not accepted")
        return value

    async def _until_asked(self) -> None:
        """Wait until the endpoint has used its socket, or ended."""
        either: tuple[asyncio.Future[object], ...] = (self._task, self._asked)  # type: ignore[assignment]
        while not (self._task.done() or self._asked.done()):
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                self._task.cancel()  # what becomes of that the endpoint decides

    async def open(self, fields: list[tuple[str, str]]) -> Conversation:
        """Have the handshake made: the endpoint's side of it."""
        if not self._asked.done():
            self._response = self._new_response(fields)
            self._asked.set_result(None)
        await self._is_open.wait()
        if self._conversation is None:
            raise ClientDisconnected("the client left, or middleware answered something else")
        return self._conversation

    def _new_response(self, fields: list[tuple[str, str]]) -> UpgradeResponse:
        ours = [("Upgrade", "websocket"), ("Sec-WebSocket-Accept", accept_of(self._request))]
        if self._extensions is not None:
            ours.append(("Sec-WebSocket-Extensions", self._extensions))
        return UpgradeResponse([*ours, *fields], self._run)

    async def _abandon(self) -> None:
        """End an endpoint whose 101 was never sent."""
        if not self._is_open.is_set():
            self._is_open.set()
            await asyncio.wait((self._task,))
            self._report()
            self._frames.close_parser()

    # --- behind it

    async def _run(self, stream: UpgradedStream) -> None:
        limits = self._request.transport.limits
        self._conversation = conversation = Conversation(
            stream, self._frames, self._task, limits.ping_interval_s, limits.ping_timeout_s
        )
        stream.set_long_lived(self)
        stream.hand_over(conversation)
        self._is_open.set()
        try:
            await self._until_over(conversation, stream)
        finally:
            await self._end_task()
            conversation.task = None
            stream.set_long_lived(None)
            self._report()
            self._frames.close_parser()

    async def _end_task(self) -> None:
        """Wait until the endpoint has cleaned up. Once more cancelled, cut that."""
        if not self._task.done():
            if not self._task.cancelling():
                self._task.cancel()
            try:
                await asyncio.wait((self._task,))
            except asyncio.CancelledError:
                self._task.cancel()
                raise

    async def _until_over(self, conversation: Conversation, stream: UpgradedStream) -> None:
        """Wait until the endpoint and the connection are done, whichever is first."""
        either: tuple[asyncio.Future[object], ...] = (self._task, conversation.gone)  # type: ignore[assignment]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            conversation.close(*self._farewell())
        else:
            # Nearly all end at once, and it is simpler for tests that the client sees it then.
            await asyncio.wait((self._task,), timeout=_HANG_UP_S)
        await conversation.finish()
        if not self._task.done():
            stream.abort()  # all is sent: the client need not wait for what the endpoint still does
            await asyncio.wait((self._task,))

    def _farewell(self) -> tuple[int, str]:
        """Return the code and reason to close with, by what the endpoint ended with."""
        error = self._error()
        if self._task.cancelled() or _is_fault(error):
            return INTERNAL_ERROR, ""
        if isinstance(error, HTTPError):
            is_bad_data = isinstance(error, (BadRequest, UnprocessableContent))
            reason = error.detail.encode()[:_MAX_REASON].decode(errors="ignore")
            if isinstance(error, ContentTooLarge):
                return TOO_BIG, reason
            if isinstance(error, ServiceUnavailable):
                return TRY_AGAIN_LATER, reason
            return INVALID_DATA if is_bad_data else POLICY_VIOLATION, reason
        return NORMAL, ""

    def _report(self) -> None:
        """Log, once, what the endpoint failed with behind the handshake."""
        error = self._error()
        if error is not None and not is_disconnect(error):
            self._request.error = error
        if error is not None and _is_fault(error):
            fields = {"request_id": request_id_of(self._request)}
            add_remedy(error)
            _log.error("%s failed", name_in_log(self._request), exc_info=error, extra=fields)

    def _error(self) -> BaseException | None:
        """Return what the endpoint raised, None if nothing or a cancellation."""
        error = None if self._task.cancelled() else self._task.exception()
        return None if error is None else sole_error(error)

    # --- once a second

    def tick(self, now: float) -> None:
        """See to the connection, and to an endpoint that works for nobody."""
        conversation = self._conversation
        assert conversation is not None
        conversation.tick(now)
        if self._is_stopping:
            self._end_pushing(conversation)  # it was shielded, or has begun to push since
        if not conversation.gone.done() or conversation.has_noticed or self._task.done():
            return
        code, _ = conversation.closed_with or (LOST, "")
        is_told = code != LOST or conversation.has_failed_to_send
        patience_s = _PATIENCE_S if is_told else _PATIENCE_LOST_S
        if self._gone_at is None:
            self._gone_at = now
        elif now - self._gone_at >= patience_s and not conversation.is_shielded:
            conversation.has_noticed = True
            self._task.cancel()

    def stop(self) -> None:
        """Close because the server stops; cancel an endpoint that would not notice it."""
        assert self._conversation is not None
        self._is_stopping = True
        self._conversation.close(GOING_AWAY)
        self._end_pushing(self._conversation)

    def _end_pushing(self, conversation: Conversation) -> None:
        """Cancel an endpoint that only sends, unless it has been told of the end before."""
        is_told = conversation.has_noticed or conversation.has_failed_to_send
        if is_told or self._task.done() or self._task.cancelling():
            return
        if conversation.only_pushes and not conversation.is_shielded:
            conversation.has_noticed = True
            self._task.cancel()


def _is_fault(error: BaseException | None) -> bool:
    """Whether what an endpoint raised is its own fault, and not the peer's."""
    if isinstance(error, HTTPError):
        return error.status >= 500 and not isinstance(error, ServiceUnavailable)
    return error is not None and not is_disconnect(error)


async def _wait_for(value: object) -> object:
    return await value if inspect.isawaitable(value) else value
