"""Name the code that holds the event loop, while it does so: the option `stall_ms`.

The event loop notes the time a few times in each `stall_ms`. A thread looks at this note. If it is
too old, the thread takes a sample of the event loop's stack. It can't do so while C code holds the
GIL, as a regex does. So `faulthandler`, whose thread needs no GIL, would write the stacks a little
later. Requests cost nothing: the request is found in the frames of the sample.

Nothing is reported if the event loop waits, if a debugger waits for its user, or if the whole
process stood still (SIGSTOP): then this thread woke up late as well, and so did `faulthandler`.
The clock does not run while the machine is suspended.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Protocol, runtime_checkable

from ..http.interfaces import RouteInfo
from ..logs import Log
from . import dump_timer
from .stack_samples import (
    Stack,
    culprit_of,
    is_waiting,
    parse_stack,
    request_of,
    route_of,
    stack_of,
)
from .unfinished import name_and_route

_NOTES = 4  # of the time in each `stall_ms`
_SETTLED_S = 1.0  # a stall that lasts longer is reported before its end
_GAP_S = 1.0  # between two reports
_MARGIN_S = 0.05  # in which this thread gets the GIL from code of Python

_log = Log("microweb.server")


@runtime_checkable
class HasRoutes(Protocol):
    """An application that knows its routes."""

    def all_routes(self) -> Sequence[tuple[str, RouteInfo]]: ...


@contextmanager
def stalls_named(
    loop: asyncio.AbstractEventLoop, stall_ms: float, app: object = None
) -> Iterator[None]:
    """Log code that holds this thread's event loop for over `stall_ms`."""
    watch = _Watch(loop, stall_ms / 1000, app)
    try:
        yield
    finally:
        watch.close()


class _Watch:
    def __init__(self, loop: asyncio.AbstractEventLoop, stall_s: float, app: object) -> None:
        self._loop = loop
        self._app = app
        self._stall_s = stall_s
        self._pause_s = stall_s / _NOTES
        self._loops_thread = threading.get_ident()
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - until `close`
        self._dump_at = 0.0  # when `faulthandler` is to write
        self._due_at = 0.0  # of the next report
        self._unreported = 0
        self._is_over = threading.Event()
        self._turned_at = time.monotonic()
        self._held_s = 0.0  # the longest time between two turns, since `_look` began
        self._timer = loop.call_later(self._pause_s, self._turn)
        self._thread = threading.Thread(target=self._run, name="microweb-stalls", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._timer.cancel()
        self._is_over.set()
        self._thread.join()
        self._file.close()

    def _turn(self) -> None:
        """Note the time, on the event loop."""
        now = time.monotonic()
        self._held_s = max(self._held_s, now - self._turned_at - self._pause_s)
        self._turned_at = now
        self._timer = self._loop.call_later(self._pause_s, self._turn)

    # --- the thread

    def _run(self) -> None:
        try:
            while not self._is_over.is_set():
                self._look()
        finally:
            dump_timer.cancel()  # before `close` closes the file

    def _look(self) -> None:
        """Wait until the note of now would be too old, and sample the stack if it still is."""
        self._held_s, now = 0.0, time.monotonic()
        wakes_at = max(self._turned_at + self._stall_s, now + self._pause_s)
        self._dump_at = wakes_at + self._stall_s / 2 + _MARGIN_S
        with suppress(RuntimeError):  # no thread: frames are sampled all the same
            dump_timer.write_later(self._dump_at - now, self._file.fileno())
        self._is_over.wait(wakes_at - now)
        frame, now = sys._current_frames().get(self._loops_thread), time.monotonic()
        turned_at, stack = self._turned_at, self._written()
        is_held, is_late = now - turned_at >= self._stall_s, now - wakes_at >= self._stall_s
        if not stack and is_held and not is_late:
            stack = stack_of(frame)
        if stack and not is_waiting(stack):
            name = self._name_of(frame, stack)
            del frame  # it would keep what the request holds
            self._report(turned_at, stack, name)

    def _name_of(self, frame: FrameType | None, stack: Stack) -> str:
        """Return the request and its route; only the route if the request is already answered."""
        request = request_of(frame, stack)
        if request is not None:
            return name_and_route(request)
        routes = self._app.all_routes() if isinstance(self._app, HasRoutes) else ()
        return route_of(stack, routes) or "no request"

    def _written(self) -> Stack:
        """Return the stack that `faulthandler` wrote in time, and empty its file."""
        number = self._file.fileno()
        found = os.fstat(number)
        if not found.st_size:
            return []
        text = os.pread(number, found.st_size, 0).decode("utf-8", "replace")
        os.ftruncate(number, 0)
        os.lseek(number, 0, os.SEEK_SET)
        written_at = time.monotonic() - (time.time() - found.st_mtime)
        if written_at > self._dump_at + self._stall_s:  # the process did not run
            return []
        return parse_stack(text, self._loops_thread)

    def _report(self, turned_at: float, stack: Stack, name: str) -> None:
        """Log a stall at its end, or when it lasts for long. Return at its end."""
        dump_timer.cancel()
        # Also if C code held the GIL for longer than this: it may have ended by now. A stall that
        # lasts until the next report is due is always reported: it may never end.
        reports_at = max(turned_at + _SETTLED_S, time.monotonic() + self._pause_s, self._due_at)
        is_held = True
        while is_held and time.monotonic() < reports_at:
            if self._is_over.wait(self._pause_s):
                return
            is_held = self._turned_at == turned_at
        held_s = time.monotonic() - turned_at if is_held else self._held_s
        if held_s < self._stall_s:
            return
        if time.monotonic() < self._due_at:
            self._unreported += 1
        else:
            self._log_stall(held_s, "holds" if is_held else "held", stack, name)
        while self._turned_at == turned_at and not self._is_over.wait(self._pause_s):
            pass  # one report for each stall

    def _log_stall(self, held_s: float, verb: str, stack: Stack, name: str) -> None:
        culprit, inside = culprit_of(stack), stack[0]
        where = f"{culprit}" if culprit == inside else f"{culprit}, inside {inside}"
        more = f"; {self._unreported} more since the last one" if self._unreported else ""
        self._due_at, self._unreported = time.monotonic() + _GAP_S, 0
        _log.warning(
            "%s %s the event loop for %d ms: %s%s",
            name,
            verb,
            held_s * 1000,
            where,
            more,
            extra={
                "microweb.held_ms": round(held_s * 1000),
                "code.file.path": culprit.file,
                "code.line.number": culprit.number,
                "code.function.name": culprit.function,
            },
        )
