"""Readers: each checks a JSON value against one type, and converts it.

A reader refuses a value by returning a `Mismatch`. Each container adds its step to it, so a pointer
such as `#/items/2/price` costs nothing if all values match. After the first mismatch, a container
reads the rest only to find the other mismatches. `json_types` combines these readers to the reader
of any type.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from enum import Flag
from types import MappingProxyType, NoneType
from typing import Any, NamedTuple
from uuid import UUID

from ..http.durations import parse_duration
from .collisions import has_collisions
from .json_containers import JSONObject
from .mismatches import SHOWN_CHARACTERS, Convert, Mismatch, Refusal, joined, show, token_of

# As many digits as `int` reads, because `int(Decimal("1e999999999"))` would fill the memory.
_MAX_DECIMAL_DIGITS = 4300
_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1
_IN_64_BITS = f"type({{0}}) is int and {_MIN_INT} <= {{0}} <= {_MAX_INT}"
_DECIMAL = re.compile(r"-?[0-9]++(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?")

# --- readers --------------------------------------------------------------------------


class Reader(NamedTuple):
    """The reader of one type: `convert` returns the converted value, or a `Mismatch`.

    A union chooses its alternative by the other attributes. `takes` is the container (`list` or
    `dict`) that it reads, if any; `fits` returns whether a container has the right outline, None if
    any has. `scalars` are the classes of the other values that it may read. `tags` are the readers
    of an object's `Literal` and Enum members.

    `test` is a Python expression that is true only for values that `convert` returns unchanged,
    with `{0}` for the value. A generated function evaluates it in place of a call.
    """

    expected: str
    convert: Convert
    takes: type | None = None
    fits: Callable[[Any], bool] | None = None
    tags: Mapping[str, Reader] = MappingProxyType({})
    scalars: frozenset[type] = frozenset()
    test: str = ""


def _exactly(kind: type, expected: str, test: str) -> Reader:
    def convert_exactly(value: object) -> object:
        # isinstance(True, int) is true
        return value if type(value) is kind else Mismatch(expected, value)

    return Reader(expected, convert_exactly, scalars=frozenset((kind,)), test=test)


def checked(reader: Reader, checks: Sequence[Callable[[Any], Mismatch | None]]) -> Reader:
    """Return a reader that calls `checks` with the converted value."""
    convert = reader.convert

    def convert_checked(value: object) -> object:
        converted = convert(value)
        if isinstance(converted, Mismatch):
            return converted
        for check in checks:
            mismatch = check(converted)
            if mismatch is not None:
                return mismatch
        return converted

    return reader._replace(convert=convert_checked, test="")


def mapped(convert: Convert, make: Callable[[Any], object]) -> Convert:
    """Return a function that calls `make` with the converted value."""

    def convert_and_make(value: object) -> object:
        converted = convert(value)
        return converted if isinstance(converted, Mismatch) else make(converted)

    return convert_and_make


def bounded(reader: Reader, kind: object, limits: Sequence[tuple[str, Any]]) -> Reader:
    """Return a reader that accepts the values within `limits` in one step.

    `reader` checks the same limits. A text with two limits takes 0.1 us, and 0.45 by `checked`.
    Return `reader` itself for other types and constraints.
    """
    test = _test_of(kind, limits)
    if not test:
        return reader
    source = f"lambda value: value if {test.format('value')} else convert(value)"
    return reader._replace(convert=eval(source, {"convert": reader.convert}), test=test)


def _test_of(kind: object, limits: Sequence[tuple[str, Any]]) -> str:
    """Return the test of the values of a type within `limits`, empty if there is none."""
    given = dict(limits)
    if len(given) < len(limits) or not all(map(_is_small, given.values())):
        return ""
    if kind is str and given.keys() <= {"min_length", "max_length"}:
        shortest, longest = given.get("min_length", 0), given.get("max_length", _MAX_INT)
        return f"type({{0}}) is str and {shortest} <= len({{0}}) <= {longest}"
    if kind not in (int, float) or not given.keys() <= _OPERATORS.keys():
        return ""
    bounds = [f" and {{0}} {_OPERATORS[name]} {limit}" for name, limit in given.items()]
    return PLAIN[kind].test + "".join(bounds)


_OPERATORS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def _is_small(limit: object) -> bool:
    return type(limit) is int and _MIN_INT <= limit <= _MAX_INT


def container(kind: type, expected: str, convert_container: Convert, test: str = "") -> Reader:
    def convert_kind(value: object) -> object:
        return convert_container(value) if isinstance(value, kind) else Mismatch(expected, value)

    return Reader(expected, convert_kind, takes=kind, test=test)


def _parsed(parse: Callable[[str], object], expected: str) -> Reader:
    def convert_parsed(value: object) -> object:
        if not isinstance(value, str):
            return Mismatch(expected, value)
        try:
            return parse(value)
        except ValueError:
            return Mismatch(expected, value)

    return Reader(expected, convert_parsed, scalars=frozenset((str,)))


def _same(value: object) -> object:
    return value


def _integer(value: object) -> int | Mismatch:
    # The integers of other languages and of databases. Python folds the bounds to constants.
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    if type(value) is float and value.is_integer() and -(2**63) <= value < 2**63:
        return int(value)  # JSON has one kind of number, and so has JSON Schema: 1.0 is an integer
    is_whole = type(value) is int or (type(value) is float and value.is_integer())
    return Mismatch("an integer of 64 bits" if is_whole else "an integer", value)


def _float(value: object) -> float | Mismatch:
    if type(value) is float:
        return value
    if type(value) is not int:
        return Mismatch("a number", value)
    try:
        return float(value)
    except OverflowError:
        return Mismatch("a number that a float can hold", value)


def _bytes(text: str) -> bytes:
    return a2b_base64(text, strict_mode=True)


def _uuid(text: str) -> UUID:
    uuid = UUID(text)
    if str(uuid) != text.lower():  # UUID() also accepts braces, "urn:" and misplaced hyphens
        raise ValueError("not in the form of RFC 9562 section 4")
    return uuid


def _decimal(value: object) -> Decimal | Mismatch:
    if type(value) is int:
        return Decimal(value)
    if type(value) is float:
        return Decimal(repr(value))  # 0.1 as in the body, not the digits of the nearest float
    # Decimal() also accepts spaces, underscores, "NaN" and the digits of any script.
    if not isinstance(value, str) or _DECIMAL.fullmatch(value) is None:
        return Mismatch("a decimal number", value)
    try:
        number = Decimal(value)
    except InvalidOperation:
        return Mismatch("a decimal number", value)
    if abs(number.adjusted()) > _MAX_DECIMAL_DIGITS:
        return Mismatch(f"a decimal number of at most {_MAX_DECIMAL_DIGITS} digits", value)
    return number


def one_of(choices: Sequence[tuple[object, object]]) -> Reader:
    """Return the reader of the values in JSON that `choices` pairs with those in Python.

    1 and 1.0 are the same number, as for `int` and in JSON Schema; 1 and True differ.
    """
    table = {_typed(key): choice for key, choice in choices}
    expected = " or ".join(show(key) for key, _ in choices)[:SHOWN_CHARACTERS]

    def fits(value: object) -> bool:
        return not isinstance(value, (dict, list)) and _typed(value) in table

    def convert_choice(value: object) -> object:
        return table[_typed(value)] if fits(value) else Mismatch(expected, value)

    classes = frozenset([kind for kind, _ in table])
    return Reader(expected, convert_choice, fits=fits, scalars=classes)


def _typed(value: object) -> tuple[type, object]:
    """Return a key for a table: equal values of different types differ, except 1 and 1.0."""
    if type(value) is float and value.is_integer():
        return int, int(value)
    return type(value), value


def flags_of(cls: type[Flag]) -> Reader:
    """Return the reader of a Flag from the integer of any combination of its members."""
    every = sum(member.value for member in cls)
    names = " | ".join(str(member.value) for member in cls)
    expected = f"a combination of {names}"[:SHOWN_CHARACTERS]

    def convert_flags(value: object) -> object:
        number: Any = PLAIN[int].convert(value)
        if isinstance(number, Mismatch):
            return number
        # `number & ~every` is also true if it is negative.
        return Mismatch(expected, value) if number & ~every else cls(number)

    return Reader(expected, convert_flags, scalars=frozenset((int,)))


PLAIN: dict[Any, Reader] = {
    object: Reader("anything", _same, test="True"),
    str: _exactly(str, "a string", "type({0}) is str"),
    int: Reader("an integer", _integer, scalars=frozenset((int,)), test=_IN_64_BITS),
    float: Reader("a number", _float, scalars=frozenset((int, float)), test="type({0}) is float"),
    bool: _exactly(bool, "a boolean", "type({0}) is bool"),
    NoneType: _exactly(NoneType, "null", "{0} is None"),
    dict: container(dict, "an object", _same, "isinstance({0}, dict)"),
    list: container(list, "an array", _same, "isinstance({0}, list)"),
    tuple: container(list, "an array", lambda value: tuple(value)),  # type: ignore[arg-type]
    set: container(list, "an array", lambda value: hashed(set, value)),
    frozenset: container(list, "an array", lambda value: hashed(frozenset, value)),
    datetime: _parsed(datetime.fromisoformat, "a date and time in ISO 8601"),
    date: _parsed(date.fromisoformat, "a date in ISO 8601"),
    time: _parsed(time.fromisoformat, "a time in ISO 8601"),
    UUID: _parsed(_uuid, "a UUID"),
    Decimal: Reader("a decimal number", _decimal, scalars=frozenset((int, float, str))),
    timedelta: _parsed(parse_duration, "a duration in ISO 8601"),
    bytes: _parsed(_bytes, "bytes in base64"),
}


# --- containers -----------------------------------------------------------------------


def choose(readers: list[Reader], value: Any, expected: str) -> Reader | Mismatch:
    """Return the reader for `value`, an array or an object, or the mismatch of `value`."""
    if len(readers) == 1:
        return readers[0]
    for reader in readers:
        if reader.fits is None or reader.fits(value):
            return reader
    tagged = [
        reader
        for reader in readers
        if reader.tags and all(is_tagged(value, *named) for named in reader.tags.items())
    ]
    if len(tagged) == 1:
        return tagged[0]  # its refusal names the member that does not match
    for name in readers[0].tags:
        if name in value and all(name in reader.tags for reader in readers):
            tags = " or ".join(reader.tags[name].expected for reader in readers)
            return joined(None, Mismatch(tags, value[name]), token_of(name))
    return Refusal(f"expected {expected}, got {show(value)} of another shape")


def is_tagged(value: dict[str, object], name: str, tag: Reader) -> bool:
    """Return whether the member `name` of an object is one of the values of its tag."""
    return name in value and tag.fits is not None and tag.fits(value[name])


# The reader of an array: generated, so that the test of its items needs no call.
_ITEMS = """\
def convert_items(value):
    items = []
    found = None
    for item in value:
        if not ({test}):
            item = convert(item)
            if isinstance(item, Mismatch):
                found = joined(found, item, len(items))
                if found.is_full:
                    return found
        items.append(item)
    return items if found is None else found
