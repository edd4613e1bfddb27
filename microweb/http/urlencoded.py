"""Percent-encoding: queries and forms by the URL standard, path segments by RFC 3986.

Queries and forms are decoded leniently, as browsers and the WHATWG URL standard do (section 5.1,
application/x-www-form-urlencoded). Path segments are decoded strictly: a path that two programs
decode differently is a way around access rules.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from urllib.parse import quote, unquote, urlencode

from ..errors import TooManyFields
from .grammar import BAD_ESCAPE

_SHOWN_CHARACTERS = 80

# pchar = unreserved / pct-encoded / sub-delims / ":" / "@"                 RFC 3986 section 3.3
# These are not encoded. The others, & ' ( ) + ; have a meaning in HTML, CSS or old decoders.
_KEPT_IN_SEGMENT = "!$*,=:@"


def parse_urlencoded(text: str, *, max_fields: int) -> list[tuple[str, str]]:
    """Return the pairs of a query or a form, in order.

    No text is invalid: a broken escape is kept, and bytes that are not UTF-8 become U+FFFD.

    Raises: TooManyFields, before any piece is decoded, for more than `max_fields` pieces between
    `&`; empty pieces count too.
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

    Raises: ValueError for a broken escape or for bytes that are not UTF-8.
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


def decode_path(raw_path: str, prefix: str) -> str:
    """Return a path decoded, without the segments of `prefix`. No path is invalid."""
    return unquote(path_below(raw_path, prefix))


def path_below(raw_path: str, prefix: str) -> str:
    """Return a path as sent, without the segments of `prefix`."""
    if depth := prefix.count("/"):
        _, *segments = raw_path.split("/", depth + 1)
        return f"/{segments[-1]}" if len(segments) > depth else ""
    return raw_path


def percent_encode(text: str) -> str:
    """Return `text` as one path segment in UTF-8, with `/` encoded too.

    `.` and `..` remain dot-segments: clients resolve them even if they are encoded.
    """
    return quote(text, safe=_KEPT_IN_SEGMENT)


def encode_urlencoded(pairs: Iterable[tuple[str, str]]) -> str:
    """Return the query or form that `parse_urlencoded` decodes to `pairs`."""
    return urlencode(list(pairs))


def _decode(text: str) -> str:
    text = text.replace("+", " ")
    if "%" not in text:
        return text
    data = text.encode()
    if BAD_ESCAPE.search(text):
        data = _mark_broken(data)
    return _unescape(data).decode(errors="replace")


# Byte -> its kind in an escape: `%` for the percent sign, `h` for a hexadecimal digit, else NUL.
_KINDS = bytes(
    0x25 if byte == 0x25 else 0x68 * (byte in b"0123456789ABCDEFabcdef") for byte in range(256)
)
# The percent sign -> 0xFF, any other byte -> 0.
_PERCENTS = bytes(0xFF * (byte == 0x25) for byte in range(256))


def _mark_broken(data: bytes) -> bytes:
    """Return `data` with 0xFF, which UTF-8 never has, for each percent sign that begins no escape.

    All the work is done in C: a MiB of percent signs takes a tenth of the 0.2 s of a regex.
    """
    kinds = data.translate(_KINDS).replace(b"%hh", b"\0\0\0")
    broken = int.from_bytes(kinds.translate(_PERCENTS), "little")
    return (int.from_bytes(data, "little") | broken).to_bytes(len(data), "little")


def _unescape(data: bytes) -> bytes:
    # Python's own escapes have the same two digits, and a decoder in C: 6 MB of "%41" take 0.2 s.
    # urllib.parse.unquote takes 1.5 s.
    escaped = data.replace(b"\\", rb"\x5c").replace(b"%", rb"\x").replace(b"\xff", rb"\x25")
    # `decode("unicode_escape")` would import the codec at the first escape; its function does not.
    return codecs.unicode_escape_decode(escaped)[0].encode("latin-1")
