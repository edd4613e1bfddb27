"""Typed JSON bodies: check a parsed value against a type, and convert it.

A type is compiled once to nested readers of `json_readers`, one for each of its parts. The reader
of a class is registered before its members are compiled, so a class can refer to itself.

A union never backtracks. The JSON type of a value, then its tags (`Literal` and Enum members) and
its required keys, choose one alternative, whose error is final. A trial of each alternative would
take exponential time for classes that refer to each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, Flag
from functools import lru_cache, partial
from types import FrameType, NoneType, UnionType
from typing import (
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    is_typeddict,
    overload,
)

from ..errors import ConfigurationError, HTTPError, UnprocessableContent
from ..faults import Fault
from .annotations import bare, is_alias, metadata_of, value_of
from .class_members import (
    Member,
    check_constructor,
    check_keys,
    has_members,
    is_closed,
    is_named_tuple,
    members_of,
    substituted,
)
from .constraints import annotated_alternatives_of, checks_for, limits_of
from .containers import ARRAYS, OBJECTS, type_of_items, type_of_members
from .foreign import faults_in, foreign_reader, is_foreign
from .json_readers import (
    PLAIN,
    Reader,
    bounded,
    checked,
    choose,
    container,
    dict_of,
    flags_of,
    hashed,
    list_of,
    mapped,
    one_of,
    tuple_of,
)
from .local_classes import remember_classes_of_callers
from .mismatches import Convert, Mismatch, Refusal, token_of
from .outlines import Outline

T = TypeVar("T")

_MAX_DEPTH = 100
_KEEPING = [PLAIN[kind] for kind in (object, dict, list, tuple, set, frozenset)]
_SHOWN_CHARACTERS = 200


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

    It is built once for each type. `kind` may consist of dict, list, tuple, set, deque and their
    base classes, dataclasses, attrs classes, TypedDicts, NamedTuples, str, int, float, bool, None,
    Any, Literal, unions, Enums (by value), datetime, date, time and timedelta (ISO 8601), UUID,
    Decimal and bytes (base64). An int is accepted as a float; no other type is coerced.
    A union takes the first alternative that fits: for objects, by the required keys and by the
    `Literal` and Enum members.

    Raises: ConfigurationError for any other type.
    """
    return _built(kind)[0]


def reads_all(kind: object) -> bool:
    """Return whether the converter of a type keeps no object of the JSON value in its result."""
    return _built(kind)[1]


def _built(kind: object) -> tuple[Callable[[object], Any], bool]:
    try:
        # Unions in another order are equal, but the order decides which alternative is taken.
        return _cached(kind, "" if isinstance(kind, type) else repr(kind))
    except TypeError:  # unhashable, as Annotated[int, {}] is
        return _build(kind)


def converter_near(kind: type[T], frame: FrameType) -> tuple[Callable[[object], T], bool]:
    """Return `converter_for(kind)` and `reads_all(kind)`.

    The annotations of `kind` may name classes that are local to `frame`, which is the caller's, and
    those that are local to the functions which called it.
    """
    try:
        return _built(kind)
    except ConfigurationError:
        remember_classes_of_callers(frame)
        return _built(kind)


@lru_cache(maxsize=1024)
def _cached(kind: object, order: str) -> tuple[Convert, bool]:
    return _build(kind)


def _build(kind: object) -> tuple[Convert, bool]:
    compiler = _Compiler()
    read = compiler.reader_of(kind).convert
    is_recursive = compiler.is_recursive

    def converter(value: object) -> object:
        try:
            if is_recursive:
                _check_depth(value)
            converted = read(value)
        except RecursionError as error:
            raise _too_deep() from error
        if isinstance(converted, Mismatch):
            raise UnprocessableContent(faults=converted.faults()) from converted.cause
        return converted

    return converter, compiler.reads_all