"""


def list_of(item: Reader) -> Convert:
    """Return the function that converts the items of an array to a list."""
    scope: dict[str, Any] = {"convert": item.convert, "Mismatch": Mismatch, "joined": joined}
    exec(_ITEMS.format(test=item.test.format("item") or "False"), scope)
    convert_items: Convert = scope["convert_items"]
    return convert_items


def hashed(make: Callable[[Any], object], items: Any) -> object:
    """Return a set of `items`, which may have duplicates.

    Return a Mismatch for arrays in it, and for items that were chosen for their hashes.
    """
    try:
        if has_collisions(items):
            return Refusal("expected items of a set with different hashes")
        return make(items)
    except TypeError:
        return Refusal("expected items that are no arrays or objects")


def dict_of(convert_member: Convert) -> Convert:
    """Return the function that converts the members of an object to a JSONObject."""

    def convert_members(value: Any) -> object:
        members = JSONObject()
        found: Mismatch | None = None
        for key, member in value.items():
            converted = convert_member(member)
            if isinstance(converted, Mismatch):
                found = joined(found, converted, token_of(key))
                if found.is_full:
                    return found
            members[key] = converted
        return members if found is None else found

    return convert_members


def tuple_of(
    converts: Sequence[Convert],
    make: Callable[[list[object]], object] = tuple,
    required: int | None = None,
) -> Reader:
    """Return the reader of an array with a reader for each item; the last ones may be missing.

    `make` makes the result, `required` is the smallest length, by default that of `converts`.
    """
    longest = len(converts)
    shortest = longest if required is None else required
    expected = f"an array of length {longest}"
    if shortest < longest:
        expected = f"an array of length {shortest} to {longest}"

    def fits(value: list[object]) -> bool:
        return shortest <= len(value) <= longest

    def convert_items(value: Any) -> object:
        if not fits(value):
            return Refusal(f"expected {expected}, got one of length {len(value)}")
        items: list[object] = []
        found: Mismatch | None = None
        for convert_item, item in zip(converts, value, strict=False):
            converted = convert_item(item)
            if isinstance(converted, Mismatch):
                found = joined(found, converted, len(items))
                if found.is_full:
                    return found
            items.append(converted)
        return make(items) if found is None else found

    return Reader(expected, container(list, expected, convert_items).convert, list, fits)
