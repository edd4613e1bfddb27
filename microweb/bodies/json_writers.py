"""Typed JSON responses: write only the members that an endpoint's return annotation declares.

A type is compiled once to nested writers. A dataclass or a TypedDict writes its declared members
only: a subclass, or a dict with more keys, adds nothing to the response. For any other class, a
value must be an instance of it, or a scalar. For `object`, the value's own class decides.

A union chooses its alternative by the class of the value, and never backtracks.
"""

from __future__ import annotations

import sys
from collections import abc
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import is_dataclass
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

from ..concurrency.annotated import annotations_of
from .annotations import (
    AWAITED,
    alternatives_of,
    bare,
    expanded_alternatives_of,
    is_alias,
    value_of,
)
from .class_members import Bound, attributes_of, bindings_of, has_members, is_attrs, key_of
from .containers import type_of_items, type_of_members
from .foreign import foreign_writer, is_foreign, is_plain_struct, is_struct
from .json import UNENCODABLE, encode_json, text_encoder
from .json_texts import Text, text_of
from .local_classes import classes_beside
from .writers import (
    ANYTHING,
    ARRAYS,
    SCALARS,
    Alias,
    Array,
    Choice,
    Items,
    Keys,
    Members,
    Object,
    UnionWriter,
    Writer,
    is_one,
    iterated,
)

Default = Callable[[object], object]  # `json_default` of an app

_SHOWN_CHARACTERS = 80

_ARRAY_TYPES = (abc.Sequence, abc.MutableSequence, abc.Set, abc.Collection, abc.Iterable)
_OBJECT_TYPES = (abc.Mapping, abc.MutableMapping)
_UNRESOLVABLE = (NameError, TypeError, AttributeError, SyntaxError)


class DeclaredWriter:
    """Writes the values that a type declares. Called, it converts a value to the JSON form.

    It raises TypeError for a value that the type does not declare.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._texts: tuple[Default | None, Text] | None = None  # for the last `default`

    def __call__(self, value: object) -> object:
        if type(value) is self._writer.unchecked:
            return value
        try:
            return self._writer.of(value)
        except RecursionError as error:
            raise ValueError(UNENCODABLE) from error

    def encode(self, value: object, default: Default | None) -> bytes:
        """Return a value as JSON. Raises: as `encode_json`."""
        if self._writer.write is None:  # nothing is converted
            return encode_json(self(value), default)
        texts = self._texts
        if texts is None or texts[0] is not default:
            texts = self._texts = default, text_of(self._writer, text_encoder(default))
        try:
            return texts[1](value).encode("utf-8", "backslashreplace")
        except RecursionError as error:
            raise ValueError(UNENCODABLE) from error


def writer_for(kind: object) -> DeclaredWriter | None:
    """Return the writer of the values that `kind` declares; None if it allows any value.

    `kind` is the return annotation of an endpoint; a str is one that can't be resolved. For a tuple
    (value, status, headers) the first item counts.
    """
    alternatives = [_content_of(each) for each in expanded_alternatives_of(kind)]
    writer = _Compiler().union(alternatives, {})
    return None if writer is ANYTHING else DeclaredWriter(writer)


def _content_of(kind: object) -> object:
    """Return the type of an endpoint's content: (value, status, headers) -> value."""
    kind, arguments = bare(kind), get_args(bare(kind))
    if get_origin(kind) is tuple and len(arguments) in (2, 3):  # also tuple[value, ...]
        return arguments[0]
    if get_origin(kind) in AWAITED:
        return arguments[-1]
    return object if kind is tuple or kind in AWAITED else kind


