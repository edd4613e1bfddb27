"""The functions of dependencies: the kind of each, its parameters, and the type of its value.

All of this is read when a route is registered. `arguments` binds the parameters, `plans` puts the
functions of a route in order, and `resolving` calls them.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import is_dataclass
from enum import Enum
from functools import partial
from types import CodeType, MethodType
from typing import Any, NamedTuple, get_args, get_origin

from ..bodies.annotations import AWAITED, ITERATORS, bare, metadata_of
from ..bodies.class_members import hints_of_class
from ..concurrency.annotated import annotations_of, parameters_in, signature_of
from ..concurrency.callables import called_by, describe, is_async, is_undecorated
from ..errors import ConfigurationError
from ..typed import Depends
from .signature import Layer, Signature, hints_of, inspect_endpoint, return_hint_of
from .type_matches import is_given_for

# The functions that these decorators return share their code.
_MANAGERS: tuple[CodeType, ...] = tuple(
    vars(contextlib)[name](lambda: None).__code__
    for name in ("contextmanager", "asynccontextmanager")
)


class Kind(Enum):
    """How a function gives its value."""

    ASYNC = "async def"
    ASYNC_GENERATOR = "async def with yield"
    DEF = "def"  # in a thread
    GENERATOR = "def with yield"  # in a thread
    CLASS = "class"
    DECORATED = "decorated async def"  # its returned value says how it goes on
    BODY = "the body of the request"  # which is no function


class Dependency(NamedTuple):
    """A function that gives a value to parameters.

    `function` is as in `Depends`. `call` is the function to call: the generator function in place
    of its `@contextmanager`.
    """

    function: Callable[..., object]
    call: Callable[..., object]
    kind: Kind
    signature: Signature

    def __str__(self) -> str:
        return describe(self.function)


def depends_in(hint: object) -> Depends | None:
    """Return the `Depends` of an annotation, else None. Raises: ConfigurationError for two."""
    if isinstance(hint, type):
        return None  # most are classes
    found = [each for each in metadata_of(hint) if isinstance(each, Depends)]
    if len(found) > 1:
        raise ConfigurationError("expected one Depends, got two: keep one of them")
    return found[0] if found else None


def key_of(function: Callable[..., object]) -> Hashable:
    """Return the key of a function: equal for two accesses to the same method of an object."""
    return function if isinstance(function, Hashable) else id(function)


def inspect_dependency(function: Callable[..., object]) -> Dependency:
    """Return the dependency of a function or a class. Raises: ConfigurationError."""
    if not callable(function):
        if inspect.iscoroutine(function):
            function.close()
        name = getattr(function, "__name__", "the function itself")
        raise ConfigurationError(
            f"Depends: expected a function or a class, got {function!r:.80}: pass {name}, without "
            "calling it"
        )
    call = _without_manager(function)
    made = _innermost_of_partials(call)
    if isinstance(made, type):
        return Dependency(function, call, Kind.CLASS, _signature_of_class(call, made))
    return Dependency(function, call, _kind_of(call), inspect_endpoint(call))


def dependencies_in(signature: Signature) -> Iterator[Dependency]:
    """Yield the dependencies of a signature, however deep, each once.

    Names that are not yet defined are left out. Raises: ConfigurationError for a wrong `Depends`.
    """
    return _dependencies_in(signature, set())


def _dependencies_in(signature: Signature, seen: set[Hashable]) -> Iterator[Dependency]:
    for hint in signature.hints.values():
        marker = depends_in(hint)
        if marker is not None and key_of(marker.function) not in seen:
            seen.add(key_of(marker.function))
            dependency = inspect_dependency(marker.function)
            yield from _dependencies_in(dependency.signature, seen)
            yield dependency


def converters_of(
    signature: Signature, inside: Iterable[Dependency], names: Iterable[str]
) -> dict[str, str]:
    """Return the converter of each path parameter that an annotation names, however deep.

    `inside` are the dependencies in the signature.
    """
    found = signature.converters(names)
    for dependency in inside:
        found = dependency.signature.converters(names) | found
    return found


def check_type(dependency: Dependency, expected: object) -> None:
    """Raise ConfigurationError if a function gives another type than the annotation says."""
    given = _given_type(dependency)
    if not is_given_for(given, expected):
        raise ConfigurationError(
            f"expected {_name(expected)} as annotated, but {dependency} gives {_name(given)}: "
            "make them agree"
        )


def _given_type(dependency: Dependency) -> object:
    """Return the annotated type of the value; `object` if it is not known."""
    if dependency.kind is Kind.CLASS:
        return _innermost_of_partials(dependency.call)
    if dependency.kind is Kind.DECORATED:
        return object
    hint = return_hint_of(dependency.call)
    if dependency.kind in (Kind.GENERATOR, Kind.ASYNC_GENERATOR):
        is_known = get_origin(bare(hint)) in ITERATORS
        return get_args(bare(hint))[0] if is_known else object
    if dependency.kind is Kind.DEF and get_origin(bare(hint)) in AWAITED:
        return get_args(bare(hint))[-1]
    return hint


def _name(kind: object) -> str:
    kind = bare(kind)
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)[:80]


def _kind_of(function: Callable[..., object]) -> Kind:
    if is_undecorated(function) and not is_async(function):
        return Kind.DEF
    called = called_by(function)
    if inspect.isasyncgenfunction(called):
        return Kind.ASYNC_GENERATOR
    if inspect.isgeneratorfunction(called):
        return Kind.GENERATOR
    if inspect.iscoroutinefunction(called):
        return Kind.ASYNC
    return Kind.DECORATED if is_async(function) else Kind.DEF


def _without_manager(function: Callable[..., object]) -> Callable[..., object]:
    """Return the generator function inside `@contextmanager` or `@asynccontextmanager`."""
    if isinstance(function, partial):
        inner = _without_manager(function.func)
        if inner is not function.func:
            return partial(inner, *function.args, **function.keywords)
        return function
    inside: Any = getattr(function, "__func__", function)  # of a bound method
    if getattr(inside, "__code__", None) not in _MANAGERS:
        return function
    generator: Callable[..., object] = inside.__wrapped__
    return generator if inside is function else MethodType(generator, function.__self__)  # type: ignore[attr-defined]


def _innermost_of_partials(function: Callable[..., object]) -> Callable[..., object]:
    while isinstance(function, partial):
        function = function.func
    return function


def _signature_of_class(call: Callable[..., object], cls: type) -> Signature:
    try:
        parameters = parameters_in(signature_of(call))
    except ValueError as error:
        raise ConfigurationError(f"{describe(cls)}: its signature can't be read") from error
    given = call.keywords if isinstance(call, partial) else {}
    named = {name: each for name, each in parameters.items() if name not in given}
    has_init = inspect.isfunction(cls.__init__) and not is_dataclass(cls)  # type: ignore[misc]
    hints = hints_of(cls.__init__) if has_init else _hints_of_members(cls)  # type: ignore[misc]
    return Signature(call, (Layer(named, hints, is_decorator=False),), is_async=True)


def _hints_of_members(cls: type) -> dict[str, object]:
    try:
        return dict(hints_of_class(cls))
    except ConfigurationError:
        return {
            name: hint
            for base in reversed(cls.__mro__)
            for name, hint in annotations_of(base).items()
        }
