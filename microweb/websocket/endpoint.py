"""A WebSocket endpoint as a handler: the request before the handshake, the messages after it.

Strategy: the endpoint runs in its own task, because it continues after the handshake, while the
middleware around it must end with a response. If the endpoint ends before it uses the socket, its
value or error is that response. At the first use the handler returns a 101 instead, and this
`UpgradeResponse` runs the rest of the endpoint. The endpoint's task has the context variables of
the middleware. A cancellation of the task that awaits it cancels it too.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence

from ..concurrency.background import create_task
from ..concurrency.callables import describe, implementations_of
from ..endpoints.arguments import Binding, subject_itself
from ..endpoints.graph import Graph, Replacements
from ..endpoints.overrides import Overrides, PlannedRoute
from ..endpoints.plans import Plan
from ..endpoints.resolving import call_within
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
from ..http.request_log import log_fields, name_in_log
from ..logs import Log
from ..remedies import add_remedy
from ..request import Request
from .connection import WebSocketConnection
from .frames import (
    GOING_AWAY,
    INTERNAL_ERROR,
    INVALID_DATA,
    LOST,
    NORMAL,
    POLICY_VIOLATION,
    SERVICE_RESTART,
    TOO_BIG,
    TRY_AGAIN_LATER,
)
from .handshake import accept_of, check_handshake, check_origin
from .protocol import Frames
from .socket import WebSocket
from .upgrade import UpgradeResponse

# After the end of the connection, an endpoint that does not notice it is cancelled.
_PATIENCE_S = 10.0  # after a close or a failed send: it may be at work, or clean up
_PATIENCE_LOST_S = 1.0  # after a lost connection

_CLOSE_S = 1.0  # for the endpoint to end after the peer's close, before ours

_MAX_REASON = 123  # bytes. RFC 6455 section 5.5

SOCKET = Subject("socket", WebSocket, companions=(REQUEST,))

_log = Log("microweb.error")


def bind_socket(
    signature: Signature, path: Mapping[str, str], overrides: Sequence[Overrides] = ()
) -> Callable[[WebSocket], object]:
    """Return a function that calls a WebSocket endpoint with its arguments for a socket.

    `path` is name -> converter name. `overrides` are those of the apps that it belongs to.
    Raises: ConfigurationError with the function and the remedy.
    """
    function = signature.function
    if not any(map(inspect.iscoroutinefunction, implementations_of(function))):
        raise ConfigurationError(f"{describe(function)}: write a WebSocket endpoint as async def")
    binding = Binding(signature, path, SOCKET)
    if binding.graph.found:
        return _call_with_dependencies(signature, path, overrides)

    sockets = [index for index, each in enumerate(binding.positional) if each is subject_itself]
    names = [name for name, each in binding.named.items() if each is subject_itself]

    if not sockets and not names:
        raise ConfigurationError(
            f"{describe(function)}: a WebSocket endpoint takes the socket: add a parameter, as in "
            "`async def chat(socket: WebSocket)`"
        )

    def call(socket: WebSocket) -> object:
        positional, named = binding.arguments(socket.request)
        for index in sockets:
            positional[index] = socket
        return function(*positional, **named | dict.fromkeys(names, socket))

    return call


def _call_with_dependencies(
    signature: Signature, path: Mapping[str, str], overrides: Sequence[Overrides]
) -> Callable[[WebSocket], object]:
    def plan(replacements: Replacements) -> Plan:
        graph = Graph(replacements)
        return Plan(Binding(signature, path, SOCKET, graph=graph), graph, is_async=True)

    route = PlannedRoute(plan, overrides)
    return lambda socket: call_within(route.plan, socket.request, socket)


def answering(
    call: Callable[[WebSocket], object], origins: frozenset[str]
) -> Callable[[Request], Awaitable[object]]:
    """Return a handler that makes a socket and runs the endpoint by `call(socket)`.

    The handler raises HTTPError if the request is not a handshake, or its origin is not allowed.
    """

    async def answer(request: Request) -> object:
        check_handshake(request)
        check_origin(request, origins)
        return await _Exchange(request, call).answer()

    return answer


class _Exchange:
    """One call of an endpoint, from the request to the end of the connection."""

    kind = "websocket"

    def __init__(self, request: Request, call: Callable[[WebSocket], object]) -> None:
        self._request = request
        self._frames = Frames(request.transport.limits.max_message)
        offers = request.headers.get_all("sec-websocket-extensions")
        self._extensions = self._frames.negotiate(offers)
        loop = asyncio.get_running_loop()
        self._used: asyncio.Future[None] = loop.create_future()  # done at the socket's first use
        self._response: UpgradeResponse | None = None  # reset when returned: it holds this
        self._is_open = asyncio.Event()
        self._connection: WebSocketConnection | None = None
        self._gone_at: float | None = None
        self._is_stopping = False  # the server
        value = call(WebSocket(request, self))
        running = value if inspect.iscoroutine(value) else _wait_for(value)
        self._task: asyncio.Task[object] = create_task(running, "websocket")

    # --- before the handshake

    async def answer(self) -> object:
        """Return the value of the endpoint, or a 101 if it uses its socket before."""
        try:
            await self._wait_for_use()
        except BaseException:
            self._frames.close_parser()
            raise
        if self._used.done():
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

    async def _wait_for_use(self) -> None:
        """Wait until the endpoint has used its socket, or ended."""
        either: tuple[asyncio.Future[object], ...] = (self._task, self._used)  # type: ignore[assignment]
        while not (self._task.done() or self._used.done()):
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                self._task.cancel()  # the endpoint may clean up, or even return a value

    async def open(self, fields: list[tuple[str, str]]) -> WebSocketConnection:
        """Let the handler return the 101, and wait for the connection: called by the endpoint."""
        if not self._used.done():
            self._response = self._new_response(fields)
            self._used.set_result(None)
        await self._is_open.wait()
        if self._connection is None:
            raise ClientDisconnected("the client disconnected, or middleware sent another response")
        return self._connection

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

    # --- after the handshake

    async def _run(self, stream: UpgradedStream) -> None:
        limits = self._request.transport.limits
        self._connection = connection = WebSocketConnection(
            stream, self._frames, self._task, limits.ping_interval_s, limits.ping_timeout_s
        )
        stream.set_long_lived(self)
        stream.hand_over(connection)
        self._is_open.set()
        try:
            await self._wait_for_end(connection, stream)
        finally:
            await self._end_task()
            connection.task = None
            stream.set_long_lived(None)
            self._report()
            self._frames.close_parser()

    async def _end_task(self) -> None:
        """Wait until the endpoint has cleaned up; a second cancellation interrupts the cleanup."""
        if not self._task.done():
            if not self._task.cancelling():
                self._task.cancel()
            try:
                await asyncio.wait((self._task,))
            except asyncio.CancelledError:
                self._task.cancel()
                raise

    async def _wait_for_end(self, connection: WebSocketConnection, stream: UpgradedStream) -> None:
        """Wait until both the endpoint and the connection have ended, in either order."""
        either: tuple[asyncio.Future[object], ...] = (self._task, connection.gone)  # type: ignore[assignment]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            connection.close(*self._code_and_reason())
        else:
            # Nearly all endpoints end immediately. If the client sees our close only after that,
            # tests are simpler.
            await asyncio.wait((self._task,), timeout=_CLOSE_S)
        await connection.finish()
        if not self._task.done():
            stream.abort()  # all bytes are sent: the client need not wait for the endpoint
            await asyncio.wait((self._task,))

    def _code_and_reason(self) -> tuple[int, str]:
        """Return the code and reason to close with after the endpoint's value or error."""
        error = self._error()
        if self._task.cancelled() or _is_fault(error):
            return INTERNAL_ERROR, ""
        if isinstance(error, HTTPError):
            is_bad_data = isinstance(error, (BadRequest, UnprocessableContent))
            reason = error.text.encode()[:_MAX_REASON].decode(errors="ignore")
            if isinstance(error, ContentTooLarge):
                return TOO_BIG, reason
            if isinstance(error, ServiceUnavailable):
                return TRY_AGAIN_LATER, reason
            return INVALID_DATA if is_bad_data else POLICY_VIOLATION, reason
        return NORMAL, ""

    def _report(self) -> None:
        """Log, once, the error of the endpoint after the handshake."""
        error = self._error()
        if error is not None and not is_disconnect(error):
            self._request.error = error
        if error is not None and _is_fault(error):
            fields = log_fields(self._request)
            add_remedy(error)
            _log.error("%s failed", name_in_log(self._request), exc_info=error, extra=fields)

    def _error(self) -> BaseException | None:
        """Return the error of the endpoint; None if it has none, or was cancelled."""
        error = None if self._task.cancelled() else self._task.exception()
        return None if error is None else sole_error(error)

    # --- once a second

    def tick(self, now: float) -> None:
        """Check the connection, and cancel an endpoint that does not notice its end."""
        connection = self._connection
        assert connection is not None
        connection.tick(now)
        if self._is_stopping:
            self._cancel_pushing(connection)  # it was shielded, or pushes only now
        if not connection.gone.done() or connection.has_noticed or self._task.done():
            return
        code, _ = connection.closed_with or (LOST, "")
        may_be_ending = code != LOST or connection.has_failed_to_send
        patience_s = _PATIENCE_S if may_be_ending else _PATIENCE_LOST_S
        if self._gone_at is None:
            self._gone_at = now
        elif now - self._gone_at >= patience_s and not connection.is_shielded:
            connection.has_noticed = True
            self._task.cancel()

    def stop(self, *, is_restart: bool) -> None:
        """Close, because the server stops; cancel an endpoint that would not notice the close."""
        assert self._connection is not None
        self._is_stopping = True
        self._connection.close(SERVICE_RESTART if is_restart else GOING_AWAY)
        self._cancel_pushing(self._connection)

    def _cancel_pushing(self, connection: WebSocketConnection) -> None:
        """Cancel an endpoint that only sends, unless it knows of the end already."""
        knows = connection.has_noticed or connection.has_failed_to_send
        if knows or self._task.done() or self._task.cancelling():
            return
        if connection.only_pushes and not connection.is_shielded:
            connection.has_noticed = True
            self._task.cancel()


def _is_fault(error: BaseException | None) -> bool:
    """Whether an endpoint's error is a fault of the endpoint, and not of the peer."""
    if isinstance(error, HTTPError):
        return error.status >= 500 and not isinstance(error, ServiceUnavailable)
    return error is not None and not is_disconnect(error)


async def _wait_for(value: object) -> object:
    return await value if inspect.isawaitable(value) else value