def _check_depth(value: object) -> None:
    """Raise UnprocessableContent if a value has too many levels of arrays and objects.

    Only a recursive type can have so many. The stack would allow some more, but not always as many.
    """
    level = [value]
    for _ in range(_MAX_DEPTH + 1):
        level = [
            each
            for outer in level
            if isinstance(outer, (dict, list))
            for each in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> UnprocessableContent:
    problem = f"expected at most {_MAX_DEPTH} levels of arrays and objects, got more"
    return UnprocessableContent(faults=[Fault("body", "#", problem)])


# --- types to readers -----------------------------------------------------------------


class _Compiler:
    """Builds the reader of one type, and of each type in it."""

    def __init__(self) -> None:
        self._begun: dict[object, Reader] = {}
        self._open: set[object] = set()  # the types whose members are being compiled
        self.is_recursive = False
        self.reads_all = True  # no reader returns an object or array as it is

    def reader_of(self, kind: object) -> Reader:
        """Return the reader of a type, with the constraints in its metadata."""
        checks = checks_for(kind)
        reader = self._unchecked_reader(bare(kind))
        if reader in _KEEPING or is_foreign(bare(kind)):
            self.reads_all = False
        if not checks:
            return reader
        return bounded(checked(reader, checks), bare(kind), limits_of(metadata_of(kind)))

    def _unchecked_reader(self, kind: object) -> Reader:
        origin, arguments = get_origin(kind), get_args(kind)
        if is_alias(kind) or is_alias(origin):
            return self._alias_reader(kind)
        if (origin or kind) in ARRAYS:
            return self._array_reader(origin or kind, arguments)
        if (origin or kind) in OBJECTS:
            return self._object_reader(kind, origin or kind, arguments)
        if origin is None:
            return self._class_reader(kind)
        if origin in (Union, UnionType):
            return self._union_reader(kind)
        if origin is Literal:
            return one_of([(_json_form(choice, kind), choice) for choice in arguments])
        if origin is tuple and not hasattr(kind, "__args__"):
            return PLAIN[tuple]  # typing.Tuple without arguments
        if origin is tuple and arguments[1:] == (...,):
            convert_items = list_of(self.reader_of(arguments[0]))
            return container(list, "an array", mapped(convert_items, tuple))
        if origin is tuple:
            return tuple_of([self.reader_of(argument).convert for argument in arguments])
        if has_members(origin) or (isinstance(origin, type) and is_named_tuple(origin)):
            return self._class_reader(kind)
        raise _unknown(kind)

    def _array_reader(self, cls: object, arguments: Sequence[object]) -> Reader:
        make = ARRAYS[cls]
        if not arguments and make in PLAIN:
            return PLAIN[make]
        item = type_of_items(arguments)
        convert_items = list_of(self.reader_of(item))
        if make is list:
            return container(list, "an array", convert_items)
        if make is deque:
            return container(list, "an array", mapped(convert_items, deque))
        if getattr(get_origin(bare(item)) or bare(item), "__hash__", None) is None:
            raise ConfigurationError(
                f"a set can't hold {bare(item)}, which has no hash: use a list, or a dataclass "
                "with frozen=True"
            )
        return container(list, "an array", mapped(convert_items, partial(hashed, make)))

    def _object_reader(self, kind: object, cls: object, arguments: Sequence[object]) -> Reader:
        make: Callable[[Any], object] | None = OBJECTS[cls]
        if make is None:
            raise ConfigurationError(f"{kind} can only be written: read a dict[str, T]")
        if arguments and bare(arguments[0]) is not str:
            raise ConfigurationError(
                f"expected str as the keys of an object, got {kind!s:.80}: read a dict[str, T], "
                "and convert its keys"
            )
        if not arguments and make in PLAIN:
            return PLAIN[make]
        convert_members = dict_of(self.reader_of(type_of_members(cls, arguments)).convert)
        if make is dict:
            return container(dict, "an object", convert_members)
        return container(dict, "an object", mapped(convert_members, make))

    def _class_reader(self, kind: object) -> Reader:
        """Return the reader of a class, or of a generic class with its types."""
        cls = get_origin(kind) or kind
        if not isinstance(cls, type):
            raise _unknown(kind)
        if cls in PLAIN:
            return PLAIN[cls]
        if kind in self._begun:
            self.is_recursive = self.is_recursive or kind in self._open
            return self._begun[kind]
        if issubclass(cls, Flag):
            return flags_of(cls)
        if issubclass(cls, Enum):
            return one_of([(_json_form(member, kind), member) for member in cls])
        if has_members(cls):
            return self._members_reader(kind, cls)
        if is_named_tuple(cls):
            return self._named_tuple_reader(kind, cls)
        if is_foreign(cls):
            return Reader("an object", _refusing(foreign_reader(cls)), dict)
        raise _unknown(kind)

    def _members_reader(self, kind: object, cls: Any) -> Reader:
        outline = Outline(is_closed=is_closed(cls))
        built: list[Convert] = []  # a member may be of this class, which is not built yet
        late = Reader("an object", lambda value: built[0](value), dict, outline.fits, outline.tags)
        self._begun[kind] = late
        self._open.add(kind)
        members = [each for each in self._members_of(kind) if each.argument is not None]
        for each in members:
            assert each.argument is not None
            outline.add(each.key, each.argument, self._reader_in(cls, each), each.is_required)
        check_keys(cls, members)
        if not is_typeddict(cls):
            check_constructor(cls, members)
        self._open.discard(kind)
        built.append(outline.reader(None if is_typeddict(cls) else cls))
        reader = self._begun[kind] = late._replace(convert=built[0])
        return reader

    def _named_tuple_reader(self, kind: object, cls: Any) -> Reader:
        members = self._members_of(kind)
        required = sum(each.is_required for each in members)
        converts: list[Convert] = [PLAIN[object].convert] * len(members)
        reader = tuple_of(converts, lambda items: cls(*items), required)
        self._begun[kind] = reader
        self._open.add(kind)
        converts[:] = [self._reader_in(cls, each).convert for each in members]
        self._open.discard(kind)
        return reader

    def _members_of(self, kind: object) -> list[Member]:
        return members_of(kind, [each for each in self._begun if isinstance(each, type)])

    def _reader_in(self, cls: type, member: Member) -> Reader:
        try:
            return self.reader_of(member.kind)
        except ConfigurationError as error:
            raise ConfigurationError(f"{cls.__qualname__}.{member.name}: {error}") from error

    def _alias_reader(self, kind: object) -> Reader:
        """Return the reader of an alias by the statement `type`, which may refer to itself."""
        if kind in self._begun:
            self.is_recursive = self.is_recursive or kind in self._open
            return self._begun[kind]
        alias = get_origin(kind) or kind
        target: list[Reader] = []
        self._begun[kind] = Reader(str(alias), lambda value: target[0].convert(value))
        self._open.add(kind)
        bound = dict(zip(getattr(alias, "__type_params__", ()), get_args(kind), strict=False))
        target.append(self.reader_of(substituted(value_of(alias), bound)))
        self._begun[kind] = target[0]
        self._open.discard(kind)
        return target[0]

    def _union_reader(self, kind: object) -> Reader:
        readers = [self.reader_of(each) for each in annotated_alternatives_of(kind)]
        anything = PLAIN[object]
        if anything in readers:
            return anything
        arrays = [reader for reader in readers if reader.takes is list]
        objects = [reader for reader in readers if reader.takes is dict]
        # Only readers for the value's class are tried, because a refusal takes ten times as long.
        scalars: dict[type, list[Convert]] = {
            kind: [reader.convert for reader in readers if kind in reader.scalars]
            for kind in (str, int, float, bool, NoneType)
        }
        scalars[float] = scalars[float] or scalars[int]  # of an int, which may be 1.0
        for readers_of_one in (arrays, objects):
            if any(reader.fits is None for reader in readers_of_one[:-1]):
                raise ConfigurationError(
                    f"expected alternatives that JSON can distinguish, got {kind}: put the union "
                    "inside (list[A | B]), or give each class a Literal member with another value"
                )
        expected = " or ".join(dict.fromkeys(reader.expected for reader in readers))

        def convert_union(value: object) -> object:
            converts = scalars.get(type(value), ())
            if len(converts) == 1:
                return converts[0](value)  # its refusal says more, such as a constraint
            readers_of_one = objects if isinstance(value, dict) else arrays
            if isinstance(value, (dict, list)) and readers_of_one:
                chosen = choose(readers_of_one, value, expected)
                return chosen if isinstance(chosen, Mismatch) else chosen.convert(value)
            for convert_scalar in converts:
                converted = convert_scalar(value)
                if not isinstance(converted, Mismatch):
                    return converted
            return Mismatch(expected, value)

        # A test is right only if no other alternative reads values of the same classes.
        tests = [
            f"({reader.test})"
            for reader in readers
            if reader.test and all(scalars[each] == [reader.convert] for each in reader.scalars)
        ]
        return Reader(expected, convert_union, test=" or ".join(tests))


# --- types ----------------------------------------------------------------------------


def _json_form(choice: object, kind: object) -> object:
    value = choice.value if isinstance(choice, Enum) else choice
    if value is None or type(value) in (str, int, float, bool):
        return value
    raise ConfigurationError(
        f"expected str, int, float, bool or None as the values of {kind}, got {value!r:.80}"
    )


def _refusing(read: Convert) -> Convert:
    """Return a function that calls `read` of another library, and returns its errors as ours."""

    def convert(value: object) -> object:
        try:
            return read(value)
        except HTTPError:
            raise
        except (TypeError, ValueError) as error:
            return _refusal_of(error)

    return convert


def _refusal_of(error: Exception) -> Mismatch:
    """Return the refusal with all faults in an error of another library."""
    refusals: list[Mismatch] = []
    for steps, problem in faults_in(error):
        refusal = Refusal(problem)
        refusal.steps = [token_of(f"{step}") for step in steps]
        refusals.append(refusal)
    first, *others = refusals
    first.others, first.cause = others, error
    return first


def _unknown(kind: object) -> ConfigurationError:
    if isinstance(kind, TypeVar):
        return ConfigurationError(f"expected a type for {kind}: name it, as in Page[int]")
    name = kind.__qualname__ if isinstance(kind, type) else str(kind)
    return ConfigurationError(
        f"expected a type that can be read from JSON, got {name:.80}: use dict, list, tuple, set, "
        "a dataclass, an attrs class, a TypedDict, a NamedTuple, str, int, float, bool, None, "
        "Literal, an Enum, datetime, date, time, timedelta, UUID, Decimal or bytes"
    )
