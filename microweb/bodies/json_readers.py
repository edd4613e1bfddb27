"""Readers: each checks a JSON value against one type, and converts it.

A reader refuses a value by raising `Mismatch`. Each container adds its step to the exception, so a
pointer such as `#/items/2/price` costs nothing if all values match. After the first mismatch, a
container reads the rest only to find the other mismatches. `json_types` combines these readers to
the reader of any type.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from itertools import islice
from types import NoneType
from typing import Any, Never
from urllib.parse import quote
from uuid import UUID

from ..faults import MAX_FAULTS, Fault
from .json import JSONObject, encode_json

Convert = Callable[[object], object]

_SHOWN_CHARACTERS = 80
_SHOWN_POINTER = 200

# The characters that a fragment may contain as they are, except "~". RFC 3986 section 3.5
_IN_FRAGMENT = "!$&'()*+,;=:@?/"

# As many digits as `int` reads, because `int(Decimal("1e999999999"))` would fill the memory.
_MAX_DECIMAL_DIGITS = 4300
_DECIMAL = re.compile(r"-?[0-9]++(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?")

# --- refusals -------------------------------------------------------------------------


class Mismatch(Exception):
    """A value does not match its type. `steps` are the keys and indexes to it, innermost first.

    `others` are further mismatches in the value that is being read.
    """

    def __init__(self, expected: str, value: object) -> None:
        self.expected = expected
        self.value = value
        self.steps: list[str | int] = []
        self.others: list[Mismatch] = []

    def problem(self) -> str:
        return f"expected {self.expected}, got {show(self.value)}"

    def add_step(self, step: str | int) -> None:
        """Add the key or index of the value in its container."""
        self.steps.append(step)
        for other in self.others:
            other.steps.append(step)

    def read_rest(self, rest: Iterable[tuple[str | int, Convert, object]]) -> None:
        """Read the values after this one in the same container, and keep their mismatches.

        `rest` are the key or index, the reader and the value of each. Values after the last
        mismatch that an answer has room for are not read.
        """
        for step, convert_value, value in rest:
            try:
                convert_value(value)
            except Mismatch as other:
                other.add_step(step)
                self.others += [other, *other.others]
                other.others = []
                if len(self.others) >= MAX_FAULTS:
                    return

    def faults(self) -> list[Fault]:
        """Return all mismatches as faults of a body."""
        return [Fault("body", each.pointer(), each.problem()) for each in (self, *self.others)]

    def pointer(self) -> str:
        """Return the place as a JSON pointer in a URL's fragment. RFC 6901 section 6"""
        pointer = "#"
        for step in reversed(self.steps):
            pointer += f"/{_escape(step)}"
            if len(pointer) > _SHOWN_POINTER:
                broken = pointer.rfind("%", _SHOWN_POINTER - 2, _SHOWN_POINTER)  # an escape
                return pointer[: broken if broken > 0 else _SHOWN_POINTER]
        return pointer


class Refusal(Mismatch):
    """A mismatch with its own message."""

    def __init__(self, problem: str) -> None:
        super().__init__("", None)
        self._problem = problem

    def problem(self) -> str:
        return self._problem


def _escape(step: str | int) -> str:
    """Return a key or an index as a token of a pointer. RFC 6901 section 3"""
    token = str(step)[:_SHOWN_POINTER].replace("~", "~0").replace("/", "~1")
    return quote(token, safe=_IN_FRAGMENT, errors="backslashreplace")


def show(value: object) -> str:
    """Return a JSON value for a message: at most 80 characters, "an object" or "an array"."""
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None or isinstance(value, (bool, int, float)):
        return encode_json(value).decode()[:_SHOWN_CHARACTERS]
    if isinstance(value, (date, time, Decimal)):
        return _quote(str(value))
    return type(value).__qualname__


def _quote(text: str) -> str:
    return encode_json(text[:_SHOWN_CHARACTERS]).decode()


