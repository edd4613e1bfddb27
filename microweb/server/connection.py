"""One connection: read, parse, hand over, answer, again.

`Connection._serve` is the loop at the heart of microweb: it reads, takes requests out of the
parser, awaits the handler, and `_put`s the answer where the end of the loop's turn writes it. The
rest keeps that honest: a deadline that the server's sweep looks at once a second, a bound on what
is written ahead of the peer, and endings that lose no answer. RFC 9112 section 9.

A request ends with its answer. From then on its body, its shields and its wait for the client to
leave have no hold on the connection, whose next bytes are another request's.

Nothing that one exchange sets in a context variable is seen by the next, which behind a proxy is
another person's. Few applications set any and leave it set, so the first exchanges run in the
connection's own context; as soon as one has left something there, each one on this server runs in
a copy of a clean context (`Driven`), which costs 0.5 us more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any

from ..bodies.stream import StreamResponse
from ..errors import BodyTimeout, ClientDisconnected, HTTPError, ProtocolError
from ..http.framing import CLOSE
from ..http.headers import Headers
from ..http.interfaces import Address
from ..http.request_head import HeaderSection, RequestLine
from ..http.response_head import phrase_of
from ..logs import Log
from ..parser import Parser
from ..remedies import add_remedy
from ..request import Request, make_request, name_in_log, request_id_of
from ..response import Response
from .addresses import network_of
from .body import Body
from .buffered import Share
from .context import Driven
from .disconnects import Presence
from .network import NEVER, READ_BYTES, Phase
from .state import ServerState
from .upgrade import CROWDED_S, SILENCE_S

Rest = Coroutine[Any, Any, bool]  # of an exchange: returns whether the connection goes on

_SKIM_BYTES = 64 * 1024  # of a body that nobody read, to keep the connection
# Pipelined requests are answered without a suspension: one client stalled the loop for 390 ms.
_JOINED_ANSWERS = 32
_JOINED_BYTES = 64 * 1024

_error_log = Log("microweb.error")
_protocol_log = Log("microweb.protocol")

_BEFORE_A_REQUEST = frozenset((Phase.START, Phase.HEAD, Phase.IDLE))

# What an answer to something that was no request is framed by: to HEAD it has no content.
_NO_LINE = RequestLine("GET", "", "", "", None)
_HEAD_LINE = RequestLine("HEAD", "", "", "", None)
_NO_SECTION = HeaderSection(Headers())

# An Enum's attribute costs 0.1 us, a global next to nothing.
_HEAD, _IDLE = Phase.HEAD, Phase.IDLE


class Connection(Presence):
    """The exchanges of one connection, in order, on one task."""

    __slots__ = (
        "_afterwards",
        "_forget",
        "_joined",
        "_unbroken",
        "address",
        "limits",
        "scheme",
    )

    def __init__(
        self,
        state: ServerState,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        forget: Callable[[Connection], None],
    ) -> None:
        super().__init__(state, reader, writer)
        self._forget = forget  # called once it is over
        peer = writer.get_extra_info("peername")
        self.address = Address(peer[0], peer[1]) if isinstance(peer, tuple) else None
        self.scheme = "http" if writer.get_extra_info("sslcontext") is None else "https"
        self.parser = Parser(self, state.lines, state.head_limits)
        self.limits = state.limits
        self._joined = 0  # how many answers are in `unflushed`
        self._unbroken = 0  # what was sent by itself since others last had their turn
        self._afterwards: tuple[Callable[[], None], ...] = ()  # to start behind the answer

    # --- what requests and bodies ask of it

    def origin_of(self, headers: Headers) -> tuple[Address | None, str]:
        proxies = self._state.proxies
        if not proxies:
            return self.address, self.scheme
        return proxies.origin_of(self.address, self.scheme, headers)

    def share(self, lose: Callable[[], None]) -> Share:
        """Return a share, for this client, of the memory that is buffered for all."""
        request, client = self._request, self.address
        if request is not None:
            client = self.origin_of(request.section.headers)[0]
        key = "" if client is None else network_of(client.host)
        return Share(self._state.budget, key, lose)

    def after_response(self, request: object, function: Callable[[], object]) -> None:
        background = self._state.background
        background.call(self._keep_for_later, request, background.after(function))

    def write_interim(self, data: bytes) -> None:
        """Send an interim answer, unless the answer itself has begun."""
        if self.written:
            return
        self.flush()  # answers to earlier requests go first
        self.write(data)
        self.written = 0

    # --- the loop

    async def run(self) -> None:
        """Serve until one side is done. Raises nothing but CancelledError."""
        try:
            try:
                await self._serve()
            except ProtocolError as error:
                await self._refuse(error)
        except (ClientDisconnected, OSError):
            self.transport.abort()
        except asyncio.CancelledError:
            self.transport.abort()
            if not self._is_lost:
                raise
        except Exception:
            _error_log.exception("a connection failed")
            self.transport.abort()
        finally:
            self._end_exchange()
            self._end_outflow()
            self._start_afterwards()
            self._forget(self)
            self.transport.close()
            self.parser.leave_peer()  # so that all of it is freed now, and not collected one day

    async def turn_away(self, retry_after_s: int) -> None:
        """Answer 503 at once: there are more connections than `max_connections`."""
        self._lingers_until = self._state.clock() + CROWDED_S
        try:
            await self._conclude(
                Response("Too many connections\n", 503, {"Retry-After": str(retry_after_s)})
            )
        finally:
            self._forget(self)
            self.transport.close()

    async def _serve(self) -> None:
        parser, state, read = self.parser, self._state, self._reader.read
        handler, task, clean = state.handler, self.task, copy_context()
        assert task is not None
        context: Context | None = None
        if clean:
            state.isolates = True
        while data := await read(READ_BYTES):
            if self._is_full:
                await self.drain()
            request = parser.next_request(data)
            del data
            if request is None:
                if self.phase is not _HEAD and not parser.is_empty:
                    self._expect_head()
                continue
            while True:
                self._request = request
                if parser.decoder is not None:
                    request.source = Body(self, request.section)
                begun = state.clock() if state.access_log is not None else 0.0
                try:
                    if state.isolates:
                        context = clean.copy()
                        response = await Driven(context, handler(request))
                    else:
                        response = await handler(request)
                except ProtocolError:
                    raise
                except ClientDisconnected:  # there is no answer; earlier ones may be under way
                    return await self.close(has_more=False)
                except BaseException as error:
                    if self._ends_task(error):
                        raise
                    response = self._failure(request, error)
                if task.cancelling():
                    self._forget_cancellation()
                rest = self._put(request, response, context, begun)
                if rest is not None:
                    if not await rest:
                        return
                elif self._afterwards:
                    self._start_afterwards()
                if copy_context():
                    state.isolates = True
                if parser.is_empty:
                    break
                if (request := parser.next_request()) is None:
                    break
            del request, response, rest  # nothing is kept while the connection idles
            context = None
            self.phase = _IDLE
            self.deadline = state.idle_deadline
            if not parser.is_empty:
                self._expect_head()
        self.flush()
        await self.close(has_more=False)

    def _keep_for_later(self, request: object, start: Callable[[], None]) -> None:
        if request is self._request:
            self._afterwards += (start,)
        else:  # it is answered already
            start()

    def _start_afterwards(self) -> None:
        """Start what was asked for by `request.after_response`.

        A task's first step comes behind the flush of this turn, which was called for before.
        """
        starts, self._afterwards = self._afterwards, ()
        for start in starts:
            start()

    def _expect_head(self) -> None:
        # A connection's first deadline is that of its first head, unless a stop has shortened it.
        if self.phase is not Phase.START or self._state.is_stopping:
            self.deadline = self._state.clock() + self.config.head_timeout_s
        self.phase = _HEAD

    def _put(
        self, request: Request, response: Response, context: Context | None, begun: float
    ) -> Rest | None:
        """Put an answer where the end of this turn writes it; return what is left to await."""
        state, parser, persistence = self._state, self.parser, request.section.persistence
        decoder = parser.decoder
        if decoder is not None and not decoder.is_complete and not self._can_go_on(request):
            persistence = CLOSE
        if state.is_stopping and parser.is_empty:  # else the last of the pipelined says so
            persistence = CLOSE
        try:
            answer = response.encode(request, state.heads, persistence)
        except BaseException as error:  # it is none that HTTP can carry
            response, answer = self._failure(request, error), None
        if answer is None:
            return self._send(request, response, context, persistence, begun)
        if state.access_log is not None:
            state.access_log(request, response.status, len(answer), state.clock() - begun)
        is_turn_over = False
        if self.unflushed:
            self.unflushed += answer
            self._joined += 1
            is_turn_over = self._joined >= _JOINED_ANSWERS or len(self.unflushed) >= _JOINED_BYTES
        else:
            self.unflushed = answer
            self._joined = 1
            unflushed = state.unflushed
            if not unflushed:
                state.flush_soon()
            unflushed.append(self)
        self._request = None
        if parser.decoder is not None:
            self._end_body(request)
        if self._watch is not None:
            self._end_watch()
        if persistence is CLOSE:
            return self._finish()
        if is_turn_over or parser.decoder is not None:
            return self._go_on(is_turn_over)
        return None

    def _end_exchange(self) -> None:
        """Cut the request under way off from the connection: its answer is out, or there is none.

        Answers that `_put` encodes do the same inline.
        """
        request, self._request = self._request, None
        if request is not None and self.parser.decoder is not None:
            self._end_body(request)
        if self._watch is not None:
            self._end_watch()
        self.written = 0

    async def _go_on(self, is_turn_over: bool) -> bool:
        """Do what stands between an answer and the next request."""
        self.deadline = NEVER  # that of the request's head or body is over
        self._start_afterwards()
        if is_turn_over:
            await self._take_turns()
        if self.parser.decoder is not None:
            await self._skim_body()
        return True

    def _can_go_on(self, request: Request) -> bool:
        """Whether the rest of the body, which nobody has read, lets the connection go on."""
        decoder = self.parser.decoder
        if decoder is None or decoder.is_complete:
            return True
        assert isinstance(request.source, Body)
        return request.source.can_skim(_SKIM_BYTES)

    def _discard_body(self, request: Request) -> None:
        """Discard a body that nobody will read, while its answer is sent."""
        if not self._can_go_on(request):
            self._end_body(request)
            self.discard()

    def _end_body(self, request: Request) -> None:
        """End the body of an answered request: what is left of it is the connection's to read."""
        decoder = self.parser.decoder
        if decoder is not None and decoder.is_complete:
            self.parser.decoder = None
        if isinstance(request.source, Body):
            request.source.end()

    async def _skim_body(self) -> None:
        """Read and forget the rest of a body. Raises: ClientDisconnected."""
        ends_at = self.clock() + self.config.body_timeout_s
        while (content := self.parser.next_content()) != b"":
            if content is None:
                try:
                    data = await self.read_within(ends_at - self.clock())
                except BodyTimeout:  # the answer is out: a second one would be another request's
                    data = b""
                if not data:
                    raise ClientDisconnected("the peer left inside a body that nobody read")
                self.parser.feed(data)
        self.parser.decoder = None

    # --- writing

    async def _take_turns(self) -> None:
        """Let others run: one client that pipelines stalled the loop for 390 ms."""
        self.flush()
        if self._is_full:
            await self.drain()
        await asyncio.sleep(0)

    async def _send(
        self,
        request: Request,
        response: Response,
        context: Context | None,
        persistence: bytes,
        begun: float,
    ) -> bool:
        """Await an answer that writes itself; return whether the connection goes on."""
        state = self._state
        self.flush()
        self.written, self._taken = 0, -1
        self._is_streaming = (
            isinstance(response, StreamResponse) and "content-length" not in response.headers
        )
        persistence = response.persistence(request, persistence)
        if persistence is CLOSE and not response.may_read_body:
            self._discard_body(request)
        sending = response.send_to(self, request, state.heads, persistence)
        try:
            await (sending if context is None else Driven(context, sending))
        except ClientDisconnected:
            raise
        except BaseException as error:
            if self._ends_task(error):
                raise
            if isinstance(error, ProtocolError) and not self.written:
                raise
            is_cut = self.written > 0
            response, persistence = self._failure(request, error, is_cut=is_cut), CLOSE
            if is_cut:
                # A cut answer must never be taken for a whole one.
                raise ClientDisconnected("the answer was cut") from error
            await response.send_to(self, request, state.heads, CLOSE)
        finally:
            self._is_streaming = False
        self._forget_cancellation()
        if state.access_log is not None:
            state.access_log(request, response.status, self.written, state.clock() - begun)
        self._unbroken += max(self.written, _JOINED_BYTES // _JOINED_ANSWERS)
        if persistence is not CLOSE and not self._can_go_on(request):  # reading has failed
            persistence = CLOSE
        self._end_exchange()
        if persistence is CLOSE:
            return await self._finish()
        is_turn_over = self._unbroken >= _JOINED_BYTES
        if is_turn_over:
            self._unbroken = 0
        return await self._go_on(is_turn_over)

    def _failure(self, request: Request, error: BaseException, *, is_cut: bool = False) -> Response:
        """Return the last answer, to what the app itself could not answer any more; and log it.

        `is_cut`: a part of an answer is out, so the log alone can say what went wrong.
        """
        request.error = None if isinstance(error, asyncio.CancelledError) else error
        status, is_fault = 500, True
        if isinstance(error, (HTTPError, ProtocolError)):
            # An answer to the peer's fault is none of the app's, but here it can't be sent.
            status, is_fault = error.status, is_cut and isinstance(error, HTTPError)
        if is_fault:
            fields = {"request_id": request_id_of(request)}
            add_remedy(error)
            _error_log.error("%s failed", name_in_log(request), exc_info=error, extra=fields)
        return Response(f"{phrase_of(status)}\n", status, {"Connection": "close"})

    # --- endings

    async def _finish(self) -> bool:
        """Close behind an answer that said so."""
        self.flush()
        self._start_afterwards()
        # At a stop the peer may have sent its next request before it reads that it should not.
        is_surprising = self._state.is_stopping
        await self.close(
            has_more=is_surprising or self.parser.decoder is not None or not self.parser.is_empty
        )
        return False

    async def _refuse(self, error: ProtocolError) -> None:
        """Answer what was no request, and close."""
        client = self.address.host if self.address else "a peer"
        _protocol_log.info(
            "%d for %s: %s", error.status, client, error, extra={"reason": error.reason}
        )
        request, parser = self._request, self.parser
        is_head = parser.is_at_head if request is None else request.line.method == "HEAD"
        self._end_exchange()
        await self._conclude(await self._state.refuse(error), _HEAD_LINE if is_head else _NO_LINE)

    async def _conclude(self, response: Response, line: RequestLine = _NO_LINE) -> None:
        """Send a last answer that no request asked for, and close behind it."""
        request, heads = make_request(line, _NO_SECTION, self), self._state.heads
        self.flush()
        try:
            answer = response.encode(request, heads, CLOSE)
            if answer is None:
                await response.send_to(self, request, heads, CLOSE)
            else:
                self.write(answer)
            await self.close(has_more=True)
        except (ClientDisconnected, OSError):
            self.transport.abort()

    def stop(self) -> None:
        """Say to a long-lived answer that the server stops; leave an idle connection less time.

        Whatever comes next on it is answered. The answer says that the connection closes.
        """
        if self._lasting is not None:
            self._lasting.stop()
        self.check_stop(self._state.clock())

    def idle_since(self) -> float | None:
        """Return when the connection began to wait for a request, None if it does not.

        None as well while the server stops: the sweep closes idle ones then, and times are unknown.
        """
        if self._state.is_stopping:
            return None
        if self._request is not None or self.deadline == NEVER or self.transport.is_closing():
            return None
        if self.unflushed or self.transport.get_write_buffer_size():
            return None
        if self.phase is Phase.START:
            return self.deadline - self.config.head_timeout_s
        return self.deadline - self.config.idle_timeout_s if self.phase is Phase.IDLE else None

    def end_if_silent(self) -> bool:
        """Close an idle connection unless bytes wait on it; return whether it closes."""
        if self.has_input():
            return False
        self._end_input()
        return True

    def name_of_request(self) -> str | None:
        """Return the request under way and its route for the log, None if there is none."""
        request = self._request
        if request is None:
            return None
        match = request.match
        route = match.route if match is not None else None
        path = f"{match.prefix}{route.path}" if match is not None and route is not None else "none"
        return f"{name_in_log(request)} (route {path})"

    # --- the sweep, once a second

    def check(self, now: float) -> None:
        """Look at the peer and at the deadline."""
        if self._lasting is not None:
            self._lasting.look(now)
        if self._request is not None and self.phase in _BEFORE_A_REQUEST:
            self._check_peer()
            self._check_upload(self._request, now)
            self.deadline = NEVER  # the handler has as long as it needs
        elif self.phase is Phase.IDLE and self.deadline < self._state.idle_deadline:
            self.parser.forget_head()
        self.check_deadlines(now)

    def _check_upload(self, request: Request, now: float) -> None:
        """Discard a body that a streamed answer has not begun to read, if the peer takes nothing.

        It may send all of the body before it reads the answer.
        """
        outflow, source = self._outflow, request.source
        if outflow is None or not self.is_draining or not isinstance(source, Body):
            return
        if not source.is_begun and self._discard is None and outflow.is_silent(now, SILENCE_S):
            self._discard_body(request)

    def check_stop(self, now: float) -> None:
        """Look at the deadline, often, while the server stops."""
        is_idle = self._request is None and self.phase in (Phase.START, Phase.IDLE)
        if is_idle or self.phase is Phase.LINGER:
            self.deadline = min(self.deadline, self._state.idle_deadline)
        self.check_deadlines(now)

    def _expire(self) -> None:
        if self._request is None or self.phase not in _BEFORE_A_REQUEST:
            super()._expire()
