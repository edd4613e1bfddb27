"""Typed JSON responses: write only the members that an endpoint's return annotation declares.

A type is compiled once to nested writers. A dataclass or a TypedDict writes its declared members
only: a subclass, or a dict with more keys, adds nothing to the response. For any other class, a
value must be an instance of it, or a scalar. For `object`, the value's own class decides.

A union chooses its alternative by the class of the value, and never backtracks.
"""

from __future__ import annotations

import sys
from collections import abc, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType, SimpleNamespace, UnionType
from typing import (
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)
from uuid import UUID

from .annotations import alternatives_of, bare, expanded_alternatives_of, is_alias, value_of
from .class_members import Bound, attributes_of, bindings_of, has_members, is_attrs, key_of
from .json import UNENCODABLE
from .local_classes import classes_beside

Write = Callable[[object], object]

_SHOWN_CHARACTERS = 80

_ARRAYS = (list, tuple, set, frozenset, deque)
_ARRAY_TYPES = (abc.Sequence, abc.MutableSequence, abc.Set, abc.Collection, abc.Iterable)
_OBJECT_TYPES = (abc.Mapping, abc.MutableMapping)
_AWAITED = (abc.Awaitable, abc.Coroutine)  # annotations of a `def` that returns a coroutine
# Values of exactly these classes are written unchecked: they can't add undeclared members.
_SCALARS = frozenset(
    (NoneType, bool, int, float, str, date, datetime, time, timedelta, Decimal, UUID, bytes)
)
_SCALAR_CLASSES = tuple(_SCALARS)

_UNRESOLVABLE = (NameError, TypeError, AttributeError, SyntaxError)


def writer_for(kind: object) -> Write | None:
    """Return a function that converts a value to the JSON form that `kind` declares.

    `kind` is the return annotation of an endpoint; a str is one that can't be resolved. For a tuple
    (value, status, headers) the first item counts. Return None if `kind` allows any value.

    The function raises TypeError for a value that `kind` does not declare.
    """
    alternatives = [_content_of(each) for each in expanded_alternatives_of(kind)]
    writer = _Compiler().union(alternatives, {})
    if writer is ANYTHING:
        return None
    unchecked = writer.unchecked

    def write_declared(value: object) -> object:
        if type(value) is unchecked:
            return value
        try:
            return writer.of(value)
        except RecursionError as error:
            raise ValueError(UNENCODABLE) from error

    return write_declared


def _content_of(kind: object) -> object:
    """Return the type of an endpoint's content: (value, status, headers) -> value."""
    kind, arguments = bare(kind), get_args(bare(kind))
    if get_origin(kind) is tuple and len(arguments) in (2, 3):  # also tuple[value, ...]
        return arguments[0]
    if get_origin(kind) in _AWAITED:
        return arguments[-1]
    return object if kind is tuple or kind in _AWAITED else kind


class Writer:
    """The writer of one type. `write` is None if its values are sent unchanged.

    A value whose class is exactly `unchecked` is sent unchanged and unchecked.
    """

    def __init__(
        self,
        expected: str,
        matches: Callable[[object], bool],
        write: Write | None = None,
        *,
        unchecked: type | None = None,
    ) -> None:
        self.expected = expected
        self.matches = matches
        self.write = write
        self.unchecked = unchecked

    def of(self, value: object) -> object:
        """Return the JSON form. Raises: TypeError for a value of another type."""
        if type(value) in _SCALARS:
            return value
        if not self.matches(value):
            raise _mismatch(self.expected, value)
        return value if self.write is None else self.write(value)

    def matches_all(self, values: Iterable[object]) -> bool:
        """Return whether all values match; this takes 3 ms for 100,000 scalars."""
        if self.write is None and _SCALARS.issuperset(map(type, values)):
            return True
        return all(map(self.matches, values))


ANYTHING = Writer("anything", lambda value: True)


class _Members(Writer):
    """Writes the declared members of a dataclass or a TypedDict, which may refer to itself."""

    def __init__(self, kind: type, expected: str, matches: Callable[[object], bool]) -> None:
        super().__init__(expected, matches, self._write)
        self.kind = kind
        self.members: list[tuple[str, str, Writer]] = []  # attribute, key, writer
        self.required: frozenset[str] = frozenset()  # of a TypedDict

    def _write(self, value: object) -> object:
        members = [(key, getattr(value, name), writer) for name, key, writer in self.members]
        return {
            key: member if type(member) in _SCALARS else writer.of(member)
            for key, member, writer in members
        }


class _Keys(_Members):
    def _write(self, value: object) -> object:
        assert isinstance(value, dict)
        return {key: writer.of(value[name]) for name, key, writer in self.members if name in value}

    def fits(self, value: object) -> bool:
        """Return whether a dict has the required keys, and allowed values for `Literal` keys."""
        if not isinstance(value, dict) or not value.keys() >= self.required:
            return False
        return all(
            member.matches(value[name])
            for name, _, member in self.members
            if isinstance(member, _Choice) and name in value
        )


