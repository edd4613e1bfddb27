"""Values that do not match their type: where they are, and a short text of each for the client.

A reader raises `Mismatch` for the innermost value. Each container adds its step, and the mismatches
of its other values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from json.encoder import encode_basestring
from urllib.parse import quote

from ..faults import MAX_FAULTS, Fault
from ..http.durations import format_duration
from .json import encode_json

Convert = Callable[[object], object]

SHOWN_CHARACTERS = 80
_SHOWN_POINTER = 200

# The characters that a fragment may contain as they are, except "~". RFC 3986 section 3.5
_IN_FRAGMENT = "!$&'()*+,;=:@?/"


class Mismatch(Exception):
    """A value does not match its type: `Mismatch(expected, value)`.

    `steps` are the keys and indexes to the value, innermost first. `others` are further mismatches
    in the value that is being read. Without an `__init__` it is raised in a third of the time.
    """

    steps: Sequence[str | int] = ()
    others: Sequence[Mismatch] = ()

    @property
    def expected(self) -> str:
        return str(self.args[0])

    def problem(self) -> str:
        expected, value = self.args
        return f"expected {expected}, got {show(value)}"

    def add_step(self, step: str | int) -> None:
        """Add the key or index of the value in its container."""
        self.steps = (*self.steps, step)
        for other in self.others:
            other.steps = (*other.steps, step)

    def read_rest(self, rest: Iterable[tuple[str | int, Convert, object]]) -> None:
        """Read the values after this one in the same container, and keep their mismatches.

        `rest` are the key or index, the reader and the value of each. Values after the last
        mismatch that an answer has room for are not read.
        """
        for step, convert_value, value in rest:
            try:
                convert_value(value)
            except Mismatch as other:
                # Its frames and its context refer to this mismatch, which refers to it: a cycle.
                other.__traceback__ = other.__context__ = None
                other.add_step(step)
                self.others = (*self.others, other, *other.others)
                other.others = ()
                if len(self.others) >= MAX_FAULTS:
                    return

    def faults(self) -> list[Fault]:
        """Return all mismatches as faults of a body."""
        return [Fault("body", each.pointer(), each.problem()) for each in (self, *self.others)]

    def pointer(self) -> str:
        """Return the place as a JSON pointer in a URL's fragment. RFC 6901 section 6"""
        pointer = "#"
        for step in reversed(self.steps):
            token = f"{step}"[:_SHOWN_POINTER]
            # Most keys are identifiers, and `quote` takes 1 us.
            if not (token.isascii() and (token.isidentifier() or type(step) is int)):
                token = _escape(token)
            pointer = f"{pointer}/{token}"
            if len(pointer) > _SHOWN_POINTER:
                broken = pointer.rfind("%", _SHOWN_POINTER - 2, _SHOWN_POINTER)  # an escape
                return pointer[: broken if broken > 0 else _SHOWN_POINTER]
        return pointer


class Refusal(Mismatch):
    """A mismatch with its own message: `Refusal(problem)`."""

    def problem(self) -> str:
        return str(self.args[0])


def _escape(key: str) -> str:
    """Return a key as a token of a pointer. RFC 6901 section 3"""
    token = key.replace("~", "~0").replace("/", "~1")
    return quote(token, safe=_IN_FRAGMENT, errors="backslashreplace")


def show(value: object) -> str:
    """Return a JSON value for a message: at most 80 characters, "an object" or "an array"."""
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if type(value) is int:
        return str(value)[:SHOWN_CHARACTERS]
    if value is None or isinstance(value, (bool, int, float)):
        return encode_json(value).decode()[:SHOWN_CHARACTERS]
    if isinstance(value, (date, time, Decimal)):
        return _quote(str(value))
    if isinstance(value, timedelta):
        return _quote(format_duration(value))
    return type(value).__qualname__


def _quote(text: str) -> str:
    quoted = encode_basestring(text[:SHOWN_CHARACTERS])
    return quoted if quoted.isascii() else quoted.encode(errors="backslashreplace").decode()
