"""JSON bodies: bytes to values, and values to bytes. RFC 8259.

Reading is strict. The parser refuses text that RFC 8259 does not define (`NaN`, `Infinity`), values
that Python can't hold (`1e999`, an integer of 5,000 digits, nesting that exhausts the stack), and
half a surrogate pair, which UTF-8 can't hold. Each of them is a 400 that names the position, never
a 500. An object becomes a `JSONObject`, a dict whose missing keys are a 400 too.

A limit on the number of values bounds the cost. They are counted before any is created, because an
empty object takes 3 bytes of a body, and 50 times as much memory and time as 3 bytes of a string.

Writing uses the C encoder of the standard library, which is built once for each `default`. If
msgspec is installed, it writes and reads what it does in the same way: see `json_msgspec`.
"""

from __future__ import annotations

import gc
import json.encoder
import re
import sys
from binascii import b2a_base64
from collections import deque
from collections.abc import Callable
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from math import isinf
from typing import Never
from uuid import UUID

from ..errors import BadRequest, ContentTooLarge
from ..http.durations import format_duration
from . import json_msgspec
from .body import Head, RenderedBody, RequestInfo
from .class_members import keys_of
from .foreign import foreign_writer, is_foreign
from .json_containers import JSONObject

UNENCODABLE = (
    "expected a value that JSON can hold, got a circular reference, or values nested too deeply"
)

# The whitespace of JSON; `str.isspace` accepts more characters. RFC 8259 section 2
_WHITESPACE = " \t\r\n"

_MAX_COLLECTED = 16 * 1024  # characters: a longer text is parsed without the garbage collector

# A larger body is not parsed a second time to find the position of a refused number.
_MAX_LOCATED_BYTES = 64 * 1024

# Half a surrogate pair. Blank out `\\\\` before the search, because it begins no escape.
# RFC 8259 section 7
_LONE_SURROGATE = (  # compiled at its first use, as the next one
    r"\\u(?:[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|[dD][c-fC-F](?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F]))"
)
# All bytes except those that end a string or begin a value.
_NEITHER_QUOTE_NOR_VALUE = bytes(set(range(256)) - set(b'",:[{'))

# Skips the strings, and finds the literals that the scanner accepts but `parse_json` may refuse.
_REFUSABLE = (
    r'"(?:[^"\\]++|\\.)*"'
    r"|(?P<constant>NaN|-?Infinity)"
    r"|(?P<integer>-?[0-9]++)(?![.eE])"
    r"|(?P<float>-?[0-9][0-9.eE+-]*+)"
)


# --- bytes to values ------------------------------------------------------------------


def parse_json(
    data: bytes,
    *,
    max_values: int | None = None,
    allow_surrogates: bool = False,
    plain: bool = False,
) -> object:
    """Return the JSON value of `data`, which must be UTF-8 and hold exactly one value.

    The value is a JSONObject, list, str, int, float, bool or None. A byte order mark is ignored.
    The last member with a repeated key wins. `allow_surrogates` accepts half a surrogate pair,
    which `encode_json` can write. If `plain`, each JSONObject is a dict, for a caller that reads
    all of them. That saves 0.4 us for each object, and 0.1 us for each key that is looked up.

    Raises: BadRequest with the line and the column, counted from 1 (the byte if `data` is not
    UTF-8; neither for a refused number in more than 64 KiB); ContentTooLarge for more than
    `max_values` elements and members, or more than half as many objects.
    """
    # Each value takes at least one byte. For a short text a call costs 0.05 us, as `_decode` does.
    if max_values is not None and len(data) > max_values and has_more_values(data, max_values):
        raise ContentTooLarge(
            f"expected at most {max_values} values in a JSON body (max_json_values), "
            "and at most half as many objects, got more"
        )
    codec = json_msgspec.msgspec_codec()
    if codec is not None:
        value = json_msgspec.read(codec, data, None if plain else JSONObject)
        if value is not json_msgspec.LEFT:
            return value
    text = (data.decode("ascii") if data.isascii() else _decode(data)).rstrip(_WHITESPACE)
    if not text:
        raise BadRequest("expected a JSON value, got an empty body")
    start = len(text) - len(text.lstrip(_WHITESPACE))
    try:
        # A short text causes no work for the garbage collector: see `_uncollected`.
        # `loads` and `decode` take 0.6 us more, because a regex matches whitespace at both ends.
        scan = (_PLAIN_DECODER if plain else _DECODER).raw_decode
        value, end = (scan if len(text) <= _MAX_COLLECTED else _uncollected(scan))(text, start)
    except json.JSONDecodeError as error:
        problem = error.msg.removesuffix(" at").removesuffix(" starting")
        raise _not_json(problem[0].lower() + problem[1:], text, error.pos) from error
    except ValueError as error:
        raise _refusal(text, error) from error
    except RecursionError as error:
        raise BadRequest("expected less nesting in JSON, got values nested too deeply") from error
    if end != len(text):
        raise _not_json("extra data", text, end + _space_at(text, end))
    # In 1 KiB, a search for one character takes 0.03 us, for two characters 1 us.
    if "\\" in text and not allow_surrogates and "\\u" in text:
        _check_surrogates(text)
    return value