class _Items(_Members):
    """Writes the items of a NamedTuple by their declared types."""

    def _write(self, value: object) -> object:
        return [writer.of(getattr(value, name)) for name, _, writer in self.members]


class _Union(Writer):
    """Writes a union whose alternatives are not all sent unchanged."""

    def __init__(self, expected: str, writers: Sequence[Writer]) -> None:
        super().__init__(expected, lambda value: _choose(writers, value) is not None, self._write)
        self.writers = writers

    def _write(self, value: object) -> object:
        writer = _choose(self.writers, value)
        if writer is None:
            raise _mismatch(self.expected, value)
        return writer.of(value)


class _Alias(Writer):
    """The writer of an alias inside itself: of `Json` in `type Json = list[Json] | str`."""

    def __init__(self, name: str) -> None:
        super().__init__(name, lambda value: self.target.matches(value), self.of)
        self.target = ANYTHING  # replaced when the alias is compiled

    def of(self, value: object) -> object:
        return self.target.of(value)


class _Choice(Writer):
    """The writer of a Literal. Its values distinguish the alternatives of a union."""


class _Compiler:
    """Builds the writer of one type, and of each type in it."""

    def __init__(self) -> None:
        self._begun: dict[object, _Members] = {}
        self._aliases: dict[object, Writer] = {}

    def writer_of(self, kind: object, bound: Bound) -> Writer:
        kind = bare(bound.get(kind, kind) if isinstance(kind, TypeVar) else kind)
        if isinstance(kind, TypeVar):
            kind = kind.__bound__ or object
        origin, arguments = get_origin(kind), get_args(kind)
        if isinstance(kind, str):
            return self._unresolved(kind)
        if is_alias(kind) or is_alias(origin):
            return self._alias(kind, bound)
        if origin in (Union, UnionType):
            return self.union([*alternatives_of(kind)], bound)
        if origin is Literal:
            return _Choice(str(kind), lambda value: value in arguments)
        cls = origin if isinstance(origin, type) else kind
        if cls is object or not isinstance(cls, type):
            return ANYTHING
        if is_typeddict(cls):
            return self._members(_Keys, kind, cls, bound, lambda value: isinstance(value, dict))
        if is_dataclass(cls) or is_attrs(cls):
            return self._members(_Members, kind, cls, bound, lambda value: isinstance(value, cls))
        if cls is tuple:
            return self._tuple(arguments, bound)
        if issubclass(cls, tuple) and hasattr(cls, "_fields"):
            return self._members(_Items, kind, cls, bound, lambda value: isinstance(value, cls))
        if cls in _ARRAY_TYPES or issubclass(cls, _ARRAYS):
            return self._array(arguments, bound)
        if cls in _OBJECT_TYPES or issubclass(cls, dict):
            return self._object(arguments, bound)
        name = "None" if cls is NoneType else cls.__qualname__
        return Writer(name, lambda value: _is_one(value, cls))

    def union(self, kinds: Sequence[object], bound: Bound) -> Writer:
        writers: list[Writer] = []
        for kind in kinds:
            writer = self.writer_of(kind, bound)
            writers += writer.writers if isinstance(writer, _Union) else [writer]
        if len(writers) == 1:
            return writers[0]
        expected = " | ".join(dict.fromkeys(writer.expected for writer in writers))
        if any(writer.write is not None for writer in writers):
            return _Union(expected, writers)
        if ANYTHING in writers:
            return ANYTHING
        return Writer(expected, lambda value: any(each.matches(value) for each in writers))

    def _alias(self, kind: object, bound: Bound) -> Writer:
        bound, alias = bindings_of(kind, bound), get_origin(kind) or kind
        key = (alias, *bound.values())
        if key not in self._aliases:
            inside = self._aliases[key] = _Alias(str(alias))
            inside.target = self._aliases[key] = self.writer_of(value_of(alias), bound)
            if isinstance(inside.target, _Union):
                inside.target.expected = inside.expected
        return self._aliases[key]

    def _members(
        self,
        make: type[_Members],
        kind: object,
        cls: type,
        bound: Bound,
        matches: Callable[[object], bool],
    ) -> Writer:
        bound = bindings_of(kind, bound)
        key = (cls, *(bound.get(each) for each in getattr(cls, "__parameters__", ())))
        if key in self._begun:
            return self._begun[key]
        writer = self._begun[key] = make(cls, cls.__qualname__, matches)
        hints = _hints_of(cls)
        for name, argument in attributes_of(cls, hints):
            hint = hints.get(name, object)  # `collections.namedtuple` declares none
            on_the_wire = key_of(argument or name, hint)
            writer.members.append((name, on_the_wire, self.writer_of(hint, bound)))
        writer.required = getattr(cls, "__required_keys__", frozenset())
        return writer

    def _array(self, arguments: Sequence[object], bound: Bound) -> Writer:
        item = self.writer_of(arguments[0] if arguments else object, bound)
        if item is ANYTHING:
            return Writer("a list", lambda value: isinstance(value, _ARRAYS), unchecked=list)

        return Writer(
            f"a list of {item.expected}",
            lambda value: isinstance(value, _ARRAYS) and item.matches_all(value),
            None
            if item.write is None
            else lambda value: [item.of(each) for each in _iterated(value)],
        )

    def _object(self, arguments: Sequence[object], bound: Bound) -> Writer:
        member = self.writer_of(arguments[1] if arguments else object, bound)
        if member is ANYTHING:
            return Writer("a dict", lambda value: isinstance(value, dict), unchecked=dict)

        return Writer(
            f"a dict of {member.expected}",
            lambda value: isinstance(value, dict) and member.matches_all(value.values()),
            None
            if member.write is None
            else lambda value: {key: member.of(each) for key, each in _paired(value)},
        )

    def _tuple(self, arguments: Sequence[object], bound: Bound) -> Writer:
        if not arguments or arguments[-1] is ...:
            return self._array(arguments[:1], bound)
        items = [self.writer_of(each, bound) for each in arguments]

        def matches(value: object) -> bool:
            if not isinstance(value, (tuple, list)) or len(value) != len(items):
                return False
            return all(item.matches(each) for item, each in zip(items, value, strict=True))

        expected = f"a tuple of {', '.join(item.expected for item in items)}"
        if all(item.write is None for item in items):
            return Writer(expected, matches)
        return Writer(
            expected,
            matches,
            lambda value: [
                item.of(each) for item, each in zip(items, _iterated(value), strict=True)
            ],
        )

    def _unresolved(self, text: str) -> Writer:
        """Return the writer for an annotation that can't be resolved at runtime.

        If the value is an instance of a class with that name, that class is used. Any other
        dataclass, dict or list is a TypeError, because it may have undeclared members.
        """

        def write(value: object) -> object:
            named = [cls for cls in type(value).__mro__ if text in (cls.__name__, cls.__qualname__)]
            if named:
                return self.writer_of(named[0], {}).of(value)
            if has_members(type(value)) or isinstance(value, (dict, *_ARRAYS)):
                raise TypeError(
                    f"the return annotation {text[:_SHOWN_CHARACTERS]!r} can't be resolved, so the "
                    "declared members are unknown: import its class at the top of the module, not "
                    "under TYPE_CHECKING, or annotate `object`"
                )
            return value

        return Writer(text, lambda value: True, write)


