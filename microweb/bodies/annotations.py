"""Take the types apart that an annotation names: unions, and wrappers that JSON ignores."""

from __future__ import annotations

import typing
from collections import abc
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ForwardRef,
    NewType,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
)

# The origins of an annotation of a generator or stream, and of a function that returns a coroutine.
ITERATORS = (
    abc.AsyncGenerator,
    abc.AsyncIterator,
    abc.AsyncIterable,
    abc.Generator,
    abc.Iterator,
    abc.Iterable,
)
AWAITED = (abc.Awaitable, abc.Coroutine)

_QUALIFIERS = (Annotated, Required, NotRequired, getattr(typing, "ReadOnly", Required))  # 3.13


def bare(kind: object) -> object:
    """Return `kind` without wrappers: Annotated, NewType, Required, a string's ForwardRef...

    `Any` is `object`, and None is its class. An alias of the statement `type` stays an alias,
    because it may refer to itself.
    """
    while True:
        if kind is Any:
            return object
        if kind is None:
            return NoneType
        if isinstance(kind, type):
            return kind  # most are classes, and `get_origin` takes 1 us
        if isinstance(kind, NewType):
            kind = kind.__supertype__
        elif get_origin(kind) in _QUALIFIERS:
            kind = get_args(kind)[0]
        elif isinstance(kind, ForwardRef):
            return kind.__forward_arg__
        else:
            return kind


def qualifiers_of(kind: object) -> Iterator[object]:
    """Yield the qualifiers around a type, from the outside: Annotated, Required..."""
    while get_origin(kind) in _QUALIFIERS:
        yield get_origin(kind)
        kind = get_args(kind)[0]


def metadata_of(kind: object) -> tuple[object, ...]:
    """Return the metadata of a type in `Annotated`, the innermost first; also inside wrappers."""
    found: tuple[object, ...] = ()
    while True:
        if isinstance(kind, type):
            return found  # as in `bare`
        if isinstance(kind, NewType):
            kind = kind.__supertype__
        elif get_origin(kind) in _QUALIFIERS:
            found = (*getattr(kind, "__metadata__", ()), *found)
            kind = get_args(kind)[0]
        else:
            return found


def is_alias(kind: object) -> bool:
    """Return whether the statement `type` of Python 3.12 made `kind`."""
    return type(kind).__name__ == "TypeAliasType"


def value_of(alias: object) -> object:
    """Return the type that an alias names."""
    return alias.__value__  # type: ignore[attr-defined]


def alternatives_of(kind: object) -> Iterator[object]:
    """Yield the bare types of a union, also of unions inside it; of another type, only itself."""
    kind = bare(kind)
    if get_origin(kind) in (Union, UnionType):
        for alternative in get_args(kind):
            yield from alternatives_of(alternative)
    else:
        yield kind


def expanded_alternatives_of(kind: object, inside: tuple[object, ...] = ()) -> Iterator[object]:
    """Yield the alternatives of a type, also of aliases that do not contain themselves."""
    for each in alternatives_of(kind):
        if is_alias(each) and each not in inside:
            yield from expanded_alternatives_of(value_of(each), (*inside, each))
        else:
            yield each
