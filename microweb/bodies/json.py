"""JSON bodies: bytes to values, and values to bytes. RFC 8259.

Reading is strict: what RFC 8259 doesn't define (`NaN`, `Infinity`), what Python can't hold
(`1e999`, an integer of 5,000 digits, nesting that exhausts the stack), and what UTF-8 can't (half a
surrogate pair), is a 400 that names the position, never a 500. An object becomes a `JSONObject`: a
dict whose missing keys are a 400 too.

The cost is bounded by the number of values, counted before any is made: an empty object takes 3
bytes of a body, and 50 times as much memory and time as 3 bytes of a string.

Writing goes through the C encoder of the standard library, built once for each `default`.
"""

from __future__ import annotations

import gc
import json.encoder
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from datetime import date, time
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from math import isinf
from typing import Any, Never
from uuid import UUID

from ..errors import BadRequest, ContentTooLarge, MissingValue
from .body import Head, RenderedBody, RequestInfo

_SHOWN_CHARACTERS = 80

# What space is in JSON, which is less than `str.isspace` thinks. RFC 8259 section 2
_WHITESPACE = " \t\r\n"

_MAX_COLLECTED = 16 * 1024  # characters of a text, while the garbage collector is on

# Up to here the position of a number that is refused is looked for, which is a second walk.
_MAX_LOCATED_BYTES = 64 * 1024

# Half a surrogate pair. `\\\\` stands for no escape: blank it out before.   RFC 8259 section 7
_LONE_SURROGATE = re.compile(
    r"\\u(?:[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|[dD][c-fC-F](?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F]))"
)
# All but the bytes that end a string or begin a value.
_NEITHER_QUOTE_NOR_VALUE = bytes(set(range(256)) - set(b'",:[{'))

# Skips the strings, and finds what the scanner reads but we refuse.
_REFUSABLE = re.compile(
    r'"(?:[^"\\]++|\\.)*"'
    r"|(?P<constant>NaN|-?Infinity)"
    r"|(?P<integer>-?[0-9]++)(?![.eE])"
    r"|(?P<float>-?[0-9][0-9.eE+-]*+)"
)


class JSONObject(dict[str, object]):
    """A JSON object: a dict, except that `[key]` of a missing key is a 400 that names it."""

    __slots__ = ()

    def __missing__(self, key: object) -> Never:
        shown = repr(key)[:_SHOWN_CHARACTERS]
        raise MissingValue(f"expected the key {shown} in the JSON object, got none")


