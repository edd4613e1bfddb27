"""Faults of a request: the places in it that are wrong, for one answer that names them all.

The answer is bounded, because a client chooses how many faults it has and how long their names are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from json.encoder import encode_basestring
from typing import Any, Literal

from .markup import escape

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
    found, size = tuple(islice(faults, MAX_FAULTS + 1)), 0
    if len(found) <= _FEW:
        for fault in found:
            size += len(fault.name) + len(fault.detail)
        if size <= _SHORT:
            return found, False
    size = 0
    for number, fault in enumerate(found):
        size += _size_of(fault)
        if number and (number == MAX_FAULTS or size > _MAX_BYTES):
            return found[:number], True
    return found, False


def _size_of(fault: Fault) -> int:
    """Return the bytes of a fault in the longer of two forms: a page, or problem details."""
    text = escape(f"{fault.name}{fault.detail}").replace("\\", "\\\\")
    return len(text.encode(errors="replace")) + _AROUND


def texts_of(faults: tuple[Fault, ...], detail: str, has_more: bool) -> tuple[str, str]:
    """Return the detail for problem details, and that for other answers: a line for each fault.

    Without a `detail`, the first one is a summary: `2 faults in the body`.
    """
    text, is_body = detail, True
    for fault in faults:
        is_body = is_body and fault.source == "body"
        line = f"{fault.name}: {fault.detail}" if fault.source == "body" else str(fault)
        text = f"{text}\n{line}" if text else line
    more = ""
    if has_more:
        text, more = f"{text}\nand more", " and more"
    if not detail:
        plural = "" if len(faults) == 1 else "s"
        kind = f"fault{plural} in the body" if is_body else f"parameter{plural} at fault"
        detail = f"{len(faults)} {kind}{more}"
    return detail, text


def body_fault(name: str, detail: str) -> Fault:
    """Return a fault of a body. `Fault(...)` takes twice as long, because it is frozen."""
    fault = _new(Fault)
    _set_source(fault, "body")
    _set_name(fault, name)
    _set_detail(fault, detail)
    return fault


_new = object.__new__
_set_source, _set_name, _set_detail = [
    vars(Fault)[each].__set__ for each in ("source", "name", "detail")
]


def json_of(faults: tuple[Fault, ...]) -> str:
    """Return the JSON of the faults' `members`. `encode_json` takes twice as long."""
    objects = [
        f'{{"in":"{each.source}","{"pointer" if each.source == "body" else "name"}":'
        f'{encode_basestring(each.name)},"detail":{encode_basestring(each.detail)}}}'
        for each in faults
    ]
    return f"[{','.join(objects)}]"


# --- bytes that break HTTP: their place, because the values may be secret

_SHOWN = 80  # bytes of the peer

_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,80}):")  # a token: RFC 9110 section 5.1
_VISIBLE = re.compile(rb"[\x20-\x7e]*+")
_VISIBLE_OR_TAB = re.compile(rb"[\t\x20-\x7e]*+")

# A query begins at its question mark, a field at a line end. What stands before them may be a
# field's line too, if the sender lost count of its own bytes, or have a password before its host.
_FIRST = re.compile(
    rb"(?:\r?\n)*+([!#$%&'*+\-.^_`|~0-9A-Za-z]+[ \t]*:|.*?(?=[?\r\n]|://[^/]*@|\Z))", re.DOTALL
)


def place_of_fault(got: bytes | str | None, allowed: re.Pattern[Any] | None) -> str:
    """Return ` (Cookie: byte 0x01 at index 9 of 30)`; the empty string if nothing is known.

    Bytes are a line, and a str is a value. `allowed` matches the bytes before the fault. By default
    these are printable ASCII, and in a field's line also tabs.
    """
    if got is None:
        return ""
    line = got.encode("latin-1", "backslashreplace") if isinstance(got, str) else got
    field = _FIELD.match(line) if isinstance(got, bytes) else None
    place = "" if field is None else field[1].decode()
    usual = _VISIBLE if field is None else _VISIBLE_OR_TAB
    found = usual.match(line) if allowed is None else allowed.match(got)
    index = 0 if found is None else found.end()
    if index < len(line):
        byte = f"byte 0x{line[index]:02x} at index {index} of {len(line)}"
        place = f"{place}: {byte}" if place else byte
    return f" ({place})" if place else ""


def shown(got: bytes | str) -> str:
    """Return the first bytes at fault, escaped. It is for debug mode, on this machine, only."""
    return ascii(got[:_SHOWN])


def first_bytes_of(head: bytes) -> str | None:
    """Return the first bytes that are no secret, escaped; None if there are none.

    They show TLS or another protocol on this port. They end before a query and the fields.
    """
    first = _FIRST.match(head, 0, _SHOWN)
    return ascii(first[1])[2:-1] if first and first[1] else None
