"""Describe an exception as plain data: frames, source, locals, causes and groups.

The numbers of exceptions, frames, lines and locals are limited. All texts have passed a `Mask`.
"""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from ..remedies import remedy_for
from .masking import Mask, cut

_LINES_AROUND = 5
_LINE_CHARACTERS = 300
_FIRST_FRAMES, _LAST_FRAMES = 10, 30  # the beginning and the end of a recursion
_MAX_LOCALS = 40
_MAX_EXCEPTIONS = 20
_MAX_MESSAGE = 4000

_LIBRARIES = tuple(
    os.path.join(os.path.realpath(path), "")
    for path in {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        str(Path(__file__).parent.parent),
    }
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of source. In the current line, `marked` is the part that ran."""

    number: int
    before: str
    marked: str = ""
    after: str = ""
    is_current: bool = False

    @property
    def text(self) -> str:
        """The whole line."""
        return self.before + self.marked + self.after


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One call on the way to the place where the exception was raised."""

    path: str
    number: int
    function: str
    is_users: bool  # code of the application, not of microweb or an installed package
    lines: tuple[Line, ...]
    locals: tuple[tuple[str, str], ...]  # only of the user's frames and of the last one


@dataclass(frozen=True, slots=True)
class Fault:
    """One exception: its frames with the last call first, its cause, the members of a group."""

    relation: str  # to the exception above it on the page, such as "caused by"
    kind: str
    message: str
    frames: tuple[Frame, ...]
    left_out: int  # the number of frames left out in the middle
    below: tuple[Fault, ...]


def describe_exception(error: BaseException, mask: Mask) -> Fault:
    """Return `error` with its causes. `mask` first learns the secrets in all their frames."""
    found = list(_all_of(error))
    for each in found:
        for frame, _ in traceback.walk_tb(each.__traceback__):
            for name, value in frame.f_locals.items():
                mask.learn(name, value)
    return _Describer(found, mask).describe(error, "")


def _all_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, its causes and its members, each once, up to `_MAX_EXCEPTIONS`."""
    todo, seen = [error], set[int]()
    while todo and len(seen) < _MAX_EXCEPTIONS:
        each = todo.pop(0)
        if id(each) not in seen:
            seen.add(id(each))
            yield each
            todo += [other for _, other in _behind(each)]


def _behind(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    """Yield the members, and the cause or context, of an exception, each with its relation."""
    if isinstance(error, BaseExceptionGroup):
        yield from (("one of the group", member) for member in error.exceptions)
    if error.__cause__ is not None:
        yield "caused by", error.__cause__
    elif error.__context__ is not None and not error.__suppress_context__:
        yield "raised while this was handled", error.__context__


class _Describer:
    def __init__(self, found: list[BaseException], mask: Mask) -> None:
        self._left = {id(each) for each in found}  # not described yet: each is described once
        self._mask = mask

    def describe(self, error: BaseException, relation: str) -> Fault:
        self._left.discard(id(error))
        kind, message = self._kind_and_message(error)
        frames = self._frames(error)
        count = len(frames)
        if count > _FIRST_FRAMES + _LAST_FRAMES:
            frames = frames[:_FIRST_FRAMES] + frames[-_LAST_FRAMES:]
        described = tuple(
            self._describe_frame(frame, summary, is_last=frame is frames[-1][0])
            for frame, summary in reversed(frames)
        )
        below = tuple(
            self.describe(other, how) for how, other in _behind(error) if id(other) in self._left
        )
        return Fault(relation, kind, message, described, count - len(frames), below)

    def _kind_and_message(self, error: BaseException) -> tuple[str, str]:
        """Return the texts that Python prints, with notes; a `__str__` that raises does no harm."""
        parts = traceback.TracebackException(type(error), error, None, compact=True)
        text = "".join(parts.format_exception_only()).strip()
        kind = type(error).__qualname__
        if type(error).__module__ not in ("builtins", "__main__"):
            kind = f"{type(error).__module__}.{kind}"
        message = text.removeprefix(kind).removeprefix(":").strip()
        shown = cut(self._mask.hide(message[: 16 * _MAX_MESSAGE]), _MAX_MESSAGE)
        remedy = remedy_for(error)
        if remedy is not None and remedy not in message:
            shown = f"{shown}\n{self._mask.hide(remedy)}"
        return kind, shown

    def _frames(self, error: BaseException) -> list[tuple[FrameType, traceback.FrameSummary]]:
        parts = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        return list(zip(frames, parts.stack, strict=True))

    def _describe_frame(
        self, frame: FrameType, summary: traceback.FrameSummary, *, is_last: bool
    ) -> Frame:
        is_users = is_users_code(summary.filename)
        return Frame(
            path=_short_path(summary.filename),
            number=summary.lineno or 0,
            function=summary.name,
            is_users=is_users,
            lines=tuple(self._lines(frame, summary)),
            locals=tuple(self._locals(frame)) if is_users or is_last else (),
        )

    def _lines(self, frame: FrameType, summary: traceback.FrameSummary) -> Iterator[Line]:
        current = summary.lineno or 0
        source = linecache.getlines(summary.filename, frame.f_globals)
        for number in range(max(current - _LINES_AROUND, 1), current + _LINES_AROUND + 1):
            if number <= len(source):
                text = source[number - 1].rstrip()
                yield self._line(number, text, summary if number == current else None)

    def _line(self, number: int, text: str, summary: traceback.FrameSummary | None) -> Line:
        hide = self._mask.hide_values
        if len(text) > _LINE_CHARACTERS or summary is None:
            return Line(number, hide(cut(text, _LINE_CHARACTERS)), is_current=summary is not None)
        start, end = _columns(text, summary)
        return Line(number, hide(text[:start]), hide(text[start:end]), hide(text[end:]), True)

    def _locals(self, frame: FrameType) -> Iterator[tuple[str, str]]:
        names = [name for name in frame.f_locals if not name.startswith("__")]
        if not _is_python(frame.f_code.co_filename):  # a template: leave out its functions
            names = [name for name in names if not callable(frame.f_locals[name])]
        for name in names[:_MAX_LOCALS]:
            yield name, self._mask.show(name, frame.f_locals[name])
        if len(names) > _MAX_LOCALS:
            yield "…", f"{len(names) - _MAX_LOCALS} more"


def _columns(text: str, summary: traceback.FrameSummary) -> tuple[int, int]:
    """Return start and end of the part of a line that ran; Python counts the bytes of UTF-8."""
    has_columns = summary.colno is not None and summary.end_colno is not None
    if not has_columns or not _is_python(summary.filename):  # of a template's generated code
        return len(text), len(text)
    data = text.encode("utf-8", "replace")
    ends_here = summary.end_lineno == summary.lineno
    start = len(data[: summary.colno].decode("utf-8", "replace"))
    return start, len(data[: summary.end_colno].decode("utf-8", "replace")) if ends_here else len(
        text
    )


def _is_python(filename: str) -> bool:
    return filename.endswith((".py", ">"))  # "<string>"


def is_users_code(filename: str) -> bool:
    """Return whether a file is code of the application, not of a library or of microweb."""
    if filename.startswith("<"):  # code from a string, or a frozen module of the interpreter
        return False
    path = os.path.realpath(filename)
    return not path.startswith(_LIBRARIES) and "site-packages" not in Path(path).parts


def line_of(error: BaseException) -> str:
    """Return the text of an error behind the application's line that raised it, if there is one.

    `app.py:29 in create_app: set SECRET_KEY`
    """
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        if is_users_code(code.co_filename):
            function = "" if code.co_name == "<module>" else f" in {code.co_qualname}"
            place = f"{_short_path(code.co_filename)}:{line}{function}: "
    return f"{place}{error}"


def _short_path(filename: str) -> str:
    path = Path(filename)
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    for folder in sorted(filter(None, sys.path), key=len, reverse=True):
        if path.is_relative_to(folder) and not is_users_code(filename):
            return str(path.relative_to(folder))
    return filename


# --- as text --------------------------------------------------------------------------


def format_fault(fault: Fault) -> Iterator[str]:
    """Yield the lines that Python prints, the last call last; causes and members follow."""
    if fault.relation:
        yield f"-- {fault.relation}:"
    if fault.frames:
        yield "Traceback (most recent call last):"
    for position, frame in enumerate(reversed(fault.frames)):
        if fault.left_out and position == _FIRST_FRAMES:
            yield f"  ... {fault.left_out} frames ..."
        yield f'  File "{frame.path}", line {frame.number}, in {frame.function}'
        yield from (f"    {line.text.strip()}" for line in frame.lines if line.is_current)
    yield from f"{fault.kind}: {fault.message}".removesuffix(": ").splitlines()
    for each in fault.below:
        yield from format_fault(each)
