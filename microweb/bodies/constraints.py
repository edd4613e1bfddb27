"""Constraints in annotations: `Annotated[int, Meta(ge=1)]`. Checks for values that were read.

Constraints are read by the names of their attributes, so that those of annotated_types, msgspec and
pydantic count too, without an import. A constraint applies only to the types that it fits, as in
JSON Schema: `ge` to the numbers of `int | str`.
"""

from __future__ import annotations

import operator
import re
from collections import abc
from collections.abc import Callable, Iterable, Iterator, Sized
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from ..errors import ConfigurationError
from .annotations import bare, expanded_alternatives_of, is_alias, metadata_of, value_of
from .class_members import substituted
from .mismatches import Mismatch, Refusal, show

Check = Callable[[Any], Mismatch | None]

_MAX_SEARCHED = 1000  # characters in which a pattern is searched, without a max_length

_NUMBERS = (int, float, Decimal)
_TIMES = (datetime, date, time, timedelta)
_ARRAYS = (list, tuple, set, frozenset, abc.Sequence, abc.Set, abc.Collection)
_CONTAINERS = (str, bytes, *_ARRAYS, dict, abc.Mapping)

_COMPARED: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "gt": ("more than", operator.gt),
    "ge": ("at least", operator.ge),
    "lt": ("less than", operator.lt),
    "le": ("at most", operator.le),
}
# The order in which a value is checked: the length bounds the cost of the pattern.
_NAMES = (*_COMPARED, "multiple_of", "min_length", "max_length", "pattern")

_LENGTHS = {"min_length": ("at least", operator.ge), "max_length": ("at most", operator.le)}

_FITS: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(_COMPARED, ((*_NUMBERS, *_TIMES), "numbers, dates and times")),
    "multiple_of": (_NUMBERS, "numbers"),
    **dict.fromkeys(_LENGTHS, (_CONTAINERS, "texts, bytes and containers")),
    "pattern": ((str,), "texts"),
}


def limits_of(metadata: Iterable[object]) -> list[tuple[str, Any]]:
    """Return the constraints in the metadata of a type, such as `("ge", 1)`, in order of checks.

    Raises: ConfigurationError for a constraint of annotated_types that is not supported.
    """
    found = [pair for each in metadata for pair in _limits_in(each)]
    return sorted(found, key=lambda pair: _NAMES.index(pair[0]))


def _limits_in(metadata: object) -> Iterator[tuple[str, Any]]:
    values = [(name, getattr(metadata, name, None)) for name in _NAMES]
    limits = [(name, value) for name, value in values if value is not None and not callable(value)]
    kind = type(metadata)
    if not limits and kind.__module__ == "annotated_types" and kind.__name__ in _UNSUPPORTED:
        raise ConfigurationError(
            f"the constraint {metadata!r:.80} is not supported: check it in __post_init__ or in "
            "the endpoint"
        )
    yield from limits
    inside = getattr(metadata, "metadata", ())  # of a pydantic.Field
    if isinstance(inside, (list, tuple)):
        for each in inside:
            yield from _limits_in(each)


_UNSUPPORTED = ("Predicate", "Not", "Timezone", "Unit")


def checks_for(kind: object) -> list[Check]:
    """Return the checks that the metadata of `kind` asks for.

    Raises: ConfigurationError for a constraint that fits no alternative of `kind`.
    """
    metadata = metadata_of(kind)
    limits = limits_of(metadata) if metadata else []
    if not limits:
        return []
    classes = [_class_of(each) for each in expanded_alternatives_of(bare(kind))]
    has_max = any(name == "max_length" for name, _ in limits)
    checks = []
    for name, limit in limits:
        applies = tuple(cls for cls in classes if _fits(name, limit, cls))
        if not applies:
            raise _misfit(name, limit, kind, classes)
        check = _check(name, limit, has_max=has_max)
        checks.append(check if len(applies) == len(classes) else _only_for(applies, check))
    return checks


def annotated_alternatives_of(kind: object, inside: tuple[object, ...] = ()) -> Iterator[object]:
    """Yield the types of a union, also of unions inside it, each with the metadata that fits it.

    An alias that does not contain itself is replaced by its type.
    """
    inner = bare(kind)
    alias = get_origin(inner) or inner
    if is_alias(alias) and alias not in inside:
        bound = dict(zip(getattr(alias, "__type_params__", ()), get_args(inner), strict=False))
        target = substituted(value_of(alias), bound)
        metadata = metadata_of(kind)
        whole = Annotated[(target, *metadata)] if metadata else target
        yield from annotated_alternatives_of(whole, (*inside, alias))
        return
    if get_origin(inner) not in (Union, UnionType):
        yield kind
        return
    metadata = metadata_of(kind)
    for alternative in get_args(inner):
        for each in annotated_alternatives_of(alternative, inside):
            cls = _class_of(bare(each))
            fitting = [item for item in metadata if _fits_all(item, cls)]
            yield Annotated[(each, *fitting)] if fitting else each


