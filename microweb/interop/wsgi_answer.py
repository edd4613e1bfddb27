"""The answer of a WSGI application: made in a thread, sent by the event loop.

The thread hands pieces over in a deque and wakes the event loop only if that waits for one. Only
the thread counts the bytes that it made, and only the event loop those that it took, so no lock is
needed. The thread waits while more than 1 MiB is in between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import CancelledError
from types import TracebackType
from typing import Protocol

from ..bodies.stream import StreamBody
from ..concurrency.threads import from_thread
from ..errors import ClientDisconnected, LocalProtocolError
from ..http.mediatypes import OCTETS
from ..http.ranges import Span
from ..http.request_log import log_fields, name_in_log
from ..logs import Log
from ..request import Request
from ..response import Response
from .span_body import SpanBody
from .wsgi_environ import Environ
from .wsgi_file import FileWrapper
from .wsgi_head import length_of, make_head

AHEAD_BYTES = 1024 * 1024  # of an answer, made before its client has taken them
AHEAD_PIECES = 4096  # so that a body of single bytes does not block the event loop when joined

_log = Log("microweb.error")

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
Write = Callable[[bytes], None]


class StartResponse(Protocol):
    """The function by which an application sets the status and the fields of its answer."""

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Write: ...


WSGIApplication = Callable[[Environ, StartResponse], Iterable[bytes]]


class AnswerDropped(OSError):
    """The answer is no longer needed: its client has left, or it has no content."""


class Answer(AsyncIterator[bytes]):
    """The answer to one request. `run` is for a thread; the other public methods are for the loop.

    It iterates over the pieces of the body. `aclose` stops the application at its next piece.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, request: Request) -> None:
        self._loop = loop
        self._name = name_in_log(request)
        self._log_fields = log_fields(request)
        self._is_head = request.line.method == "HEAD"
        self._head: Response | None = None  # set by `start_response`
        self._pieces: deque[bytes] = deque()
        self._made = 0  # bytes, changed only by the thread
        self._length: int | None = None  # as the head declares it
        self._taken = 0  # bytes, changed only by the event loop
        self._is_listed = False  # all pieces exist already, so the first ones may wait
        self._is_complete = False  # no further piece will be made
        self._is_dropped = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None  # of the event loop, for a piece
        self._room = asyncio.Event()  # the event loop has taken pieces

    # --- in the thread

    def run(self, app: WSGIApplication, environ: Environ) -> None:
        """Call the application, take all of its answer, and close it. Raises nothing."""
        try:
            iterable = app(environ, self._start_response)
            try:
                self._take_all(iterable)
            finally:
                if (close := getattr(iterable, "close", None)) is not None:
                    close()
        except BaseException as error:
            self._fail(error)

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Write:
        try:
            if exc_info is not None and self._made:
                raise exc_info[1].with_traceback(exc_info[2])
            if exc_info is None and self._head is not None:
                raise LocalProtocolError(
                    "start_response: expected one call, got a second one: pass exc_info to replace "
                    "the answer by that to an error"
                )
        finally:
            exc_info = None  # it refers to this frame
        self._head = make_head(status, headers)
        return self._put

    def _take_all(self, iterable: Iterable[bytes]) -> None:
        if not (isinstance(iterable, FileWrapper) and self._take_file(iterable)):
            self._is_listed = isinstance(iterable, (list, tuple))
            for piece in iterable:
                self._put(piece)
        self._started()
        self._is_complete = True
        if hasattr(iterable, "close"):  # which may take time; else the end of the job wakes
            self._wake()

    def _take_file(self, wrapper: FileWrapper) -> bool:
        """Take a file for the kernel to send; return whether that is possible."""
        if self._made or (found := wrapper.opened()) is None:
            return False
        file, offset = found
        head = self._started()
        length = max(file.size - offset, 0)
        if (declared := length_of(head)) is not None:
            length = min(length, declared)
        head.headers["Content-Length"] = str(length)
        head.source = SpanBody(file, Span(offset, length))
        return True

    def _started(self) -> Response:
        if self._head is None:
            raise LocalProtocolError("expected a call of start_response before the body, got none")
        return self._head

    def _put(self, piece: bytes) -> None:
        """Hand a piece on; wait while too much of the answer is not taken. Raises: OSError."""
        head = self._started()
        if not isinstance(piece, bytes):
            kind = type(piece).__name__
            raise TypeError(f"expected bytes as a piece of a WSGI answer, got {kind}")
        if self._is_dropped:
            raise AnswerDropped("the answer is no longer needed: its client may have left")
        if not piece:
            return
        if not self._made:
            self._length = length_of(head)
        self._made += len(piece)
        if self._length is not None and self._made >= self._length:
            if self._made > self._length:
                raise LocalProtocolError(
                    f"expected {self._length} bytes, as the answer's Content-Length says, got more"
                )
            self._is_complete = True  # so the answer need not wait for the end of the iteration
        self._pieces.append(piece)
        is_full = self._is_full()
        if is_full or not self._is_listed:
            self._wake()
        if is_full:
            try:
                from_thread(self._wait_for_room())
            except CancelledError as error:  # the event loop has ended
                raise AnswerDropped("the server has stopped") from error

    def _is_full(self) -> bool:
        """Whether too much of the answer is not taken."""
        return self._made - self._taken > AHEAD_BYTES or len(self._pieces) >= AHEAD_PIECES

    def _wake(self) -> None:
        """Wake the event loop if it waits."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            try:
                self._loop.call_soon_threadsafe(_set, waiter)
            except RuntimeError:  # the event loop is closed
                self._is_dropped = True

    def _fail(self, error: BaseException) -> None:
        """Keep an error for the answer, or log it if the answer is complete or dropped."""
        if self._is_dropped and isinstance(error, OSError):  # of `write` or `wsgi.input`
            return
        if self._is_complete or self._is_dropped:
            text, fields = "%s failed after its answer was over", self._log_fields
            _log.error(text, self._name, exc_info=error, extra=fields)
        else:
            self._error = error
            self._is_complete = True

    # --- on the event loop

    async def begin(self) -> Response:
        """Return the answer at its first piece, or at its end. Raises: the application's error."""
        await self._wait()
        self._raise_error()
        head = self._started()
        if head.source is not None:  # a file
            return head
        if self._is_complete and not self._has_unknown_length(head):
            head.body = b"".join(self._pieces)
            if head.body and "content-type" not in head.headers.lines:
                head.headers["Content-Type"] = OCTETS  # as each answer has
        else:
            head.source = StreamBody(self)
        return head

    def _has_unknown_length(self, head: Response) -> bool:
        """Whether this answers HEAD without the length that the answer to GET would have."""
        return self._is_head and not self._made and "content-length" not in head.headers.lines

    async def __anext__(self) -> bytes:
        await self._wait()
        if not self._pieces:
            self._raise_error()
            raise StopAsyncIteration
        joined = b"".join([self._pieces.popleft() for _ in range(len(self._pieces))])
        self._taken += len(joined)
        self._room.set()
        return joined

    async def aclose(self) -> None:
        """Stop the application at its next piece. Its iterable is then closed in its thread."""
        self._is_dropped = True
        self._room.set()

    def end(self, job: asyncio.Future[None]) -> None:
        """Note the end of the thread's work."""
        if not self._is_complete:
            self._error = ClientDisconnected("the server stopped before it called the application")
            self._is_complete = True
        if self._waiter is not None:
            _set(self._waiter)

    async def _wait(self) -> None:
        """Wait until there is a piece, or no further one will be made."""
        while not self._pieces and not self._is_complete:
            self._waiter = waiter = self._loop.create_future()
            if not self._pieces and not self._is_complete:  # the thread sets them, then wakes
                await waiter
            self._waiter = None

    async def _wait_for_room(self) -> None:
        while self._is_full() and not self._is_dropped:
            self._room.clear()
            await self._room.wait()

    def _raise_error(self) -> None:
        error, self._error = self._error, None  # it refers to frames that refer to this object
        if error is not None:
            raise error


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
