"""Faults of a request: the places in it that are wrong, for one answer that names them all.

The answer is bounded, because a client chooses how many faults it has and how long their names are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from itertools import islice
from json.encoder import encode_basestring
from typing import Literal

MAX_FAULTS = 20  # in one answer
_MAX_BYTES = 6 * 1024  # of the faults in one answer, in UTF-8 and escaped
_AROUND = 40  # bytes of problem details around one fault
# So few and short faults fit, because a character takes at most 6 bytes: `&quot;`.
_FEW, _SHORT = 10, (_MAX_BYTES - 10 * _AROUND) // 6  # faults, characters

Source = Literal["body", "path", "query", "header", "cookie"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a request, for `HTTPError(faults=...)`.

    `name` is that of a parameter. In a body it is a JSON pointer, written as the fragment of a URL:
    `#/tags/1`. RFC 6901 section 6
    """

    source: Source
    name: str
    detail: str

    def __str__(self) -> str:
        if self.source == "body":
            return f"{self.name}: {self.detail}"
        kind = self.source if self.source == "cookie" else f"{self.source} parameter"
        return f"{kind} {self.name!r}: {self.detail}"

    def members(self) -> dict[str, str]:
        """Return the fault as an object of problem details. RFC 9457 section 3"""
        name = "pointer" if self.source == "body" else "name"
        return {"in": self.source, name: self.name, "detail": self.detail}


def first_faults(faults: Iterable[Fault]) -> tuple[tuple[Fault, ...], bool]:
    """Return the faults that one answer has room for, and whether there are more."""
    found, size = list(islice(faults, MAX_FAULTS + 1)), 0
    if len(found) <= _FEW and sum([len(each.name) + len(each.detail) for each in found]) <= _SHORT:
        return tuple(found), False
    for number, fault in enumerate(found):
        size += _size_of(fault)
        if number and (number == MAX_FAULTS or size > _MAX_BYTES):
            return tuple(found[:number]), True
    return tuple(found), False


def _size_of(fault: Fault) -> int:
    """Return the bytes of a fault in the longer of two forms: a page, or problem details."""
    text = escape(f"{fault.name}{fault.detail}").replace("\\", "\\\\")
    return len(text.encode(errors="replace")) + _AROUND


def texts_of(faults: tuple[Fault, ...], detail: str, *, has_more: bool) -> tuple[str, str]:
    """Return the detail for problem details, and that for other answers: a line for each fault."""
    lines = [
        f"{each.name}: {each.detail}" if each.source == "body" else str(each) for each in faults
    ]
    if has_more:
        lines.append("and more")
    if detail:
        return detail, "\n".join([detail, *lines])
    return summary_of(faults, has_more=has_more), "\n".join(lines)


def summary_of(faults: tuple[Fault, ...], *, has_more: bool) -> str:
    """Return a detail for problem details: `2 faults in the body`."""
    plural = "" if len(faults) == 1 else "s"
    if {"body"}.issuperset([each.source for each in faults]):
        summary = f"{len(faults)} fault{plural} in the body"
    else:
        summary = f"{len(faults)} parameter{plural} at fault"
    return f"{summary} and more" if has_more else summary


def json_of(faults: tuple[Fault, ...]) -> str:
    """Return the JSON of the faults' `members`. `encode_json` takes four times as long."""
    objects = [
        f'{{"in":"{each.source}","{"pointer" if each.source == "body" else "name"}":'
        f'{encode_basestring(each.name)},"detail":{encode_basestring(each.detail)}}}'
        for each in faults
    ]
    return f"[{','.join(objects)}]"
