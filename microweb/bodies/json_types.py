"""Typed JSON bodies: check a parsed value against a type, and convert it.

A type is compiled once to nested readers of `json_readers`, one for each of its parts. The reader
of a class is registered before its members are compiled, so a class can refer to itself.

A union never backtracks. The JSON type of a value, then its tags (`Literal` and Enum members) and
its required keys, choose one alternative, whose error is final. A trial of each alternative would
take exponential time for classes that refer to each other.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import lru_cache
from types import FrameType, NoneType, UnionType
from typing import (
    Any,
    Literal,
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

from ..errors import ConfigurationError, HTTPError, UnprocessableContent
from ..faults import Fault
from .annotations import bare, qualifiers_of
from .constraints import annotated_alternatives_of, checks_for
from .json_readers import (
    PLAIN,
    Convert,
    Mismatch,
    Outline,
    Reader,
    Refusal,
    checked,
    choose,
    container,
    dict_of,
    list_of,
    one_of,
    tuple_of,
)
from .local_classes import classes_beside, remember_classes

T = TypeVar("T")


# --- public ---------------------------------------------------------------------------


def convert(value: object, kind: type[T]) -> T:
    """Return `value`, a result of `parse_json`, converted to `kind`. Ignore unknown keys.

    Raises: UnprocessableContent (422) with a fault for each place: its pointer, the expected and
    the received value; ConfigurationError for a type that can't be read from JSON.
    """
    return converter_for(kind)(value)


@overload
def converter_for(kind: type[T]) -> Callable[[object], T]: ...
@overload
def converter_for(kind: object) -> Callable[[object], object]: ...
def converter_for(kind: object) -> Callable[[object], object]:
    """Return a function that converts a value to `kind`, as `convert` does.

    It is built once for each type. `kind` may consist of dict, list, tuple, dataclasses,
    TypedDicts, str, int, float, bool, None, Any, Literal, unions, Enums (by value), datetime, date
    and time (ISO 8601), UUID and Decimal. An int is accepted as a float; no other type is coerced.
    A union takes the first alternative that fits: for objects, by the required keys and by the
    `Literal` and Enum members.

    Raises: ConfigurationError for any other type.
    """
    try:
        # Unions in another order are equal, but the order decides which alternative is taken.
        return _cached_converter(kind, "" if isinstance(kind, type) else repr(kind))
    except TypeError:  # unhashable, as Annotated[int, {}] is
        return _build_converter(kind)


def converter_near(kind: type[T], frame: FrameType) -> Callable[[object], T]:
    """Return `converter_for(kind)`. Its annotations may name classes that are local to `frame`.

    `frame` is the caller's.
    """
    try:
        return converter_for(kind)
    except ConfigurationError:
        remember_classes(frame)
        return converter_for(kind)


@lru_cache(maxsize=1024)
def _cached_converter(kind: object, order: str) -> Convert:
    return _build_converter(kind)


def _build_converter(kind: object) -> Convert:
    read = _Compiler().reader_of(kind).convert

    def converter(value: object) -> object:
        try:
            return read(value)
        except Mismatch as mismatch:
            raise UnprocessableContent(faults=mismatch.faults()) from mismatch
        except RecursionError as error:
            fault = Fault("body", "#", "nested too deeply")
            raise UnprocessableContent(faults=[fault]) from error

    return converter


# --- types to readers -----------------------------------------------------------------


class _Compiler:
    """Builds the reader of one type, and of each type in it."""

    def __init__(self) -> None:
        self._begun: dict[type, Reader] = {}

    def reader_of(self, kind: object) -> Reader:
        """Return the reader of a type, with the constraints in its metadata."""
        checks = checks_for(kind)
        reader = self._unchecked_reader(bare(kind))
        return checked(reader, checks) if checks else reader

    def _unchecked_reader(self, kind: object) -> Reader:
        origin = get_origin(kind)
        arguments = get_args(kind)
        if origin is None:
            return self._class_reader(kind)
        if origin in (Union, UnionType):
            return self._union_reader(kind)
        if origin is Literal:
            return one_of({_json_form(choice, kind): choice for choice in arguments})
        if origin in (list, dict, tuple) and not hasattr(kind, "__args__"):
            return PLAIN[origin]  # typing.List without arguments
        if origin is list:
            return container(list, "an array", list_of(self.reader_of(arguments[0]).convert))
        if origin is dict and bare(arguments[0]) is str:
            return container(dict, "an object", dict_of(self.reader_of(arguments[1]).convert))
        if origin is tuple and arguments[1:] == (...,):
            convert_items = list_of(self.reader_of(arguments[0]).convert)
            return container(list, "an array", lambda value: tuple(convert_items(value)))
        if origin is tuple:
            return tuple_of([self.reader_of(argument).convert for argument in arguments])
        raise _unknown(kind)

    def _class_reader(self, kind: object) -> Reader:
        if not isinstance(kind, type):
            raise _unknown(kind)
        if kind in PLAIN:
            return PLAIN[kind]
        if kind in self._begun:
            return self._begun[kind]
        if issubclass(kind, Enum):
            return one_of({_json_form(member, kind): member for member in kind})
        if is_typeddict(kind):
            return self._typed_dict_reader(kind)
        if is_dataclass(kind):
            return self._dataclass_reader(kind)
        raise _unknown(kind)

    def _typed_dict_reader(self, cls: Any) -> Reader:
        outline = Outline()
        reader = Reader("an object", outline.read, dict, outline.fits, outline.tags)
        self._begun[cls] = reader
        for name, hint in hints_of_class(cls, self._begun).items():
            # `__required_keys__` ignores `Required` and `NotRequired` in a string.
            qualifiers = set(qualifiers_of(hint))
            is_required = name in cls.__required_keys__ and NotRequired not in qualifiers
            self._add(cls, outline, name, hint, is_required or Required in qualifiers)
        return reader

    def _dataclass_reader(self, cls: type) -> Reader:
        outline = Outline()

        def convert_object(value: object) -> object:
            members = outline.read(value)
            try:
                return cls(**members)
            except HTTPError:
                raise
            except (TypeError, ValueError) as error:  # raised by its __post_init__
                raise Refusal(str(error) or "refused") from error

        reader = Reader("an object", convert_object, dict, outline.fits, outline.tags)
        self._begun[cls] = reader
        hints = hints_of_class(cls, self._begun)
        defaults = {
            member.name: member.default is not MISSING or member.default_factory is not MISSING
            for member in fields(cls)
            if member.init
        }
        for name, has_default in defaults.items():
            self._add(cls, outline, name, hints[name], is_required=not has_default)
        _check_constructor(cls, defaults)
        return reader

    def _add(self, cls: type, outline: Outline, name: str, hint: object, is_required: bool) -> None:
        try:
            reader = self.reader_of(hint)
        except ConfigurationError as error:
            raise ConfigurationError(f"{cls.__qualname__}.{name}: {error}") from error
        outline.add(name, reader, is_required)

    def _union_reader(self, kind: object) -> Reader:
        readers = [self.reader_of(each) for each in annotated_alternatives_of(kind)]
        anything = PLAIN[object]
        if anything in readers:
            return anything
        accepts_null = PLAIN[NoneType] in readers
        arrays = [reader for reader in readers if reader.takes is list]
        objects = [reader for reader in readers if reader.takes is dict]
        # Only readers for the value's class are tried, because a refusal takes ten times as long.
        scalars: dict[type, list[Convert]] = {
            kind: [reader.convert for reader in readers if kind in reader.scalars]
            for kind in (str, int, float, bool)
        }
        for readers_of_one in (arrays, objects):
            if any(reader.fits is None for reader in readers_of_one[:-1]):
                raise ConfigurationError(
                    f"expected alternatives that JSON can distinguish, got {kind}: put the union "
                    "inside (list[A | B]), or give each class a Literal member with another value"
                )
        expected = " or ".join(dict.fromkeys(reader.expected for reader in readers))

        def convert_union(value: object) -> object:
            if value is None and accepts_null:
                return None
            if isinstance(value, dict) and objects:
                return choose(objects, value, expected).convert(value)
            if isinstance(value, list) and arrays:
                return choose(arrays, value, expected).convert(value)
            for convert_scalar in scalars.get(type(value), ()):
                try:
                    return convert_scalar(value)
                except Mismatch:
                    continue
            raise Mismatch(expected, value)

        return Reader(expected, convert_union)


# --- types ----------------------------------------------------------------------------


def _json_form(choice: object, kind: object) -> object:
    value = choice.value if isinstance(choice, Enum) else choice
    if value is None or type(value) in (str, int, float, bool):
        return value
    raise ConfigurationError(
        f"expected str, int, float, bool or None as the values of {kind}, got {value!r:.80}"
    )


def hints_of_class(cls: type, begun: Iterable[type] = ()) -> dict[str, object]:
    """Return the annotations of a class by name. Raises: ConfigurationError if one is unknown.

    `begun` are classes that it may name too.
    """
    try:
        try:
            return get_type_hints(cls, include_extras=True)
        except NameError:  # the annotation may name a class that is local to a function
            local = classes_beside(cls) | {known.__name__: known for known in begun}
            local |= {name: value for name, value in vars(cls).items() if isinstance(value, type)}
            return get_type_hints(cls, localns=local, include_extras=True)
    except (AttributeError, NameError, SyntaxError, TypeError) as error:
        raise ConfigurationError(
            f"an annotation of {cls.__qualname__} can't be resolved ({error}): define the class "
            "that it names at the top level of the module"
        ) from error


def _check_constructor(cls: type, defaults: dict[str, bool]) -> None:
    """Raise ConfigurationError if `cls` can't be constructed from its fields alone."""
    required = [name for name, has_default in defaults.items() if not has_default]
    try:
        signature = inspect.signature(cls)
        signature.bind(**dict.fromkeys(defaults))
        signature.bind(**dict.fromkeys(required))
    except TypeError as error:
        raise ConfigurationError(
            f"{cls.__qualname__} can't be constructed from its fields ({error}): give each "
            "InitVar, and each other argument of its __init__, a default"
        ) from error


def _unknown(kind: object) -> ConfigurationError:
    name = kind.__qualname__ if isinstance(kind, type) else str(kind)
    return ConfigurationError(
        f"expected a type that can be read from JSON, got {name:.80}: use dict, list, tuple, a "
        "dataclass, a TypedDict, str, int, float, bool, None, Literal, an Enum, datetime, date, "
        "time, UUID or Decimal"
    )
