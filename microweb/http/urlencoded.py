"""Percent-encoding: queries and forms by the URL standard, path segments by RFC 3986.

Strategy: queries and forms are read leniently, as browsers and the WHATWG URL standard do
(section 5.1, application/x-www-form-urlencoded); path segments strictly, because a path that two
readers decode differently is a way around access rules.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from urllib.parse import quote, urlencode

from ..errors import TooManyFields
from .grammar import BAD_ESCAPE

_SHOWN_CHARACTERS = 80

# pchar = unreserved / pct-encoded / sub-delims / ":" / "@"                 RFC 3986 section 3.3
# Kept are those that mean nothing to HTML, CSS or old decoders: not & ' ( ) + ;
_KEPT_IN_SEGMENT = "!$*,=:@"


def parse_urlencoded(text: str, *, max_fields: int) -> list[tuple[str, str]]:
    """Return the pairs of a query or a form, in order. Nothing in `text` itself is an error.

    A broken escape stays as it is, and what is not UTF-8 becomes U+FFFD.

    Raises: TooManyFields for more than `max_fields` pieces between `&`, empty ones too, before
    any of them is looked at.
    """
    if text and text.count("&") >= max_fields:
        raise TooManyFields(f"expected at most {max_fields} fields, got more")
    pairs = []
    for piece in text.split("&"):
        if piece:
            name, _, value = piece.partition("=")
            if "%" in piece or "+" in piece:
                name, value = _decode(name), _decode(value)
            pairs.append((name, value))
    return pairs


def percent_decode(segment: str) -> str:
    """Return a path segment with its escapes decoded as UTF-8.

    Raises: ValueError for a broken escape, and for bytes that are not UTF-8.
    """
    if "%" not in segment:
        return segment
    if broken := BAD_ESCAPE.search(segment):
        got = segment[broken.start() : broken.start() + 3]
        raise ValueError(f"expected two hexadecimal digits after %, got {got!r}")
    try:
        return _unescape(segment.encode()).decode()
    except UnicodeError as error:
        raise ValueError(f"expected UTF-8, got {segment[:_SHOWN_CHARACTERS]!r}") from error


def percent_encode(text: str) -> str:
    """Return `text` as one path segment: UTF-8, and `/` is encoded as well.

    A dot-segment stays one: clients resolve `.` and `..` even when they are encoded.
    """
    return quote(text, safe=_KEPT_IN_SEGMENT)


def encode_urlencoded(pairs: Iterable[tuple[str, str]]) -> str:
    """Return the query, or the form, that `parse_urlencoded` reads as `pairs`."""
    return urlencode(list(pairs))


def _decode(text: str) -> str:
    text = text.replace("+", " ")
    if "%" not in text:
        return text
    data = text.encode()
    if BAD_ESCAPE.search(text):
        data = _mark_broken(data)
    return _unescape(data).decode(errors="replace")


# A byte -> what it is in an escape: the percent sign, a hexadecimal digit, anything else.
_KINDS = bytes(
    0x25 if byte == 0x25 else 0x68 * (byte in b"0123456789ABCDEFabcdef") for byte in range(256)
)
# The percent sign -> all bits, anything else -> none.
_PERCENTS = bytes(0xFF * (byte == 0x25) for byte in range(256))


def _mark_broken(data: bytes) -> bytes:
    """Return UTF-8 with 0xFF, which UTF-8 never has, for each percent sign that begins no escape.

    All of it in C: a regex takes 0.2 s for a MiB of percent signs, and this a tenth.
    """
    kinds = data.translate(_KINDS).replace(b"%hh", b"\0\0\0")
    broken = int.from_bytes(kinds.translate(_PERCENTS), "little")
    return (int.from_bytes(data, "little") | broken).to_bytes(len(data), "little")


def _unescape(data: bytes) -> bytes:
    # Python's own escapes have the same two digits, and their decoder is C: 6 MB of "%41" take
    # 0.2 s, where urllib.parse.unquote takes 1.5 s.
    escaped = data.replace(b"\\", rb"\x5c").replace(b"%", rb"\x").replace(b"\xff", rb"\x25")
    # By its function: `decode("unicode_escape")` would import the codec with the first escape.
    return codecs.unicode_escape_decode(escaped)[0].encode("latin-1")