class _Compiler:
    """Builds the writer of one type, and of each type in it."""

    def __init__(self) -> None:
        self._begun: dict[object, Members] = {}
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
            return Choice(str(kind), lambda value: value in arguments)
        cls = origin if isinstance(origin, type) else kind
        if cls is object or not isinstance(cls, type):
            return ANYTHING
        if is_typeddict(cls):
            return self._members(Keys, kind, cls, bound, lambda value: isinstance(value, dict))
        if is_dataclass(cls) or is_attrs(cls) or (is_struct(cls) and is_plain_struct(cls)):
            return self._members(Members, kind, cls, bound, lambda value: isinstance(value, cls))
        if cls is tuple:
            return self._tuple(arguments, bound)
        if issubclass(cls, tuple) and hasattr(cls, "_fields"):
            return self._members(Items, kind, cls, bound, lambda value: isinstance(value, cls))
        if cls in _ARRAY_TYPES or issubclass(cls, ARRAYS):
            return self._array(arguments, bound)
        if cls in _OBJECT_TYPES or issubclass(cls, dict):
            return self._object(type_of_members(cls, arguments), bound)
        if is_foreign(cls):
            write = foreign_writer(cls)
            if is_struct(cls):
                return Writer(cls.__qualname__, lambda value: type(value) is cls, write)
            return Writer(cls.__qualname__, lambda value: isinstance(value, cls), write)
        name = "None" if cls is NoneType else cls.__qualname__
        return Writer(name, lambda value: is_one(value, cls), is_scalar=cls in SCALARS)

    def union(self, kinds: Sequence[object], bound: Bound) -> Writer:
        writers: list[Writer] = []
        for kind in kinds:
            writer = self.writer_of(kind, bound)
            writers += writer.writers if isinstance(writer, UnionWriter) else [writer]
        if len(writers) == 1:
            return writers[0]
        expected = " | ".join(dict.fromkeys(writer.expected for writer in writers))
        if any(writer.write is not None for writer in writers):
            return UnionWriter(expected, writers)
        if ANYTHING in writers:
            return ANYTHING
        return Writer(
            expected,
            lambda value: any(each.matches(value) for each in writers),
            is_scalar=all(each.is_scalar for each in writers),
        )

    def _alias(self, kind: object, bound: Bound) -> Writer:
        bound, alias = bindings_of(kind, bound), get_origin(kind) or kind
        key = (alias, *bound.values())
        if key not in self._aliases:
            inside = self._aliases[key] = Alias(str(alias))
            inside.target = self._aliases[key] = self.writer_of(value_of(alias), bound)
            if isinstance(inside.target, UnionWriter):
                inside.target.expected = inside.expected
        return self._aliases[key]

    def _members(
        self,
        make: type[Members],
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
        writer.prepare()
        return writer

    def _array(self, arguments: Sequence[object], bound: Bound) -> Writer:
        item = self.writer_of(type_of_items(arguments), bound)
        if item is ANYTHING:
            return Writer("a list", lambda value: isinstance(value, ARRAYS), unchecked=list)

        if item.write is not None:
            return Array(item)
        return Writer(
            f"a list of {item.expected}",
            lambda value: isinstance(value, ARRAYS) and item.matches_all(value),
        )

    def _object(self, kind: object, bound: Bound) -> Writer:
        member = self.writer_of(kind, bound)
        if member is ANYTHING:
            return Writer("a dict", lambda value: isinstance(value, dict), unchecked=dict)

        if member.write is not None:
            return Object(member)
        return Writer(
            f"a dict of {member.expected}",
            lambda value: isinstance(value, dict) and member.matches_all(value.values()),
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
                item.of(each) for item, each in zip(items, iterated(value), strict=True)
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
            if has_members(type(value)) or isinstance(value, (dict, *ARRAYS)):
                raise TypeError(
                    f"the return annotation {text[:_SHOWN_CHARACTERS]!r} can't be resolved, so the "
                    "declared members are unknown: import its class at the top of the module, not "
                    "under TYPE_CHECKING, or annotate `object`"
                )
            return value

        return Writer(text, lambda value: True, write)


# --- types ----------------------------------------------------------------------------


def _hints_of(cls: type) -> dict[str, object]:
    """Return the annotations of a class by name. An annotation that can't be resolved is a str."""
    with suppress(*_UNRESOLVABLE):
        return get_type_hints(cls, include_extras=True)
    hints: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        local = classes_beside(base) | dict(vars(base))
        scope = vars(sys.modules[base.__module__]) if base.__module__ in sys.modules else {}
        for name, hint in annotations_of(base).items():
            hints[name] = hint
            alone = SimpleNamespace(__annotations__={name: hint})
            with suppress(*_UNRESOLVABLE):
                hints[name] = get_type_hints(alone, scope, local, include_extras=True)[name]
    return hints
