"""Typed JSON bodies: a parsed value checked against a type, and converted to it.

A type is compiled once to nested closures, one for each of its parts; a class that holds itself
finds its own closure, begun and not yet filled. A part that refuses raises `_Mismatch`, and each
container that it passes adds its step, so that places like `$.items[2].price` cost nothing until
something is wrong.

A union never goes back: a value's JSON type, then its tags (`Literal` and Enum members) and its
required keys, choose one alternative, whose error is final. Trying the alternatives in turn would
take exponential time for classes that hold each other.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NewType,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
    overload,
)
from uuid import UUID

from microweb.errors import ConfigurationError, HTTPError, UnprocessableContent
from microweb.jsoncodec import JSONObject, encode_json

T = TypeVar("T")
_Convert = Callable[[object], object]

_SHOWN_CHARACTERS = 80

# As many as `int` reads of a string, since `int(Decimal("1e999999999"))` would fill the memory.
_MAX_DECIMAL_DIGITS = 4300
_DECIMAL = re.compile(r"-?[0-9]++(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?")


# --- public ---------------------------------------------------------------------------


def convert(value: object, kind: type[T]) -> T:
    """Return `value`, as `parse_json` gives it, converted to `kind`.

    Keys that `kind` doesn't name are left out.

    Raises: UnprocessableContent (422), whose detail says the place, what was expected and what it
    got, and whose member `place` is the place; ConfigurationError for a type that JSON can't be
    read as.
    """
    return converter_for(kind)(value)


@overload
def converter_for(kind: type[T]) -> Callable[[object], T]: ...
@overload
def converter_for(kind: object) -> Callable[[object], object]: ...
def converter_for(kind: object) -> Callable[[object], object]:
    """Return what converts a value to `kind` as `convert` does, built once for each type.

    `kind` is made of dict, list, tuple, dataclasses, TypedDicts, str, int, float, bool, None, Any,
    Literal, unions, Enums (by value), datetime, date and time (ISO 8601), UUID and Decimal. An int
    is accepted as float; else nothing is coerced. A union takes the first alternative that fits:
    an object by its required keys, and its `Literal` and Enum members.

    Raises: ConfigurationError for any other type.
    """
    try:
        # Unions are equal in whatever order, but the order means something.
        return _cached_converter(kind, "" if isinstance(kind, type) else repr(kind))
    except TypeError:  # unhashable, as Annotated[int, {}] is
        return _build_converter(kind)


@lru_cache(maxsize=1024)
def _cached_converter(kind: object, order: str) -> _Convert:
    return _build_converter(kind)


def _build_converter(kind: object) -> _Convert:
    read = _Compiler().reader_of(kind).convert

    def converter(value: object) -> object:
        try:
            return read(value)
        except _Mismatch as mismatch:
            place = mismatch.place()
            raise UnprocessableContent(f"{place}: {mismatch.problem()}", place=place) from mismatch
        except RecursionError as error:
            raise UnprocessableContent("$: nested too deeply", place="$") from error

    return converter


# --- what is wrong, and where ---------------------------------------------------------


class _Mismatch(Exception):
    """A value is not what it should be. `steps` is the way to it, the innermost first."""

    def __init__(self, expected: str, value: object) -> None:
        self.expected = expected
        self.value = value
        self.steps: list[str | int] = []

    def problem(self) -> str:
        return f"expected {self.expected}, got {_show(self.value)}"

    def place(self) -> str:
        return "$" + "".join(map(_show_step, reversed(self.steps)))


class _Refusal(_Mismatch):
    """A mismatch in words of its own."""

    def __init__(self, problem: str) -> None:
        super().__init__("", None)
        self._problem = problem

    def problem(self) -> str:
        return self._problem


def _show(value: object) -> str:
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None or isinstance(value, (bool, int, float)):
        return encode_json(value).decode()[:_SHOWN_CHARACTERS]
    return type(value).__qualname__


def _quote(text: str) -> str:
    return encode_json(text[:_SHOWN_CHARACTERS]).decode()


def _show_step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    is_plain = len(step) <= _SHOWN_CHARACTERS and step.isascii() and step.isidentifier()
    return f".{step}" if is_plain else f"[{_quote(step)}]"


# --- readers --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Reader:
    """What reads one type: `convert` returns the value, or raises `_Mismatch`.

    For a union to choose by: `takes` is the container (`list` or `dict`) that it reads, if it
    reads one, and `fits` tells whether such a container has its outline; None: any has. `tags`
    are the readers of an object's `Literal` and Enum members.
    """

    expected: str
    convert: _Convert
    takes: type | None = None
    fits: Callable[[Any], bool] | None = None
    tags: dict[str, _Reader] = field(default_factory=dict)


def _exactly(kind: type, expected: str) -> _Reader:
    def convert_exactly(value: object) -> object:
        if type(value) is not kind:  # a bool is an int to isinstance
            raise _Mismatch(expected, value)
        return value

    return _Reader(expected, convert_exactly)


def _container(kind: type, expected: str, convert_container: _Convert) -> _Reader:
    def convert_checked(value: object) -> object:
        if not isinstance(value, kind):
            raise _Mismatch(expected, value)
        return convert_container(value)

    return _Reader(expected, convert_checked, takes=kind)


def _parsed(parse: Callable[[str], object], expected: str) -> _Reader:
    def convert_parsed(value: object) -> object:
        if not isinstance(value, str):
            raise _Mismatch(expected, value)
        try:
            return parse(value)
        except ValueError as error:
            raise _Mismatch(expected, value) from error

    return _Reader(expected, convert_parsed)


def _same(value: object) -> object:
    return value


def _float(value: object) -> float:
    if type(value) is float:
        return value
    if type(value) is not int:
        raise _Mismatch("a number", value)
    try:
        return float(value)
    except OverflowError as error:
        raise _Mismatch("a number that a float can hold", value) from error


def _uuid(text: str) -> UUID:
    uuid = UUID(text)
    if str(uuid) != text.lower():  # UUID() takes braces, "urn:" and stray hyphens too
        raise ValueError("not in the form of RFC 9562 section 4")
    return uuid


def _decimal(value: object) -> Decimal:
    if type(value) is int:
        return Decimal(value)
    if type(value) is float:
        return Decimal(repr(value))  # 0.1 as it was written, not the float nearest to it
    # Decimal() takes spaces, underscores, "NaN" and the digits of any script too.
    if not isinstance(value, str) or _DECIMAL.fullmatch(value) is None:
        raise _Mismatch("a decimal number", value)
    try:
        number = Decimal(value)
    except InvalidOperation as error:
        raise _Mismatch("a decimal number", value) from error
    if abs(number.adjusted()) > _MAX_DECIMAL_DIGITS:
        raise _Mismatch(f"a decimal number of at most {_MAX_DECIMAL_DIGITS} digits", value)
    return number


def _one_of(choices: dict[object, object]) -> _Reader:
    """Return what reads a key of `choices` as its value; 1, 1.0 and True are three keys."""
    table = {(type(key), key): choice for key, choice in choices.items()}
    expected = " or ".join(map(_show, choices))[:_SHOWN_CHARACTERS]

    def fits(value: object) -> bool:
        return not isinstance(value, (dict, list)) and (type(value), value) in table

    def convert_choice(value: object) -> object:
        if not fits(value):
            raise _Mismatch(expected, value)
        return table[type(value), value]

    return _Reader(expected, convert_choice, fits=fits)


_PLAIN: dict[type, _Reader] = {
    object: _Reader("anything", _same),
    str: _exactly(str, "a string"),
    int: _exactly(int, "an integer"),
    float: _Reader("a number", _float),
    bool: _exactly(bool, "a boolean"),
    NoneType: _exactly(NoneType, "null"),
    dict: _container(dict, "an object", _same),
    list: _container(list, "an array", _same),
    tuple: _container(list, "an array", lambda value: tuple(value)),  # type: ignore[arg-type]
    datetime: _parsed(datetime.fromisoformat, "a date and time in ISO 8601"),
    date: _parsed(date.fromisoformat, "a date in ISO 8601"),
    time: _parsed(time.fromisoformat, "a time in ISO 8601"),
    UUID: _parsed(_uuid, "a UUID"),
    Decimal: _Reader("a decimal number", _decimal),
}


class _Outline:
    """The members of an object. It is filled after it is known, so that a class can hold itself."""

    def __init__(self) -> None:
        self._members: list[tuple[str, _Convert, bool]] = []
        self._required: set[str] = set()
        self.tags: dict[str, _Reader] = {}

    def add(self, name: str, reader: _Reader, is_required: bool) -> None:
        self._members.append((name, reader.convert, is_required))
        if is_required:
            self._required.add(name)
        if reader.fits is not None and reader.takes is None:
            self.tags[name] = reader

    def fits(self, value: dict[str, object]) -> bool:
        """Tell whether all required members are there, and those that are tags are right."""
        return value.keys() >= self._required and all(
            name not in value or _is_tagged(value, name, tag) for name, tag in self.tags.items()
        )

    def read(self, value: object) -> JSONObject:
        """Return the converted members that `value` has. Raises: _Mismatch."""
        if not isinstance(value, dict):
            raise _Mismatch("an object", value)
        members = JSONObject()
        name = ""
        try:
            for name, convert_member, is_required in self._members:
                if name in value:
                    members[name] = convert_member(value[name])
                elif is_required:
                    raise _Refusal("missing")
        except _Mismatch as mismatch:
            mismatch.steps.append(name)
            raise
        return members


# --- types to readers -----------------------------------------------------------------


class _Compiler:
    """Makes the reader of one type, and of each type in it."""

    def __init__(self) -> None:
        self._begun: dict[type, _Reader] = {}

    def reader_of(self, kind: object) -> _Reader:
        kind = _bare(kind)
        origin = get_origin(kind)
        arguments = get_args(kind)
        if origin is None:
            return self._class_reader(kind)
        if origin in (Union, UnionType):
            return self._union_reader(kind)
        if origin is Literal:
            return _one_of({_json_form(choice, kind): choice for choice in arguments})
        if origin in (list, dict, tuple) and not hasattr(kind, "__args__"):
            return _PLAIN[origin]  # typing.List, which ought to be written list
        if origin is list:
            return _container(list, "an array", _list_of(self.reader_of(arguments[0]).convert))
        if origin is dict and _bare(arguments[0]) is str:
            return _container(dict, "an object", _dict_of(self.reader_of(arguments[1]).convert))
        if origin is tuple and arguments[1:] == (...,):
            convert_items = _list_of(self.reader_of(arguments[0]).convert)
            return _container(list, "an array", lambda value: tuple(convert_items(value)))
        if origin is tuple:
            return _tuple_of([self.reader_of(argument).convert for argument in arguments])
        raise _unknown(kind)

    def _class_reader(self, kind: object) -> _Reader:
        if not isinstance(kind, type):
            raise _unknown(kind)
        if kind in _PLAIN:
            return _PLAIN[kind]
        if kind in self._begun:
            return self._begun[kind]
        if issubclass(kind, Enum):
            return _one_of({_json_form(member, kind): member for member in kind})
        if is_typeddict(kind):
            return self._typed_dict_reader(kind)
        if is_dataclass(kind):
            return self._dataclass_reader(kind)
        raise _unknown(kind)

    def _typed_dict_reader(self, cls: Any) -> _Reader:
        outline = _Outline()
        reader = _Reader("an object", outline.read, dict, outline.fits, outline.tags)
        self._begun[cls] = reader
        for name, hint in _hints_of(cls, self._begun).items():
            # Before `Required` and `NotRequired` in a string, `__required_keys__` is blind.
            qualifiers = set(_qualifiers_of(hint))
            is_required = name in cls.__required_keys__ and NotRequired not in qualifiers
            self._add(cls, outline, name, hint, is_required or Required in qualifiers)
        return reader

    def _dataclass_reader(self, cls: type) -> _Reader:
        outline = _Outline()

        def convert_object(value: object) -> object:
            members = outline.read(value)
            try:
                return cls(**members)
            except HTTPError:
                raise
            except (TypeError, ValueError) as error:  # from its __post_init__
                raise _Refusal(str(error) or "refused") from error

        reader = _Reader("an object", convert_object, dict, outline.fits, outline.tags)
        self._begun[cls] = reader
        hints = _hints_of(cls, self._begun)
        defaults = {
            member.name: member.default is not MISSING or member.default_factory is not MISSING
            for member in fields(cls)
            if member.init
        }
        for name, has_default in defaults.items():
            self._add(cls, outline, name, hints[name], is_required=not has_default)
        _check_constructor(cls, defaults)
        return reader

    def _add(
        self, cls: type, outline: _Outline, name: str, hint: object, is_required: bool
    ) -> None:
        try:
            reader = self.reader_of(hint)
        except ConfigurationError as error:
            raise ConfigurationError(f"{cls.__qualname__}.{name}: {error}") from error
        outline.add(name, reader, is_required)

    def _union_reader(self, kind: object) -> _Reader:
        readers = [self.reader_of(alternative) for alternative in _alternatives(kind)]
        anything = _PLAIN[object]
        if anything in readers:
            return anything
        accepts_null = _PLAIN[NoneType] in readers
        arrays = [reader for reader in readers if reader.takes is list]
        objects = [reader for reader in readers if reader.takes is dict]
        scalars = [reader.convert for reader in readers if reader.takes is None]
        for readers_of_one in (arrays, objects):
            if any(reader.fits is None for reader in readers_of_one[:-1]):
                raise ConfigurationError(
                    f"{kind} has alternatives that JSON can't tell apart: put the union inside "
                    "(list[A | B]), or tell objects apart by a Literal member"
                )
        expected = " or ".join(dict.fromkeys(reader.expected for reader in readers))

        def convert_union(value: object) -> object:
            if value is None and accepts_null:
                return None
            if isinstance(value, dict) and objects:
                return _chosen(objects, value, expected).convert(value)
            if isinstance(value, list) and arrays:
                return _chosen(arrays, value, expected).convert(value)
            for convert_scalar in scalars:
                try:
                    return convert_scalar(value)
                except _Mismatch:
                    continue
            raise _Mismatch(expected, value)

        return _Reader(expected, convert_union)


def _chosen(readers: list[_Reader], value: Any, expected: str) -> _Reader:
    """Return the one of `readers` that an array or an object is for. Raises: _Mismatch."""
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
        return tagged[0]  # which then says what else is wrong
    for name in readers[0].tags:
        if name in value and all(name in reader.tags for reader in readers):
            tags = " or ".join(reader.tags[name].expected for reader in readers)
            mismatch = _Mismatch(tags, value[name])
            mismatch.steps.append(name)
            raise mismatch
    raise _Refusal(f"expected {expected}, got {_show(value)} of another shape")


def _is_tagged(value: dict[str, object], name: str, tag: _Reader) -> bool:
    return name in value and tag.fits is not None and tag.fits(value[name])


def _list_of(convert_item: _Convert) -> Callable[[Any], list[object]]:
    def convert_items(value: list[object]) -> list[object]:
        items: list[object] = []
        try:
            for item in value:
                items.append(convert_item(item))
        except _Mismatch as mismatch:
            mismatch.steps.append(len(items))
            raise
        return items

    return convert_items


def _dict_of(convert_member: _Convert) -> Callable[[Any], JSONObject]:
    def convert_members(value: dict[str, object]) -> JSONObject:
        members = JSONObject()
        key = ""
        try:
            for key, member in value.items():
                members[key] = convert_member(member)
        except _Mismatch as mismatch:
            mismatch.steps.append(key)
            raise
        return members

    return convert_members


def _tuple_of(converts: list[_Convert]) -> _Reader:
    expected = f"an array of length {len(converts)}"

    def convert_items(value: Any) -> object:
        if len(value) != len(converts):
            raise _Refusal(f"expected {expected}, got one of length {len(value)}")
        items: list[object] = []
        try:
            for convert_item, item in zip(converts, value, strict=True):
                items.append(convert_item(item))
        except _Mismatch as mismatch:
            mismatch.steps.append(len(items))
            raise
        return tuple(items)

    checked = _container(list, expected, convert_items)
    return _Reader(expected, checked.convert, list, lambda value: len(value) == len(converts))


# --- types ----------------------------------------------------------------------------

_QUALIFIERS = (Annotated, Required, NotRequired, getattr(typing, "ReadOnly", Required))  # 3.13


def _bare(kind: object) -> object:
    """Return `kind` without what means nothing here: Annotated, NewType, Required..."""
    while True:
        if kind is Any:
            return object
        if kind is None:
            return NoneType
        if isinstance(kind, NewType):
            kind = kind.__supertype__
        elif _is_qualified(kind):
            kind = get_args(kind)[0]
        else:
            return kind


def _is_qualified(kind: object) -> bool:
    return get_origin(kind) in _QUALIFIERS


def _qualifiers_of(kind: object) -> Iterator[object]:
    while _is_qualified(kind):
        yield get_origin(kind)
        kind = get_args(kind)[0]


def _alternatives(kind: object) -> Iterator[object]:
    kind = _bare(kind)
    if get_origin(kind) in (Union, UnionType):
        for alternative in get_args(kind):
            yield from _alternatives(alternative)
    else:
        yield kind


def _json_form(choice: object, kind: object) -> object:
    value = choice.value if isinstance(choice, Enum) else choice
    if value is None or type(value) in (str, int, float, bool):
        return value
    raise ConfigurationError(f"{kind} has the value {value!r}, which JSON can't hold")


def _hints_of(cls: type, begun: Iterable[type]) -> dict[str, object]:
    try:
        try:
            return get_type_hints(cls, include_extras=True)
        except NameError:  # a class in a function isn't found among its module's names
            local = {known.__name__: known for known in begun}
            local |= {name: value for name, value in vars(cls).items() if isinstance(value, type)}
            return get_type_hints(cls, localns=local, include_extras=True)
    except (AttributeError, NameError, SyntaxError, TypeError) as error:
        raise ConfigurationError(
            f"{cls.__qualname__} has an annotation that can't be resolved ({error}): "
            "define what it names at the top level of the module"
        ) from error


def _check_constructor(cls: type, defaults: dict[str, bool]) -> None:
    """Check that the fields are what `cls` is made of. Raises: ConfigurationError."""
    required = [name for name, has_default in defaults.items() if not has_default]
    try:
        signature = inspect.signature(cls)
        signature.bind(**dict.fromkeys(defaults))
        signature.bind(**dict.fromkeys(required))
    except TypeError as error:
        raise ConfigurationError(
            f"{cls.__qualname__} can't be made of its fields ({error}): give each InitVar, and "
            "each argument of its own __init__, a default"
        ) from error


def _unknown(kind: object) -> ConfigurationError:
    name = kind.__qualname__ if isinstance(kind, type) else str(kind)
    return ConfigurationError(
        f"JSON can't be read as {name}: use dict, list, tuple, a dataclass, a TypedDict, str, int, "
        "float, bool, None, Literal, an Enum, datetime, date, time, UUID or Decimal"
    )
