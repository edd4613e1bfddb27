"""Decide from two annotations whether a value of the one may be a value of the other.

Only types that surely differ do not match: an annotation that is not understood matches.
"""

from __future__ import annotations

from types import NoneType
from typing import Literal, TypeVar, get_args, get_origin

from ..bodies.annotations import bare, expanded_alternatives_of

# A type checker accepts an int for a float, and both for a complex. PEP 484
_PROMOTED: dict[object, tuple[object, ...]] = {float: (int,), complex: (int, float)}


def is_given_for(given: object, expected: object) -> bool:
    """Return whether each value of the type `given` may be a value of the type `expected`."""
    wanted = list(expanded_alternatives_of(expected))
    return all(
        any(_matches(each, one) for one in wanted) for each in expanded_alternatives_of(given)
    )


def _matches(given: object, expected: object) -> bool:
    given, expected = bare(given), bare(expected)
    if given == expected or _is_open(given) or _is_open(expected):
        return True
    if get_origin(given) is Literal:
        return all(_matches(type(value), expected) for value in get_args(given))
    if get_origin(expected) is Literal:
        return any(_matches(given, type(value)) for value in get_args(expected))
    if not _is_class_of(get_origin(given) or given, get_origin(expected) or expected):
        return False
    inside, wanted = get_args(given), get_args(expected)
    if get_origin(given) is not get_origin(expected) or len(inside) != len(wanted):
        return True
    return all(map(_matches_inside, inside, wanted))


def _matches_inside(given: object, expected: object) -> bool:
    is_known = not isinstance(given, list) and not isinstance(expected, list)  # of a Callable
    return not is_known or is_given_for(given, expected)


def _is_open(kind: object) -> bool:
    """Return whether a type says nothing: `object`, a TypeVar, or a name not yet defined."""
    return kind is object or kind is ... or isinstance(kind, (TypeVar, str))


def _is_class_of(given: object, expected: object) -> bool:
    if not isinstance(given, type) or not isinstance(expected, type):
        return (given is NoneType) is (expected is NoneType)
    try:
        return issubclass(given, (expected, *_PROMOTED.get(expected, ())))  # type: ignore[arg-type]
    except TypeError:  # a protocol or a TypedDict, which has no subclasses at run time
        return True