def _choose(writers: Iterable[Writer], value: object) -> Writer | None:
    """Return the writer of the nearest class, or of the TypedDict with most required keys."""
    if has_members(type(value)):
        declared = {each.kind: each for each in writers if type(each) is _Members}
        nearest = [declared[cls] for cls in type(value).__mro__ if cls in declared]
        if nearest:
            return nearest[0]
    elif isinstance(value, dict):
        fitting = [each for each in writers if isinstance(each, _Keys) and each.fits(value)]
        if fitting:
            return max(fitting, key=lambda each: len(each.required))
    others = [
        each for each in writers if type(each) not in (_Members, _Keys) and each.matches(value)
    ]
    # An alternative that declares members comes before one that sends the value unchanged.
    return next((each for each in others if each.write is not None), others[0] if others else None)


def _is_one(value: object, cls: type) -> bool:
    """Return whether a value may be sent for `cls`, which declares no members; a scalar may."""
    if isinstance(value.value if isinstance(value, Enum) else value, _SCALAR_CLASSES):
        return True
    with suppress(TypeError):  # a Protocol that does not support isinstance
        return isinstance(value, cls)
    return True


def _iterated(value: object) -> Iterator[object]:
    assert isinstance(value, abc.Iterable)
    return iter(value)


def _paired(value: object) -> Iterable[tuple[object, object]]:
    assert isinstance(value, dict)
    return value.items()


def _mismatch(expected: str, value: object) -> TypeError:
    got = type(value).__qualname__
    if isinstance(value, (dict, *_ARRAYS)) and value:
        inside = value.values() if isinstance(value, dict) else value
        names = sorted({type(each).__qualname__ for each in inside})
        got = f"a {got} of {', '.join(names)[:_SHOWN_CHARACTERS]}"
    return TypeError(
        f"expected {expected} as annotated, got {got}: return a value of the annotated type, or "
        "change the return annotation; under `object` the whole value is sent"
    )


# --- types ----------------------------------------------------------------------------


def _hints_of(cls: type) -> dict[str, object]:
    """Return the annotations of a class by name. An annotation that can't be resolved is a str."""
    with suppress(*_UNRESOLVABLE):
        return get_type_hints(cls, include_extras=True)
    hints: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        local = classes_beside(base) | dict(vars(base))
        scope = vars(sys.modules[base.__module__]) if base.__module__ in sys.modules else {}
        for name, hint in vars(base).get("__annotations__", {}).items():
            hints[name] = hint
            alone = SimpleNamespace(__annotations__={name: hint})
            with suppress(*_UNRESOLVABLE):
                hints[name] = get_type_hints(alone, scope, local, include_extras=True)[name]
    return hints