_Scan = Callable[[str, int], tuple[object, int]]


def _uncollected(scan: _Scan) -> _Scan:
    """Return a function that calls `scan` without the garbage collector.

    The values contain no garbage, but the collector visits each array and object several times. For
    150,000 of them that takes as long as the scanner, or four times as long.
    """

    def scan_uncollected(text: str, start: int) -> tuple[object, int]:
        gc.disable()
        try:
            return scan(text, start)
        finally:
            gc.enable()

    return scan_uncollected if gc.isenabled() else scan


def has_more_values(data: bytes, limit: int) -> bool:
    """Return whether a JSON text has more than `limit` elements and members.

    Also return True for more than `limit / 2` objects. The count is that of the commas and of the
    opening brackets, outside of strings: a comma follows each value except the last one of an array
    or object. So an empty array or object counts as if it had one value.

    An object costs 0.45 us, another value 0.03 to 0.25. In an array of objects at most half of the
    values are objects. Nested objects of one member are all objects, and would take 70 ms.
    """
    if len(data) <= limit:  # each value takes at least one byte
        return False
    objects = data.count(b"{")
    if max(data.count(b",") + data.count(b"["), objects) + objects <= limit:
        return False
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = plain.translate(None, _NEITHER_QUOTE_NOR_VALUE)
    # A mark stands between any two strings, so two adjacent quotes are one string.
    outside = b"".join(marks.replace(b'""', b"").split(b'"')[::2])
    objects = outside.count(b"{")
    return max(len(outside) - outside.count(b":"), 2 * objects) > limit


def _check_surrogates(text: str) -> None:
    lone = re.search(_LONE_SURROGATE, text.replace("\\\\", "  "))
    if lone is not None:
        escape = text[lone.start() : lone.start() + 6]
        raise _not_json(f"{escape} is half a surrogate pair", text, lone.start())


def _decode(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        message = f"expected JSON in UTF-8, got {error.reason} at byte {error.start + 1}"
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
    """A literal that the scanner accepts and `parse_json` refuses."""


def _finite(literal: str) -> float:
    number = float(literal)
    if isinf(number):
        raise _Refused(_TOO_LARGE)
    return number


def _refuse_constant(literal: str) -> Never:
    raise _Refused(f"{literal} is not JSON")


def _refusal(text: str, error: ValueError) -> BadRequest:
    """Return the 400 for the first literal that the scanner's hooks refuse.

    The scanner does not pass the position to its hooks. The text before that literal is
    well-formed, so a second pass over its tokens finds the position. Accepted bodies have no second
    pass, and neither have large ones.
    """
    limit = sys.get_int_max_str_digits()
    if len(text) > _MAX_LOCATED_BYTES:
        is_ours = isinstance(error, _Refused)
        return BadRequest(
            f"not JSON: {error if is_ours else f'an integer of more than {limit} digits'}"
        )
    for match in re.finditer(_REFUSABLE, text):
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


# `object_hook` adds 0.5 us to a document of 1 KiB with one object, and 0.2 us for each of 100
# objects. `object_pairs_hook` would add 1.6 us, and 0.3 us for each.
_DECODER = json.JSONDecoder(
    object_hook=JSONObject, parse_float=_finite, parse_constant=_refuse_constant
)
_PLAIN_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_constant)


