"""The members of a class that is an object in JSON: dataclass, attrs class, TypedDict, NamedTuple.

Readers, writers and documents use the same list, so that they agree on names and types. A member of
a generic class has the types in place of its type variables.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from typing import (
    Any,
    NamedTuple,
    NotRequired,
    Required,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from ..concurrency.annotated import signature_of
from ..errors import ConfigurationError
from ..typed import Meta
from .annotations import metadata_of, qualifiers_of
from .foreign import is_struct
from .local_classes import classes_beside

Bound = Mapping[object, object]  # type variable -> the type in its place


class Member(NamedTuple):
    """One member: its attribute, its key in JSON, its type.

    `argument` is its name for the constructor; None for a member that the class itself sets, which
    is written and not read. `default` is MISSING if there is none, or if a function makes it.
    """

    name: str
    argument: str | None
    key: str
    kind: object
    is_required: bool
    default: object = MISSING


def is_attrs(cls: type) -> bool:
    """Return whether attrs made the class."""
    return hasattr(cls, "__attrs_attrs__")


def is_named_tuple(cls: type) -> bool:
    """Return whether a class is a NamedTuple, with or without types."""
    return issubclass(cls, tuple) and hasattr(cls, "_fields")


def has_members(cls: object) -> bool:
    """Return whether a class is read from an object with one key for each member."""
    return isinstance(cls, type) and (is_typeddict(cls) or is_dataclass(cls) or is_attrs(cls))


def members_of(kind: object, begun: Iterable[type] = ()) -> list[Member]:
    """Return the members of a class, or of a generic class with its types: `Page[int]`.

    `begun` are local classes that the annotations may name. Raises: ConfigurationError for an
    annotation that can't be resolved.
    """
    cls: Any = get_origin(kind) or kind
    hints, bound = hints_of_class(cls, begun), bindings_of(kind, {})
    found = []
    for name, argument, is_required, default in _declared(cls, hints):
        hint = hints.get(name, object)
        key = key_of(argument or name, hint)
        found.append(Member(name, argument, key, substituted(hint, bound), is_required, default))
    return found


def attributes_of(cls: type, hints: Mapping[str, object]) -> list[tuple[str, str | None]]:
    """Return (attribute, argument) of each member of a class with these annotations."""
    return [(name, argument) for name, argument, _, _ in _declared(cls, hints)]


@lru_cache(maxsize=1024)
def keys_of(cls: type) -> tuple[tuple[str, str], ...]:
    """Return (attribute, key in JSON) of each member, also if an annotation can't be resolved."""
    try:
        hints = hints_of_class(cls)
    except ConfigurationError:
        hints = {}
    return tuple(
        (name, key_of(argument or name, hints.get(name)))
        for name, argument in attributes_of(cls, hints)
    )


def check_keys(cls: type, members: list[Member]) -> None:
    """Raise ConfigurationError if two members have the same key."""
    keys = [each.key for each in members]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigurationError(f"{cls.__qualname__}: two members have the key {key!r}")


def check_constructor(cls: type, members: list[Member]) -> None:
    """Raise ConfigurationError if `cls` can't be constructed from its members alone."""
    try:
        signature = signature_of(cls)
        signature.bind(**{str(each.argument): None for each in members})
        signature.bind(**{str(each.argument): None for each in members if each.is_required})
    except TypeError as error:
        raise ConfigurationError(
            f"{cls.__qualname__} can't be constructed from its fields ({error}): give each "
            "InitVar, and each other argument of its __init__, a default"
        ) from error


def is_closed(cls: type) -> bool:
    """Return whether `@Meta(closed=True)` stands above the class."""
    meta = vars(cls).get("__meta__")
    return isinstance(meta, Meta) and meta.closed


def key_of(name: str, kind: object) -> str:
    """Return the name on the wire that `Meta(name=...)` gives a type, else `name`."""
    names = [each.name for each in metadata_of(kind) if isinstance(each, Meta)]
    return next((each for each in reversed(names) if each is not None), name)


def _declared(
    cls: Any, hints: Mapping[str, object]
) -> Iterator[tuple[str, str | None, bool, object]]:
    """Yield the attribute, the argument, whether it is required, and the default of each member."""
    if is_typeddict(cls):
        for name, hint in hints.items():
            # `__required_keys__` ignores `Required` and `NotRequired` in a string.
            qualifiers = set(qualifiers_of(hint))
            is_required = name in cls.__required_keys__ and NotRequired not in qualifiers
            yield name, name, is_required or Required in qualifiers, MISSING
    elif is_dataclass(cls):
        for each in fields(cls):
            has_default = each.default is not MISSING or each.default_factory is not MISSING
            argument = each.name if each.init else None
            yield each.name, argument, each.init and not has_default, each.default
    elif is_struct(cls):
        keys = zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True)
        yield from ((name, key, False, MISSING) for name, key in keys)
    elif is_attrs(cls):
        yield from _declared_by_attrs(cls)
    else:
        for name in cls._fields:
            default = cls._field_defaults.get(name, MISSING)
            yield name, name, default is MISSING, default


def _declared_by_attrs(cls: Any) -> Iterator[tuple[str, str | None, bool, object]]:
    nothing = sys.modules["attr"].NOTHING  # the class has imported it
    for each in cls.__attrs_attrs__:
        is_required = each.init and each.default is nothing
        has_value = each.default is not nothing and not hasattr(each.default, "takes_self")
        default = each.default if has_value else MISSING
        yield each.name, each.alias if each.init else None, is_required, default


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
            # Python 3.12 does not find these itself.
            local |= {each.__name__: each for each in getattr(cls, "__type_params__", ())}
            return get_type_hints(cls, localns=local, include_extras=True)
    except (AttributeError, NameError, SyntaxError, TypeError) as error:
        raise ConfigurationError(
            f"an annotation of {cls.__qualname__} can't be resolved ({error}): define the class "
            "that it names at the top level of the module"
        ) from error


# --- generic classes ------------------------------------------------------------------


def bindings_of(kind: object, outer: Bound) -> dict[object, object]:
    """Return the types of the type variables of a class and its base classes."""
    origin = get_origin(kind)
    cls = kind if origin is None else origin
    bound: dict[object, object] = {}
    for base in getattr(cls, "__orig_bases__", ()):
        if get_origin(base) not in (None, typing.Generic):
            bound |= bindings_of(base, {})
    parameters = getattr(cls, "__parameters__", ())
    bound |= dict(zip(parameters, get_args(kind), strict=False))
    return {
        name: outer.get(each, each) if isinstance(each, TypeVar) else each
        for name, each in bound.items()
    }


def substituted(kind: Any, bound: Bound) -> object:
    """Return a type with the types of `bound` in place of its type variables."""
    if isinstance(kind, TypeVar):
        found = bound.get(kind, kind)
        return found if found is kind else substituted(found, bound)
    parameters = getattr(kind, "__parameters__", ())
    if isinstance(kind, type) or not parameters or not bound:
        return kind
    return kind[tuple(bound.get(each, each) for each in parameters)]
