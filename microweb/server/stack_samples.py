"""A sample of the event loop's stack: the line of code that runs, and the request that it serves.

A sample is taken from the frames of Python, or read from the text that `faulthandler` writes.
"""

from __future__ import annotations

import asyncio
import os
import re
import selectors
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from types import FrameType
from typing import NamedTuple

from ..concurrency.callables import innermost
from ..http.interfaces import RouteInfo
from ..request import Request

_MICROWEB = f"{Path(__file__).parent.parent}{os.sep}"
_STANDARD, *_INSTALLED = (
    f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "purelib", "platlib")
)

_THREAD = re.compile(r"(?:Current thread|Thread) 0x([0-9a-f]+) ")
_FRAME = re.compile(r'  File "(.*)", line (\d+) in (.*)')

# The innermost files of an event loop that waits for input: of asyncio, and of uvloop.
_WAITING = frozenset(
    (
        selectors.__file__,
        asyncio.base_events.__file__,
        asyncio.runners.__file__,
        f"{_MICROWEB}server{os.sep}process.py",
    )
)
# The innermost files of a debugger that waits for its user lie below these.
_DEBUGGERS = frozenset(("pdb.py", "bdb.py", "debugpy", "pydevd", "pydevd.py"))


class Line(NamedTuple):
    """A line of code that a stack is at."""

    file: str
    number: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.number} in {self.function}"


Stack = Sequence[Line]  # the innermost first


def stack_of(frame: FrameType | None) -> list[Line]:
    """Return the stack of a frame."""
    return [
        Line(each.f_code.co_filename, each.f_lineno, each.f_code.co_name)
        for each in _outward(frame)
    ]


def parse_stack(text: str, thread: int) -> list[Line]:
    """Return the stack of a thread from the text of `faulthandler`, empty if it is not there."""
    stack, is_wanted = list[Line](), False
    for line in text.splitlines():
        if match := _THREAD.match(line):
            is_wanted = int(match[1], 16) == thread
        elif is_wanted and (match := _FRAME.fullmatch(line)):
            stack.append(Line(match[1], int(match[2]), match[3]))
    return stack


def is_waiting(stack: Stack) -> bool:
    """Return whether a stack is that of an event loop without work, or of a debugger."""
    if not stack or stack[0].file in _WAITING:
        return True
    return any(not _DEBUGGERS.isdisjoint(PurePath(line.file).parts) for line in stack)


def culprit_of(stack: Stack) -> Line:
    """Return the innermost line of the application, or else of a package, or else of all."""
    for foreign in ((_MICROWEB, _STANDARD, *_INSTALLED), (_MICROWEB, _STANDARD)):
        for line in stack:
            if not line.file.startswith(("<", *foreign)):
                return line
    return stack[0]


def request_of(frame: FrameType | None, stack: Stack) -> Request | None:
    """Return the request that microweb's code below `frame` serves, if `stack` is still there.

    The frames are looked at later than `stack` was. So they must still have its outer part, up to
    the line that it names.
    """
    frames = list(_outward(frame))
    outer = stack[stack.index(culprit_of(stack)) :]
    found = [(each.f_code.co_filename, each.f_code.co_name) for each in frames]
    if found[-len(outer) :] != [(line.file, line.function) for line in outer]:
        return None
    for each in frames:
        if each.f_globals.get("__name__", "").startswith("microweb."):
            request = each.f_locals.get("request")
            if isinstance(request, Request):
                return request
    return None


def route_of(stack: Stack, routes: Iterable[tuple[str, RouteInfo]]) -> str:
    """Return the route whose endpoint is in a stack, empty if none is: `GET /users/{id}`."""
    lines = {(line.file, line.function) for line in stack}
    for prefix, route in routes:
        code = getattr(innermost(route.endpoint), "__code__", None)
        if code is not None and (code.co_filename, code.co_name) in lines:
            return f"{'|'.join(route.methods)} {prefix}{route.path}"
    return ""


def _outward(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