def _fits_all(metadata: object, cls: type) -> bool:
    limits = limits_of((metadata,))
    return bool(limits) and all(_fits(*limit, cls) for limit in limits)


def _fits(name: str, limit: object, cls: type) -> bool:
    """Return whether a constraint applies to values of a class."""
    if cls is bool or not issubclass(cls, _FITS[name][0]):
        return False
    if name in _COMPARED and issubclass(cls, _TIMES):
        return type(limit) is cls
    if name in _COMPARED or name == "multiple_of":
        return isinstance(limit, _NUMBERS) and not isinstance(limit, bool)
    return True


def _class_of(kind: object) -> type:
    """Return the class of the values of a type; NoneType for a type that has no constraints."""
    cls = get_origin(kind) or kind
    return cls if isinstance(cls, type) else type(None)


def _misfit(name: str, limit: object, kind: object, classes: Iterable[type]) -> ConfigurationError:
    inner = bare(kind)
    label = inner.__qualname__ if isinstance(inner, type) else str(inner)
    remedy = next(filter(None, (_remedy(name, cls) for cls in classes)), "leave it out")
    return ConfigurationError(
        f"the constraint {name}={limit!r:.80} is for {_FITS[name][1]}, got {label:.80}: {remedy}"
    )


def _remedy(name: str, cls: type) -> str | None:
    """Return how to bound the values of a class, to which the constraint does not apply."""
    is_number = issubclass(cls, _NUMBERS) and cls is not bool
    if name in _COMPARED and (is_number or issubclass(cls, _TIMES)):
        return "give it a bound of the same type"
    if name in _COMPARED and issubclass(cls, _CONTAINERS):
        return "bound its length by min_length or max_length"
    return "bound it by ge or le" if name in _LENGTHS and is_number else None


def _only_for(classes: tuple[type, ...], check: Check) -> Check:
    """Return a check that ignores values of other classes. A bool is no number."""

    def check_fitting(value: object) -> Mismatch | None:
        fits = isinstance(value, classes) and not isinstance(value, bool)
        return check(value) if fits else None

    return check_fitting


def _check(name: str, limit: Any, *, has_max: bool) -> Check:
    if name in _COMPARED:
        return _comparison(name, limit)
    if name == "multiple_of":
        return _multiple(limit)
    if name == "pattern":
        return _pattern(limit, None if has_max else _MAX_SEARCHED)
    return _length(name, limit)


def _comparison(name: str, limit: Any) -> Check:
    word, compare = _COMPARED[name]
    expected = f"{word} {limit}"

    def check(value: Any) -> Mismatch | None:
        try:
            is_right = compare(value, limit)
        except TypeError:  # one of two times has an offset from UTC
            offset = "an" if limit.tzinfo is not None else "no"
            return Refusal(f"expected {offset} offset from UTC, got {show(value)}")
        return None if is_right else Mismatch(expected, value)

    return check


def _multiple(limit: Any) -> Check:
    expected = f"a multiple of {limit}"
    over, under = _ratio(limit)
    if over <= 0:
        raise ConfigurationError(f"expected multiple_of above 0, got {limit!r:.80}")

    def check(value: Any) -> Mismatch | None:
        numerator, denominator = _ratio(value)
        is_right = not numerator * under % (denominator * over)
        return None if is_right else Mismatch(expected, value)

    return check


def _ratio(number: Any) -> tuple[int, int]:
    """Return a number as a fraction of its decimal digits: in binary, 0.3 is no multiple of 0.1."""
    exact = Decimal(repr(number)) if isinstance(number, float) else number
    numerator, denominator = exact.as_integer_ratio()
    return numerator, denominator


def _length(name: str, limit: int) -> Check:
    word, compare = _LENGTHS[name]
    expected = f"a length of {word} {limit}"

    def check(value: Sized) -> Mismatch | None:
        if compare(len(value), limit):
            return None
        if isinstance(value, str):
            return Mismatch(expected, value)
        return Refusal(f"expected {expected}, got {len(value)}")

    return check


def _pattern(pattern: str, longest: int | None) -> Check:
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise ConfigurationError(f"the pattern {pattern!r:.80} is wrong: {error}") from error
    expected = f"a match of {pattern[:80]}"

    def check(value: str) -> Mismatch | None:
        if longest is not None and len(value) > longest:
            return Mismatch(f"a length of at most {longest}", value)
        return Mismatch(expected, value) if search(value) is None else None

    return check
