"""JSON bodies: bytes to values, and values to bytes. RFC 8259.

Reading is strict: what RFC 8259 doesn't define (`NaN`, `Infinity`), and what Python can't hold
(`1e999`, an integer of 5,000 digits, nesting that exhausts the stack), is a 400 that names the
position, never a 500. An object becomes a `JSONObject`: a dict whose missing keys are a 400 too.

Writing goes through the C encoder of the standard library, built once for each `default`.
"""

from __future__ import annotations

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
from typing import Never
from uuid import UUID

from microweb.errors import BadRequest, MissingValue, UnsupportedMediaType

_SHOWN_CHARACTERS = 80

# What space is in JSON, which is less than `str.isspace` thinks. RFC 8259 section 2
_WHITESPACE = " \t\r\n"

# Charset -> codec. Without a byte order mark UTF-16 and -32 are big-endian (RFC 2781 section 4.3),
# where Python's own "utf-16" would follow the machine.
_CODECS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "utf-16": "utf-16-be",
    "utf-16be": "utf-16-be",
    "utf-16le": "utf-16-le",
    "utf-32": "utf-32-be",
    "utf-32be": "utf-32-be",
    "utf-32le": "utf-32-le",
}
_LITTLE_ENDIAN_MARKS = {"utf-16": b"\xff\xfe", "utf-32": b"\xff\xfe\x00\x00"}

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


# --- bytes to values ------------------------------------------------------------------


def parse_json(data: bytes, charset: str = "utf-8") -> object:
    """Return the one JSON value in `data`: JSONObject, list, str, int, float, bool or None.

    A byte order mark is ignored, and of a repeated key the last wins.

    Raises: BadRequest with line and column (or the byte, where it can't be decoded), both from 1;
    UnsupportedMediaType for a charset other than utf-8, utf-16, utf-32 and us-ascii.
    """
    text = _decode(data, charset).rstrip(_WHITESPACE)
    if not text:
        raise BadRequest("expected a JSON value, got an empty body")
    start = len(text) - len(text.lstrip(_WHITESPACE))
    try:
        # 0.6 us less than `loads` or `decode`, which match whitespace by a regex at both ends.
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        problem = error.msg.removesuffix(" at").removesuffix(" starting")
        raise _not_json(problem[0].lower() + problem[1:], text, error.pos) from error
    except ValueError as error:
        raise _refusal(text, error) from error
    except RecursionError as error:
        raise BadRequest("not JSON that can be read here: nested too deeply") from error
    if end != len(text):
        raise _not_json("extra data", text, end + _space_at(text, end))
    return value


def _decode(data: bytes, charset: str) -> str:
    if charset == "utf-8" and data.isascii():
        return data.decode("ascii")
    charset = charset.lower()
    codec = _CODECS.get(charset)
    if codec is None:
        raise UnsupportedMediaType(
            "expected JSON in utf-8, utf-16, utf-32 or us-ascii, "
            f"got charset {charset[:_SHOWN_CHARACTERS]!r}",
            headers={"Accept": "application/json; charset=utf-8"},
        )
    mark = _LITTLE_ENDIAN_MARKS.get(charset)
    if mark is not None and data.startswith(mark):
        codec = charset  # Python's codec of this name reads the mark
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        message = f"the body is not {charset}: {error.reason} at byte {error.start + 1}"
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


def _finite(literal: str) -> float:
    number = float(literal)
    if isinf(number):
        raise ValueError(_TOO_LARGE)
    return number


def _refuse_constant(literal: str) -> Never:
    raise ValueError(f"{literal} is not JSON")


def _refusal(text: str, error: ValueError) -> BadRequest:
    """Return the 400 for the first literal that the scanner's hooks refuse.

    The hooks aren't told the position. Until there the text is well-formed, so that its tokens can
    be matched one after the other, which costs nothing to the bodies that are accepted.
    """
    limit = sys.get_int_max_str_digits()
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