# --- readers --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """The reader of one type: `convert` returns the converted value, or raises `Mismatch`.

    A union chooses its alternative by the other attributes. `takes` is the container (`list` or
    `dict`) that it reads, if any; `fits` returns whether a container has the right outline, None if
    any has. `scalars` are the classes of the other values that it may read. `tags` are the readers
    of an object's `Literal` and Enum members.
    """

    expected: str
    convert: Convert
    takes: type | None = None
    fits: Callable[[Any], bool] | None = None
    tags: dict[str, Reader] = field(default_factory=dict)
    scalars: frozenset[type] = frozenset()


def _exactly(kind: type, expected: str) -> Reader:
    def convert_exactly(value: object) -> object:
        if type(value) is not kind:  # isinstance(True, int) is true
            raise Mismatch(expected, value)
        return value

    return Reader(expected, convert_exactly, scalars=frozenset((kind,)))


def checked(reader: Reader, checks: Sequence[Callable[[Any], None]]) -> Reader:
    """Return a reader that calls `checks` with the converted value; each may raise Mismatch."""
    convert = reader.convert

    def convert_checked(value: object) -> object:
        converted = convert(value)
        for check in checks:
            check(converted)
        return converted

    return replace(reader, convert=convert_checked)


def container(kind: type, expected: str, convert_container: Convert) -> Reader:
    def convert_checked(value: object) -> object:
        if not isinstance(value, kind):
            raise Mismatch(expected, value)
        return convert_container(value)

    return Reader(expected, convert_checked, takes=kind)


def _parsed(parse: Callable[[str], object], expected: str) -> Reader:
    def convert_parsed(value: object) -> object:
        if not isinstance(value, str):
            raise Mismatch(expected, value)
        try:
            return parse(value)
        except ValueError as error:
            raise Mismatch(expected, value) from error

    return Reader(expected, convert_parsed, scalars=frozenset((str,)))


def _same(value: object) -> object:
    return value


def _integer(value: object) -> int:
    # The integers of other languages and of databases. Python folds the bounds to constants.
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    raise Mismatch("an integer" if type(value) is not int else "an integer of 64 bits", value)


def _float(value: object) -> float:
    if type(value) is float:
        return value
    if type(value) is not int:
        raise Mismatch("a number", value)
    try:
        return float(value)
    except OverflowError as error:
        raise Mismatch("a number that a float can hold", value) from error


def _uuid(text: str) -> UUID:
    uuid = UUID(text)
    if str(uuid) != text.lower():  # UUID() also accepts braces, "urn:" and misplaced hyphens
        raise ValueError("not in the form of RFC 9562 section 4")
    return uuid


def _decimal(value: object) -> Decimal:
    if type(value) is int:
        return Decimal(value)
    if type(value) is float:
        return Decimal(repr(value))  # 0.1 as in the body, not the digits of the nearest float
    # Decimal() also accepts spaces, underscores, "NaN" and the digits of any script.
    if not isinstance(value, str) or _DECIMAL.fullmatch(value) is None:
        raise Mismatch("a decimal number", value)
    try:
        number = Decimal(value)
    except InvalidOperation as error:
        raise Mismatch("a decimal number", value) from error
    if abs(number.adjusted()) > _MAX_DECIMAL_DIGITS:
        raise Mismatch(f"a decimal number of at most {_MAX_DECIMAL_DIGITS} digits", value)
    return number


def one_of(choices: dict[object, object]) -> Reader:
    """Return the reader that maps a key of `choices` to its value; 1, 1.0 and True differ."""
    table = {(type(key), key): choice for key, choice in choices.items()}
    expected = " or ".join(map(show, choices))[:_SHOWN_CHARACTERS]

    def fits(value: object) -> bool:
        return not isinstance(value, (dict, list)) and (type(value), value) in table

    def convert_choice(value: object) -> object:
        if not fits(value):
            raise Mismatch(expected, value)
        return table[type(value), value]

    classes = frozenset([kind for kind, _ in table])
    return Reader(expected, convert_choice, fits=fits, scalars=classes)


PLAIN: dict[type, Reader] = {
    object: Reader("anything", _same),
    str: _exactly(str, "a string"),
    int: Reader("an integer", _integer, scalars=frozenset((int,))),
    float: Reader("a number", _float, scalars=frozenset((int, float))),
    bool: _exactly(bool, "a boolean"),
    NoneType: _exactly(NoneType, "null"),
    dict: container(dict, "an object", _same),
    list: container(list, "an array", _same),
    tuple: container(list, "an array", lambda value: tuple(value)),  # type: ignore[arg-type]
    datetime: _parsed(datetime.fromisoformat, "a date and time in ISO 8601"),
    date: _parsed(date.fromisoformat, "a date in ISO 8601"),
    time: _parsed(time.fromisoformat, "a time in ISO 8601"),
    UUID: _parsed(_uuid, "a UUID"),
    Decimal: Reader("a decimal number", _decimal, scalars=frozenset((int, float, str))),
}


class Outline:
    """The members of an object. They are added later, so that a class can refer to itself."""

    def __init__(self) -> None:
        self._members: list[tuple[str, Convert, bool]] = []
        self._required: set[str] = set()
        self.tags: dict[str, Reader] = {}

    def add(self, name: str, reader: Reader, is_required: bool) -> None:
        self._members.append((name, reader.convert, is_required))
        if is_required:
            self._required.add(name)
        if reader.fits is not None and reader.takes is None:
            self.tags[name] = reader

    def fits(self, value: dict[str, object]) -> bool:
        """Return whether the object has all required members and the tags match."""
        return value.keys() >= self._required and all(
            name not in value or _is_tagged(value, name, tag) for name, tag in self.tags.items()
        )

    def read(self, value: object) -> JSONObject:
        """Return the members of `value`, converted; unknown keys are left out. Raises: Mismatch."""
        if not isinstance(value, dict):
            raise Mismatch("an object", value)
        members = JSONObject()
        name = ""
        try:
            for name, convert_member, is_required in self._members:
                if name in value:
                    members[name] = convert_member(value[name])
                elif is_required:
                    raise Refusal("missing")
        except Mismatch as mismatch:
            mismatch.add_step(name)
            mismatch.read_rest(self._members_after(name, value))
            raise
        return members

    def _members_after(
        self, last: str, value: dict[str, object]
    ) -> Iterator[tuple[str, Convert, object]]:
        names = [each for each, _, _ in self._members]
        for name, convert_member, is_required in self._members[names.index(last) + 1 :]:
            if name in value:
                yield name, convert_member, value[name]
            elif is_required:
                yield name, _refuse_missing, None


def _refuse_missing(value: object) -> Never:
    raise Refusal("missing")


# --- containers -----------------------------------------------------------------------


def choose(readers: list[Reader], value: Any, expected: str) -> Reader:
    """Return the reader for `value`, an array or an object. Raises: Mismatch."""
    if len(readers) == 1:
        return readers[0]
    for reader in readers:
        if reader.fits is None or reader.fits(value):
            return reader
    tagged = [
        reader
        for reader in readers
        if reader.tags and all(_is_tagged(value, *named) for named in reader.tags.items())
    ]
    if len(tagged) == 1:
        return tagged[0]  # its refusal names the member that does not match
    for name in readers[0].tags:
        if name in value and all(name in reader.tags for reader in readers):
            tags = " or ".join(reader.tags[name].expected for reader in readers)
            mismatch = Mismatch(tags, value[name])
            mismatch.add_step(name)
            raise mismatch
    raise Refusal(f"expected {expected}, got {show(value)} of another shape")


def _is_tagged(value: dict[str, object], name: str, tag: Reader) -> bool:
    return name in value and tag.fits is not None and tag.fits(value[name])


def list_of(convert_item: Convert) -> Callable[[Any], list[object]]:
    def convert_items(value: list[object]) -> list[object]:
        items: list[object] = []
        try:
            for item in value:
                items.append(convert_item(item))
        except Mismatch as mismatch:
            done = len(items)
            mismatch.add_step(done)
            rest = enumerate(value[done + 1 :], done + 1)
            mismatch.read_rest((index, convert_item, item) for index, item in rest)
            raise
        return items

    return convert_items


def dict_of(convert_member: Convert) -> Callable[[Any], JSONObject]:
    def convert_members(value: dict[str, object]) -> JSONObject:
        members = JSONObject()
        key = ""
        try:
            for key, member in value.items():
                members[key] = convert_member(member)
        except Mismatch as mismatch:
            mismatch.add_step(key)
            rest = islice(value.items(), len(members) + 1, None)
            mismatch.read_rest((key, convert_member, member) for key, member in rest)
            raise
        return members

    return convert_members


def tuple_of(converts: list[Convert]) -> Reader:
    expected = f"an array of length {len(converts)}"

    def convert_items(value: Any) -> object:
        if len(value) != len(converts):
            raise Refusal(f"expected {expected}, got one of length {len(value)}")
        items: list[object] = []
        try:
            for convert_item, item in zip(converts, value, strict=True):
                items.append(convert_item(item))
        except Mismatch as mismatch:
            done = len(items)
            mismatch.add_step(done)
            mismatch.read_rest(
                (done + after, convert_item, item)
                for after, (convert_item, item) in enumerate(
                    zip(converts[done + 1 :], value[done + 1 :], strict=True), 1
                )
            )
            raise
        return tuple(items)

    checked = container(list, expected, convert_items)
    return Reader(expected, checked.convert, list, lambda value: len(value) == len(converts))