class JSONArray(list[object]):
    """A JSON array: a list, except that `["key"]` is a 400 that names the key."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            shown = repr(index)[:_SHOWN_CHARACTERS]
            raise MissingValue(f"expected a JSON object with the key {shown}, got an array")
        return super().__getitem__(index)


# --- bytes to values ------------------------------------------------------------------


def parse_json(
    data: bytes, *, max_values: int | None = None, allow_surrogates: bool = False
) -> object:
    """Return the one JSON value in `data`, which is UTF-8.

    It is a JSONObject, list, str, int, float, bool or None. A byte order mark is ignored, and of a
    repeated key the last wins. `allow_surrogates` is for reading what `encode_json` wrote.

    Raises: BadRequest with line and column (or the byte, if it is not UTF-8), both from 1, but
    without them for a number that is refused in more than 64 KiB; ContentTooLarge for more than
    `max_values` elements and members, or half as many objects.
    """
    # Each value takes a byte at least. A call for a short text costs 0.05 us, as `_decode` does.
    if max_values is not None and len(data) > max_values and has_more_values(data, max_values):
        raise ContentTooLarge(
            f"expected at most {max_values} values in a JSON body (max_json_values), "
            "and at most half as many objects, got more"
        )
    text = (data.decode("ascii") if data.isascii() else _decode(data)).rstrip(_WHITESPACE)
    if not text:
        raise BadRequest("expected a JSON value, got an empty body")
    start = len(text) - len(text.lstrip(_WHITESPACE))
    try:
        # Few values make no work for the garbage collector: see `_scan`.
        scan = _DECODER.raw_decode if len(text) <= _MAX_COLLECTED else _scan
        value, end = scan(text, start)
    except json.JSONDecodeError as error:
        problem = error.msg.removesuffix(" at").removesuffix(" starting")
        raise _not_json(problem[0].lower() + problem[1:], text, error.pos) from error
    except ValueError as error:
        raise _refusal(text, error) from error
    except RecursionError as error:
        raise BadRequest("not JSON that can be read here: nested too deeply") from error
    if end != len(text):
        raise _not_json("extra data", text, end + _space_at(text, end))
    # One character is looked for in 1 KiB in 0.03 us, two in 1.
    if "\\" in text and not allow_surrogates and "\\u" in text:
        _check_surrogates(text)
    return value


def _scan(text: str, start: int) -> tuple[object, int]:
    """Return the value that begins at `start`, and where it ends."""
    # 0.6 us less than `loads` or `decode`, which match whitespace by a regex at both ends.
    scan = _DECODER.raw_decode
    if not gc.isenabled():
        return scan(text, start)
    # Nothing in it is garbage, but the collector looks at each array and object some times: for
    # 150,000 of them it takes as long as the scanner, or four times as long.
    gc.disable()
    try:
        return scan(text, start)
    finally:
        gc.enable()


def has_more_values(data: bytes, limit: int) -> bool:
    """Return whether a JSON text holds more than `limit` elements and members, or objects twice.

    Each has a comma behind it, or is the last one in its array or object; those are counted as
    the brackets that open them, so an empty one counts as if it held one. Commas and brackets in
    strings are not counted.

    An object costs 0.45 us, another value 0.03 to 0.25. In arrays of objects at most half of the
    values are objects. Objects of one member, one inside the other, would be all of them: 70 ms.
    """
    objects = data.count(b"{")
    if len(data) <= limit or max(data.count(b",") + data.count(b"["), objects) + objects <= limit:
        return False
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = plain.translate(None, _NEITHER_QUOTE_NOR_VALUE)
    # Between two strings stands one of the marks: two quotes side by side are one string.
    outside = b"".join(marks.replace(b'""', b"").split(b'"')[::2])
    objects = outside.count(b"{")
    return max(len(outside) - outside.count(b":"), 2 * objects) > limit


def _check_surrogates(text: str) -> None:
    lone = _LONE_SURROGATE.search(text.replace("\\\\", "  "))
    if lone is not None:
        escape = text[lone.start() : lone.start() + 6]
        raise _not_json(f"{escape} is half a surrogate pair", text, lone.start())


def _decode(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        message = f"the body is not utf-8: {error.reason} at byte {error.start + 1}"
        raise BadRequest(message) from error
    return text[1:] if text[:1] == "\ufeff" else text


def _not_json(problem: str, text: str, position: int) -> BadRequest:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return BadRequest(f"not JSON at line {line}, column {column}: {problem}")


def _space_at(text: str, position: int) -> int:
    rest = text[position:]
    return len(rest) - len(rest.lstrip(_WHITESPACE))


_TOO_LARGE = "a number too large for a float"


class _Refused(ValueError):
    """A literal that the scanner reads and we refuse."""


def _finite(literal: str) -> float:
    number = float(literal)
    if isinf(number):
        raise _Refused(_TOO_LARGE)
    return number


def _refuse_constant(literal: str) -> Never:
    raise _Refused(f"{literal} is not JSON")


def _refusal(text: str, error: ValueError) -> BadRequest:
    """Return the 400 for the first literal that the scanner's hooks refuse.

    The hooks aren't told the position. Until there the text is well-formed, so that its tokens can
    be matched one after the other, which costs nothing to the bodies that are accepted. A large
    body is not walked a second time.
    """
    limit = sys.get_int_max_str_digits()
    if len(text) > _MAX_LOCATED_BYTES:
        is_ours = isinstance(error, _Refused)
        return BadRequest(
            f"not JSON: {error if is_ours else f'an integer of more than {limit} digits'}"
        )
    for match in _REFUSABLE.finditer(text):
        literal = match[0]
        kind = match.lastgroup
        digits = len(literal.lstrip("-"))
        if kind == "constant":
            return _not_json(f"{literal} is not JSON", text, match.start())
        if kind == "integer" and 0 < limit < digits:
            problem = f"expected an integer of at most {limit} digits, got {digits}"
            return _not_json(problem, text, match.start())
        if kind == "float" and isinf(float(literal)):
            return _not_json(_TOO_LARGE, text, match.start())
    return BadRequest(f"not JSON: {error}")


# A 1 KiB document of one object costs 0.5 us more with the hook than without; one of 100 objects
# 0.2 us for each. `object_pairs_hook` would cost 1.6 us, and 0.3 us for each.
_DECODER = json.JSONDecoder(
    object_hook=JSONObject, parse_float=_finite, parse_constant=_refuse_constant
)


# --- values to bytes ------------------------------------------------------------------


def encode_json(value: object, default: Callable[[object], object] | None = None) -> bytes:
    """Return `value` as compact JSON in UTF-8.

    Besides what `json` knows, it writes dataclasses by their fields, datetime, date and time in
    ISO 8601, UUID and Decimal as strings, and an Enum as its value. `default` is asked for
    anything else: it returns something that can be written, or raises TypeError.
    A lone surrogate, which UTF-8 can't hold, is written as its escape.

    Raises: TypeError for a type that nobody knows; ValueError for NaN, an infinity, a circular
    reference, and nesting that exhausts the stack.
    """
    try:
        text = _encoder_for(default)(value)
    except RecursionError as error:
        raise ValueError("JSON can't hold a circular reference or so deep a nesting") from error
    # Surrogates only occur in strings, and there Python's escape of one is JSON's: \ud800.
    return text.encode("utf-8", "backslashreplace")


@lru_cache(maxsize=64)
def _encoder_for(default: Callable[[object], object] | None) -> Callable[[object], str]:
    """Return what writes a value as text, built once.

    `JSONEncoder.encode` builds the C encoder at each call: `{"message": "Hello, World!"}` takes
    1.7 us by it and 0.8 us here. It must, as the C encoder owns the table of a call's containers
    that finds circular references; we have the stack's limit find them.
    """
    to_known = _to_known if default is None else _default_with(default)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # another Python, where `json` has no C part
        return json.JSONEncoder(
            default=to_known,
            check_circular=False,
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
        ).encode
    markers = indent = None
    sort_keys = skip_keys = allow_nan = False
    quote = json.encoder.encode_basestring
    chunks_of: Callable[[object, int], tuple[str, ...]] = make(
        markers, to_known, quote, indent, ":", ",", sort_keys, skip_keys, allow_nan
    )
    return lambda value: "".join(chunks_of(value, 0))


def _default_with(default: Callable[[object], object]) -> Callable[[object], object]:
    def to_known(value: object) -> object:
        known = _known_form(value)
        return default(value) if known is _UNKNOWN else known

    return to_known


def _to_known(value: object) -> object:
    known = _known_form(value)
    if known is not _UNKNOWN:
        return known
    name = type(value).__qualname__
    raise TypeError(
        f"JSON can't hold {name!r}: return something that it can, or set app.json_default to a "
        f"function that takes the {name} and returns that"
    )


_UNKNOWN = object()


def _known_form(value: object) -> object:
    """Return `value` in a form that is nearer to JSON, or `_UNKNOWN`."""
    if isinstance(value, (date, time)):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, (UUID, Decimal)):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    cls: type = type(value)
    if hasattr(cls, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in _field_names(cls)}
    return _UNKNOWN


@lru_cache(maxsize=1024)
def _field_names(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls))


class JSONBody(RenderedBody):
    """A value that is encoded once the app's `json_default` is known."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def render(self, request: RequestInfo | None, head: Head) -> bytes:
        """Return the value as JSON. Raises: as `encode_json`."""
        match = None if request is None else request.match
        return encode_json(self._value, None if match is None else match.app.json_default)
