"""Texts of a query, a header section, cookies and forms: parse one to the type of a parameter.

A parser raises ValueError with a message for the client: the expected and the given text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from functools import partial
from typing import Literal, get_args, get_origin
from uuid import UUID

from ..bodies.annotations import bare
from ..bodies.constraints import Check, checks_for
from ..bodies.json_readers import PLAIN, Reader, flags_of
from ..bodies.mismatches import Mismatch, Refusal
from ..http.multidict import parse_bool
from ..routing.patterns import parse_int64

Parse = Callable[[str], object]

_SHOWN_CHARACTERS = 80
_INT = re.compile(r"[+-]?[0-9]{1,1000}")
_FLOAT = re.compile(r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?")


def scalar_parser(kind: object) -> Parse | None:
    """Return the parser of a type, with its constraints; None if the type is not supported.

    Raises: ConfigurationError for a constraint that does not fit the type.
    """
    parse = _unchecked_parser(bare(kind))
    if parse is None:
        return None
    checks = checks_for(kind)
    return partial(_parse_checked, parse, checks) if checks else parse


def _unchecked_parser(kind: object) -> Parse | None:
    if get_origin(kind) is Literal:
        choices = [getattr(choice, "value", choice) for choice in get_args(kind)]
        table = dict(zip(map(_text_of, choices), get_args(kind), strict=True))
        return partial(_parse_choice, table)
    if isinstance(kind, type) and issubclass(kind, Flag):
        read = flags_of(kind)
        return lambda text: _read(read, text, _parse_int(text))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return partial(_parse_choice, {_text_of(member.value): member for member in kind})
    return _SCALARS.get(kind)


def _text_of(choice: object) -> str:
    """Return a value as a document has it: `true`, in place of Python's `True`."""
    return str(choice).lower() if isinstance(choice, bool) else str(choice)


def _parse_checked(parse: Parse, checks: Sequence[Check], text: str) -> object:
    value = parse(text)
    run_checks(checks, value, text)
    return value


def run_checks(checks: Sequence[Check], value: object, text: str = "") -> None:
    """Check a value that was parsed from `text`. Raises: ValueError."""
    for check in checks:
        mismatch = check(value)
        if isinstance(mismatch, Refusal):
            raise ValueError(mismatch.problem())
        if mismatch is not None:
            got = repr(text[:_SHOWN_CHARACTERS])
            if isinstance(value, (int, float, Decimal)):
                got = got.strip("'")
            raise ValueError(f"expected {mismatch.expected}, got {got}")


def _parse_int(text: str) -> int:
    if not _INT.fullmatch(text):
        raise ValueError(f"expected an integer, got {text[:_SHOWN_CHARACTERS]!r}")
    return parse_int64(text)


def _parse_float(text: str) -> float:
    # float() also accepts spaces, underscores, "NaN" and the digits of any script.
    value = float(text) if _FLOAT.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise ValueError(f"expected a number, got {text[:_SHOWN_CHARACTERS]!r}")
    return value


def _parse_as_json(kind: type, text: str) -> object:
    """Return the value of a text by the rules for a string in JSON."""
    return _read(PLAIN[kind], text, text)


def _read(reader: Reader, text: str, value: object) -> object:
    converted = reader.convert(value)
    if isinstance(converted, Mismatch):
        got = repr(text[:_SHOWN_CHARACTERS])
        raise ValueError(f"expected {converted.expected}, got {got}")
    return converted


def _parse_choice(choices: Mapping[str, object], text: str) -> object:
    try:
        return choices[text]
    except KeyError:
        got = repr(text[:_SHOWN_CHARACTERS])
        names = ", ".join(choices)[:_SHOWN_CHARACTERS]
        raise ValueError(f"expected one of {names}, got {got}") from None


_AS_JSON = (datetime, date, time, timedelta, Decimal, UUID)

_SCALARS: dict[object, Parse] = {
    str: str,
    int: _parse_int,
    float: _parse_float,
    bool: parse_bool,
    **{kind: partial(_parse_as_json, kind) for kind in _AS_JSON},
}
