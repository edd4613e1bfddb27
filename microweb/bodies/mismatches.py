"""Values that do not match their type: where they are, and a short text of each for the client.

A reader returns a `Mismatch` for the innermost value. Each container adds its step, and joins the
mismatches of its values. To read an order with two of them took twice as long with exceptions,
because each has a traceback of all readers around it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from json.encoder import encode_basestring
from urllib.parse import quote

from ..faults import MAX_FAULTS, Fault, body_fault
from ..http.durations import format_duration
from .json import encode_json

Convert = Callable[[object], object]

SHOWN_CHARACTERS = 80
_SHOWN_POINTER = 200

# The characters that a fragment may contain as they are, except "~". RFC 3986 section 3.5
_IN_FRAGMENT = "!$&'()*+,;=:@?/"


class Mismatch:
    """A value that does not match its type, returned in place of the converted value.

    `steps` are the tokens of keys and the indexes to the value, innermost first. `others` are
    further mismatches in the value that is being read. `cause` is the error of a class or of
    another library.
    """

    __slots__ = ("cause", "expected", "others", "steps", "value")

    def __init__(self, expected: str, value: object) -> None:
        self.expected = expected
        self.value = value
        self.steps: Sequence[str | int] = ()
        self.others: Sequence[Mismatch] = ()
        self.cause: Exception | None = None

    def problem(self) -> str:
        return f"expected {self.expected}, got {show(self.value)}"

    @property
    def is_full(self) -> bool:
        """Whether an answer has no room for more mismatches."""
        return len(self.others) >= MAX_FAULTS

    def faults(self) -> list[Fault]:
        """Return all mismatches as faults of a body."""
        return [body_fault(each.pointer(), each.problem()) for each in (self, *self.others)]

    def pointer(self) -> str:
        """Return the place as a JSON pointer in a URL's fragment. RFC 6901 section 6"""
        pointer = "/".join(["#", *map(str, reversed(self.steps))])
        if len(pointer) <= _SHOWN_POINTER:
            return pointer
        broken = pointer.rfind("%", _SHOWN_POINTER - 2, _SHOWN_POINTER)  # an escape
        return pointer[: broken if broken > 0 else _SHOWN_POINTER]


class Refusal(Mismatch):
    """A mismatch with its own message."""

    __slots__ = ()

    def __init__(self, problem: str) -> None:
        super().__init__(problem, None)

    def problem(self) -> str:
        return self.expected


def joined(found: Mismatch | None, mismatch: Mismatch, step: str | int) -> Mismatch:
    """Return the mismatches of a container: those `found` before, and that of its value at `step`.

    If the result is full, the values after this one need not be read.
    """
    mismatch.steps = (*mismatch.steps, step)
    for other in mismatch.others:
        other.steps = (*other.steps, step)
    if found is None:
        return mismatch
    found.others = (*found.others, mismatch, *mismatch.others)
    mismatch.others = ()
    return found


def token_of(key: str) -> str:
    """Return a key as a token of a pointer, cut. RFC 6901 section 3"""
    token = key[:_SHOWN_POINTER].replace("~", "~0").replace("/", "~1")
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