# --- values to bytes ------------------------------------------------------------------


def encode_json(value: object, default: Callable[[object], object] | None = None) -> bytes:
    """Return `value` as compact JSON in UTF-8.

    In addition to the types of `json`, it writes dataclasses and attrs classes by their fields,
    datetime, date, time and timedelta in ISO 8601, UUID and Decimal as strings, an Enum as its
    value, sets as arrays and bytes in base64. `default` converts a
    value of any other type to one of these, or raises TypeError. A lone surrogate, which UTF-8
    can't hold, is written as its escape.

    Raises: TypeError for a value of another type; ValueError for NaN, an infinity, a circular
    reference, and nesting that exhausts the stack.
    """
    codec = json_msgspec.msgspec_codec()
    if codec is not None:
        data = json_msgspec.write(codec, value)
        # An object of few members takes two thirds of the time as a dict. `json` writes one that is
        # also a dict, a list, a text or a number as that.
        is_object = data is None and hasattr(type(value), "__dataclass_fields__")
        if is_object and not isinstance(value, _KNOWN_TO_JSON):
            data = json_msgspec.write(codec, _known_form(value))
        if data is not None:
            return data
    try:
        text = text_encoder(default)(value)
    except RecursionError as error:
        raise ValueError(UNENCODABLE) from error
    # Surrogates only occur in strings, and Python's escape of a surrogate is JSON's: \ud800.
    return text.encode("utf-8", "backslashreplace")


@lru_cache(maxsize=64)
def text_encoder(default: Callable[[object], object] | None) -> Callable[[object], str]:
    """Return a function that writes a value as JSON text; `default` is as for `encode_json`.

    `JSONEncoder.encode` builds the C encoder for each call, because the encoder owns a table of
    containers that finds circular references. Here the encoder is built once, and the stack's limit
    finds them. `{"message": "Hello, World!"}` takes 0.8 us in place of 1.7.
    """
    to_known = _to_known if default is None else _default_with(default)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # a Python whose `json` has no C extension
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
        f"expected a value that JSON can hold, got {name!r}: return another value, or set "
        f"app.json_default to a function that converts the {name}"
    )


_UNKNOWN = object()
_KNOWN_TO_JSON = (dict, list, tuple, str, int, float)


def _known_form(value: object) -> object:
    """Return `value` converted to a simpler type, or `_UNKNOWN` for an unknown type."""
    if isinstance(value, (date, time)):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, (UUID, Decimal)):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    cls: type = type(value)
    if hasattr(cls, "__dataclass_fields__") or hasattr(cls, "__attrs_attrs__"):
        return {key: getattr(value, name) for name, key in keys_of(cls)}
    if is_foreign(cls):
        return foreign_writer(cls)(value)
    if isinstance(value, (set, frozenset, deque)):
        return list(value)
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, bytes):
        return b2a_base64(value, newline=False).decode()
    return _UNKNOWN


class JSONBody(RenderedBody):
    """A JSON value. It is encoded when the request is known, and so the app's `json_default`."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def render(self, request: RequestInfo | None, head: Head) -> bytes:
        """Return the encoded value. Raises: as `encode_json`."""
        match = None if request is None else request.match
        return encode_json(self._value, None if match is None else match.app.json_default)
