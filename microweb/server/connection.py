"""One connection: read bytes, parse a request, await the handler, write the answer, repeat.

`Connection._serve` is the loop at the heart of microweb. It reads bytes, takes requests from the
parser and awaits the handler. `_put` then queues the answer, which is written at the end of the
event loop's iteration. The other methods guard this loop: deadlines, which the server's sweep
checks once a second; a limit on bytes that the peer has not read; and a close that loses no answer.
RFC 9112 section 9.

A request ends with its answer. After that, its body, its shields and its wait for a disconnect no
longer touch the connection, because the next bytes belong to another request.

Few applications leave a context variable set, so exchanges run in the connection's own context. As
soon as one leaves a variable set, every exchange runs in a copy of a clean context: see `context`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from contextvars import Context, copy_context
from typing import Any, Literal

from ..errors import ClientDisconnected, ProtocolError
from ..http.framing import CLOSE
from ..http.interfaces import Address, Ends, OnLost, Origin, ServerLimits
from ..http.request_head import HeaderSection
from ..http.tls import TLSInfo
from ..logs import Log
from ..parser import Parser
from ..request import Request
from ..response import Response
from .answering import AnswerStream, is_streaming, may_read_body, persistence_of
from .body import Body, can_go_on, discard_body, discard_stuck_body, end_body, skim_body
from .context import InContext
from .disconnects import DisconnectWatch
from .ends import ends_of, tls_of
from .hints import send_early_hints
from .lingering import abandon, close
from .network import NEVER, NetworkStream
from .observing import begin, end_answered, end_sent, end_unanswered, mark_failed
from .phases import BEFORE_A_REQUEST, HEAD, IDLE, START, Phase
from .refusal import failure, refuse, turn_away
from .state import ServerState

Rest = Coroutine[Any, Any, bool | None] | Literal[False]  # whether the connection stays open

# Pipelined requests are answered without a suspension, at most so many answers, bytes or seconds.
# Without these limits, one client stalled the event loop for 2.3 s.
_JOINED_ANSWERS = 32
_JOINED_BYTES = 64 * 1024
_JOINED_S = 0.005  # measured from the second answer on, so other requests need no clock

_error_log = Log("microweb.error")


class Connection:
    """The exchanges of one connection, in order, on one task."""

    __slots__ = tuple("_afterwards _forget _ends _joined _turn_ends _watch network parser".split())

    def __init__(
        self,
        state: ServerState,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        forget: Callable[[Connection], None],
    ) -> None:
        self.network = NetworkStream(state, reader, writer)
        self._watch: DisconnectWatch | None = None  # made at first use, because it takes 88 bytes
        self.parser = Parser(self, state.lines, state.head_limits)
        self._forget = forget  # called when the connection is over
        self._ends: Ends | None = None  # found at the first use
        self._joined = 0  # how many answers are in `network.unflushed`
        self._turn_ends = 0.0  # when other tasks shall run, if more than one answer is joined
        self._afterwards: tuple[Callable[[], None], ...] = ()  # to start after the answer

    @property
    def watch(self) -> DisconnectWatch:
        """The watch for a disconnect during the request under way."""
        if self._watch is None:
            self._watch = DisconnectWatch(self.network)
        return self._watch

    # --- the methods of `Peer`, for requests

    @property
    def limits(self) -> ServerLimits:
        """The limits that apply to all connections."""
        return self.network.state.limits

    @property
    def address(self) -> Address | None:
        """The peer's address."""
        return self.network.address

    @property
    def ends(self) -> Ends:
        """The two ends of the connection."""
        if self._ends is None:
            self._ends = ends_of(self.network)
        return self._ends

    @property
    def tls(self) -> TLSInfo | None:
        """The TLS side of the connection, None without TLS."""
        return tls_of(self.network)

    @property
    def is_draining(self) -> bool:
        """Whether the server is about to stop, and no other worker takes over."""
        return self.network.state.is_draining

    def origin_of(self, section: HeaderSection) -> Origin:
        """Return the origin of a request according to the trusted proxies."""
        return self.network.origin_of(section)

    def after_response(self, request: object, function: Callable[[], object]) -> None:
        """Call `function()` in the background once `request` is answered."""
        background = self.network.state.background
        background.call(self._keep_for_later, request, background.after(function))

    async def early_hints(self, request: object, links: Sequence[str]) -> None:
        """Send a 103 with `links`, unless the answer to `request` has begun."""
        send_early_hints(self.network, request, links)

    async def disconnected(self, request: object) -> None:
        """Return once the client of `request` has disconnected, or `request` is answered."""
        await self.watch.disconnected(request)

    def shield(self, request: object) -> AbstractAsyncContextManager[None]:
        """Return a context manager whose block a disconnect of the client does not cancel."""
        return self.watch.shield(request)

    def cleaning_up(self, request: object, lost: OnLost = None) -> AbstractContextManager[None]:
        """Return a context manager like `shield`, without a check for the client at its end."""
        return self.watch.cleaning_up(request, lost)

    # --- the loop

    async def run(self) -> None:
        """Serve requests until the connection closes. Raises only CancelledError."""
        network = self.network
        try:
            try:
                await self._serve()
            except ProtocolError as error:
                await self._refuse(error)
        except (ClientDisconnected, OSError):
            abandon(network)
        except asyncio.CancelledError:
            network.abort()
            if self._watch is None or not self._watch.is_lost:
                raise
        except Exception:
            _error_log.exception("a connection failed")
            mark_failed(network)
            network.abort()
        finally:
            end_unanswered(network, self._watch)
            self._end_exchange()
            network.end_outflow()
            self._start_afterwards()
            self._forget(self)
            network.transport.close()
            network.disconnected = None
            self.parser.leave_peer()  # break the reference cycle, so that all is freed now

    async def turn_away(self, retry_after_s: int) -> None:
        """Answer 503 immediately: there are more connections than `max_connections`."""
        try:
            await turn_away(self, self._stream(), retry_after_s)
        finally:
            self._forget(self)
            self.network.transport.close()

    async def _refuse(self, error: ProtocolError) -> None:
        """Answer an invalid request, and close."""
        request, parser = self.network.request, self.parser
        is_head = parser.is_at_head if request is None else request.line.method == "HEAD"
        head = parser.take_rest() if request is None else b""
        self._end_exchange()
        await refuse(self, self._stream(), error, head, is_head=is_head)

    def _stream(self) -> AnswerStream:
        return AnswerStream(self.network, self.watch, self.parser)

    async def _serve(self) -> None:
        parser, network, state = self.parser, self.network, self.network.state
        handler, clean, context = state.handler, copy_context(), None
        receive, task = network.inflow.receive, network.task
        assert task is not None
        state.isolates = state.isolates or bool(clean)
        while data := await receive():
            if network.is_full:
                await network.drain()
            request = parser.next_request(data)
            del data
            if request is None:
                if network.phase is not HEAD and not parser.is_empty:
                    self._expect_head()
                continue
            while True:
                network.request = request
                if parser.decoder is not None:
                    request.source = Body(network, parser, request.section)
                if state.observers:
                    begin(network, request)
                try:
                    if state.isolates:
                        context = clean.copy()
                        response = await InContext(context, handler(request))
                    else:
                        response = await handler(request)
                except ClientDisconnected:  # no answer; earlier answers may still be unsent
                    return await close(network, parser, has_more=False)
                except BaseException as error:
                    if isinstance(error, ProtocolError) or self.watch.ends_task(error):
                        raise
                    response = failure(request, error)
                if task.cancelling():
                    self.watch.forget_cancellation()
                rest = self._put(request, response, context)
                if rest is not None and not (rest and await rest):
                    return
                if self._afterwards:
                    self._start_afterwards()
                if copy_context():
                    state.isolates = True
                if parser.is_empty or (request := parser.next_request()) is None:
                    break
            del request, response, rest  # an idle connection keeps none of them
            context = None
            network.phase, network.deadline = IDLE, state.idle_deadline
            if not parser.is_empty:
                self._expect_head()
        await close(network, parser, has_more=False)

    def _keep_for_later(self, request: object, start: Callable[[], None]) -> None:
        if request is self.network.request:
            self._afterwards += (start,)
        else:  # already answered
            start()

    def _start_afterwards(self) -> None:
        """Start the functions of `request.after_response`, behind the flush that is scheduled."""
        starts, self._afterwards = self._afterwards, ()
        for start in starts:
            start()

    def _expect_head(self) -> None:
        # The first deadline of a connection is for its first head, unless a stop has shortened it.
        network, state = self.network, self.network.state
        if network.phase is not START or state.is_stopping:
            network.deadline = state.clock() + state.config.head_timeout_s
        network.phase = HEAD

    def _put(self, request: Request, response: Response, context: Context | None) -> Rest | None:
        """Queue an answer for the next flush. Return the rest of the exchange to await, if any."""
        network, parser, state = self.network, self.parser, self.network.state
        state.requests += 1
        if network.record is not None:
            network.record.handled = state.precise_clock()
        decoder, persistence = parser.decoder, request.section.persistence
        if decoder is not None and not decoder.is_complete and not can_go_on(parser, request):
            persistence = CLOSE
        if state.is_stopping and parser.is_empty:  # else the last pipelined answer closes
            persistence = CLOSE
        try:
            answer = response.encode(request, state.head_cache, persistence)
        except BaseException as error:  # the response is not valid in HTTP
            response, answer = failure(request, error), None
        if answer is None:
            return self._send(request, response, context, persistence)
        if network.record is not None:
            end_answered(network, response.status, len(answer))
        is_turn_over = False
        if network.unflushed:
            joined = network.unflushed = network.unflushed + answer
            now = state.precise_clock()
            if self._joined == 1:
                self._turn_ends = now + _JOINED_S
            self._joined += 1
            is_full = self._joined >= _JOINED_ANSWERS or len(joined) >= _JOINED_BYTES
            is_turn_over = is_full or now >= self._turn_ends
        else:
            network.unflushed = answer
            self._joined = 1
            if persistence is not CLOSE:  # else `_finish` flushes it
                if not (unflushed := state.unflushed):
                    state.flush_soon()
                unflushed.append(network)
        network.request = None
        if decoder is not None:
            end_body(parser, request)
        if self._watch is not None and self._watch.exchange is not None:
            self._watch.end()
        if persistence is CLOSE:
            return self._finish()
        if is_turn_over or parser.decoder is not None:
            return self._go_on(is_turn_over)
        return None

    def _end_exchange(self) -> None:
        """Detach the request under way from the connection: it is answered or has no answer.

        `_put` does the same inline for the answers that it encodes.
        """
        network = self.network
        request, network.request = network.request, None
        if request is not None and self.parser.decoder is not None:
            end_body(self.parser, request)
        if self._watch is not None and self._watch.exchange is not None:
            self._watch.end()
        network.written = 0

    async def _go_on(self, is_turn_over: bool) -> bool:
        """Prepare the connection for the next request; return True."""
        network = self.network
        network.deadline = NEVER  # the deadline of the request's head or body no longer applies
        self._start_afterwards()
        if is_turn_over:  # let other tasks run: see `_JOINED_ANSWERS`
            network.flush()
            if network.is_full:
                await network.drain()
            await asyncio.sleep(0)
        if self.parser.decoder is not None:
            await skim_body(network, self.parser)
        return True

    # --- writing

    async def _send(
        self, request: Request, response: Response, context: Context | None, persistence: bytes
    ) -> bool:
        """Send an answer that `_put` cannot queue; return whether the connection stays open."""
        network, parser = self.network, self.parser
        network.begin_answer()
        persistence = persistence_of(response, request, persistence)
        if persistence is CLOSE and not may_read_body(response):
            discard_body(network, parser, request)
        sent = await self._write(request, response, context, persistence)
        if network.task is not None and network.task.cancelling():
            self.watch.forget_cancellation()
        if network.record is not None:
            end_sent(network, sent.status)
        is_last = persistence is CLOSE or sent is not response or not can_go_on(parser, request)
        self._end_exchange()
        if is_last:
            return bool((rest := self._finish()) and await rest)
        return await self._go_on(is_turn_over=not parser.is_empty)

    async def _write(
        self, request: Request, response: Response, context: Context | None, persistence: bytes
    ) -> Response:
        """Send `response`, or a 500 if that fails before its first byte; return the sent one.

        Raises: ClientDisconnected if the client has left or a part of a failed answer is sent.
        """
        network, watch, heads = self.network, self.watch, self.network.state.head_cache
        stream = AnswerStream(network, watch, self.parser)
        watch.is_streaming = is_streaming(response)
        sending = response.send_to(stream, request, heads, persistence)
        try:
            await (sending if context is None else InContext(context, sending))
        except ClientDisconnected:
            raise
        except BaseException as error:
            if watch.ends_task(error):
                raise
            if isinstance(error, ProtocolError) and not network.written:
                raise
            is_cut = network.written > 0
            response = failure(request, error, is_cut=is_cut)
            if is_cut:
                mark_failed(network)
                # Abort the connection, so that no client takes a cut answer for a whole one.
                raise ClientDisconnected("the answer was cut") from error
            await response.send_to(stream, request, heads, CLOSE)
        finally:
            watch.is_streaming = False
        return response

    # --- endings

    def _finish(self) -> Rest:
        """Flush an answer with `Connection: close`. Return the wait for the peer, or False."""
        network, parser = self.network, self.parser
        network.flush()
        self._start_afterwards()
        # At a stop, the peer may send its next request before it reads `Connection: close`.
        has_more = network.state.is_stopping or parser.decoder is not None or not parser.is_empty
        must_wait = has_more or network.transport.get_write_buffer_size() > 0
        return must_wait and close(network, parser, has_more=has_more)

    def stop(self, now: float) -> None:
        """Tell a long-lived answer that the server stops, and shorten the idle deadline.

        A request that still arrives is answered with `Connection: close`.
        """
        if self._watch is not None and self._watch.long_lived is not None:
            self._watch.long_lived.stop(is_restart=self.network.state.is_retiring)
        self.check_stop(now)

    # --- the sweep, once a second

    def check(self, now: float) -> None:
        """Check the peer and the deadline."""
        network = self.network
        if self._watch is not None and self._watch.long_lived is not None:
            self._watch.long_lived.tick(now)
        if network.request is not None and network.phase in BEFORE_A_REQUEST:
            self.watch.check_peer()
            discard_stuck_body(network, self.parser, network.request, now)
            network.deadline = NEVER  # a handler has no deadline
        elif network.phase is IDLE and network.deadline < self.network.state.idle_deadline:
            self.parser.forget_head()
        network.check_deadlines(now)

    def check_stop(self, now: float) -> None:
        """Check the deadline; called ten times a second while the server stops."""
        network = self.network
        is_idle = network.request is None and network.phase in (START, IDLE)
        if is_idle or network.phase is Phase.LINGER:
            network.deadline = min(network.deadline, self.network.state.idle_deadline)
        network.check_deadlines(now)
