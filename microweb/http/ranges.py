"""Byte ranges: the parts of a representation that a client requests. RFC 9110 section 14.

No byte is sent twice: ranges that overlap or touch become one (section 15.3.7.2 allows it), and a
list longer than `MAX_RANGES` is ignored (section 14.2). So a response is never larger than the
content and the heads of a few parts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import RangeNotSatisfiable
from .headers import list_members

MAX_RANGES = 32  # enough for readers of documents and archives; Apache allows 200

# int-range = first-pos "-" [ last-pos ]; suffix-range = "-" suffix-length  RFC 9110 section 14.1.2
# A server may ignore Range: this one does so for a position of more digits than a file can have.
_RANGE = r"([0-9]{0,19}+)-([0-9]{0,19}+)"  # compiled at its first use


class Span(NamedTuple):
    """`length` bytes, starting at `offset`."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """The offset after the last byte."""
        return self.offset + self.length


def parse_ranges(value: str, size: int) -> list[Span] | None:
    """Return the spans that a Range field requests of a representation of `size` bytes.

    None means that the field is ignored: it has another unit or a malformed or abusive list, or the
    content is empty. The spans are in the requested order and end within `size`; those that overlap
    or touch are merged.

    Raises: RangeNotSatisfiable (416) if all ranges lie outside the content.
    """
    unit, separator, range_set = value.partition("=")
    if unit.strip(" ").lower() != "bytes" or not separator or not size:
        return None
    members = list_members(range_set, 2 * MAX_RANGES)
    if not 0 < len(members) <= MAX_RANGES or range_set.count(",") >= 2 * MAX_RANGES:
        return None
    spans = []
    for member in members:
        match = re.fullmatch(_RANGE, member)
        if match is None or match[0] == "-":
            return None
        first, last = match.groups()
        if first and last and int(last) < int(first):
            return None
        span = _suffix(int(last), size) if not first else _span(int(first), last, size)
        if span.length > 0:
            spans.append(span)
    if not spans:
        raise RangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return _merge(spans)


def content_range(span: Span, size: int) -> str:
    """Return the value of Content-Range: `bytes 0-5/13`. RFC 9110 section 14.4"""
    return f"bytes {span.offset}-{span.end - 1}/{size}"


def _span(first: int, last: str, size: int) -> Span:
    end = min(int(last) + 1, size) if last else size
    return Span(first, end - first)


def _suffix(length: int, size: int) -> Span:
    length = min(length, size)
    return Span(size - length, length)


def _merge(spans: list[Span]) -> list[Span]:
    """Merge spans that overlap or touch; each takes the position of its first part."""
    merged: list[tuple[int, Span]] = []
    for index, span in sorted(enumerate(spans), key=lambda each: each[1].offset):
        if merged and span.offset <= merged[-1][1].end:
            first_index, before = merged[-1]
            end = max(before.end, span.end)
            joined = Span(before.offset, end - before.offset)
            merged[-1] = min(first_index, index), joined
        else:
            merged.append((index, span))
    return [span for _, span in sorted(merged)]
