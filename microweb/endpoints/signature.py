"""Read the parameters and annotations of a user's function, and of the decorators around it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from inspect import Parameter
from types import CodeType, FunctionType, GenericAlias, NoneType, SimpleNamespace, UnionType
from typing import Annotated, NamedTuple, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from ..bodies.local_classes import values_beside
from ..concurrency.annotated import (
    FunctionParameter,
    annotations_of,
    closed_over,
    parameters_of,
)
from ..concurrency.callables import called_by, describe, innermost, is_async, layers_of
from ..errors import ConfigurationError
from ..request import Request

MISSING = Parameter.empty
POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)

# Annotation of a path parameter -> the name of its converter.
PATH_TYPES: dict[object, str] = {str: "str", int: "int", float: "float", UUID: "uuid"}

_QUOTED_NAME = r"(['\"])([\w.]+)\1"  # compiled at its first use
_UNRESOLVABLE = (NameError, TypeError, AttributeError, SyntaxError)


class Subject(NamedTuple):
    """The object that an endpoint serves: a request or a WebSocket.

    A parameter takes it by having its name, or its class as annotation.
    """

    name: str
    kind: type
    companions: tuple[Subject, ...] = ()  # other subjects that parameters may take: the request

    def is_taken_by(self, name: str, hint: object) -> bool:
        """Return whether a parameter with this name and annotation takes the subject."""
        if isinstance(hint, str):  # a name that exists only for type checkers
            return name == self.name or hint.rpartition(".")[2] == self.kind.__name__
        if isinstance(hint, type) and hint is not MISSING:
            return issubclass(hint, self.kind)
        return name == self.name


REQUEST = Subject("request", Request)


class Layer(NamedTuple):
    """The parameters and annotations of an endpoint, or of one decorator around it."""

    parameters: Mapping[str, FunctionParameter]
    hints: Mapping[str, object]
    is_decorator: bool

    def name_of(self, subject: Subject) -> str | None:
        """Return the name of the parameter that takes the subject, or None."""
        for name in self.parameters:
            if subject.is_taken_by(name, self.hints.get(name, MISSING)):
                return name
        first = next(iter(self.parameters.values()), None)
        if self.is_decorator and first is not None and first.kind in POSITIONAL:
            # `functools.wraps` replaces its annotations by those of the inner function.
            return first.name if first.name not in self.hints else None
        return None

    def has(self, kind: object) -> bool:
        """Return whether a parameter is of this kind, such as `*args` or `**kwargs`."""
        return kind in [each.kind for each in self.parameters.values()]


class Signature(NamedTuple):
    """The layers of an endpoint, the outermost decorator first, and the way to call it."""

    function: Callable[..., object]
    layers: tuple[Layer, ...]
    is_async: bool  # call it on the event loop; its value may be an awaitable

    @property
    def hints(self) -> Mapping[str, object]:
        """The annotations of all layers by name; for the same name, the outermost layer's."""
        if len(self.layers) == 1:
            return self.layers[0].hints
        return {name: hint for layer in reversed(self.layers) for name, hint in layer.hints.items()}

    @property
    def may_take_request(self) -> bool:
        """True if the request may be among the arguments."""
        return any(
            layer.name_of(REQUEST) is not None or layer.has(Parameter.VAR_POSITIONAL)
            for layer in self.layers
        )

    @property
    def is_resolved(self) -> bool:
        """True if all annotations are known; a name may be defined further down its module."""
        return str not in map(type, self.hints.values())

    def converters(self, names: Iterable[str]) -> dict[str, str]:
        """Return the converter of each path parameter whose annotation names one."""
        hints = self.hints
        kinds = {name: PATH_TYPES.get(without_none(hints.get(name))) for name in names}
        return {name: kind for name, kind in kinds.items() if kind is not None}


def inspect_endpoint(function: Callable[..., object]) -> Signature:
    """Return the signature of a function. Raises: ConfigurationError if it is not a function."""
    if isinstance(function, type) or not callable(function):
        raise ConfigurationError(f"expected a function as endpoint, got {function!r:.80}")
    try:
        layers = tuple(map(_read_layer, layers_of(function)))
    except ValueError as error:
        raise ConfigurationError(f"{describe(function)}: its signature can't be read") from error
    return Signature(function, layers, is_async(function))


def hints_of(function: Callable[..., object]) -> dict[str, object]:
    """Return the annotations by name; one that can't be resolved stays a str."""
    called = called_by(function)
    if (plain := _plain_hints(called)) is not None:
        return plain
    try:
        return get_type_hints(called, include_extras=True)
    except _UNRESOLVABLE:
        pass
    # Resolve each one alone: if a name exists only for type checkers, the others are still known.
    scope = getattr(inspect.unwrap(called), "__globals__", {})
    local = {**closed_over(called), **values_beside(innermost(called))}
    hints = annotations_of(called)
    for name, hint in hints.items():
        alone = SimpleNamespace(__annotations__={name: hint})
        try:
            hints[name] = get_type_hints(alone, scope, local, include_extras=True)[name]
        except _UNRESOLVABLE:
            quoted = re.fullmatch(_QUOTED_NAME, hint) if isinstance(hint, str) else None
            if quoted is not None:  # a str in quotes, in a module where annotations are str already
                hints[name] = quoted[2]
    return hints


def _plain_hints(called: Callable[..., object]) -> dict[str, object] | None:
    """Return the annotations if all are classes, or made of classes, in a function's own module.

    `get_type_hints` finds the same, but compiles each text again: 30 us for three annotations.
    """
    if type(called) is not FunctionType or hasattr(called, "__wrapped__"):
        return None
    names = called.__globals__
    hints: dict[str, object] = {}
    try:
        for name, hint in called.__annotations__.items():
            if isinstance(hint, str):
                hint = names[hint] if hint in names else eval(_compiled(hint), names)
            if hint is None:
                hint = NoneType
            if not _is_plain(hint):
                return None
            hints[name] = hint
    except _UNRESOLVABLE:
        return None
    return hints


@lru_cache(maxsize=256)
def _compiled(text: str) -> CodeType:
    return compile(text, "<annotation>", "eval")


# `dict[str, int]`, `int | None`, `Annotated[int, ...]`, `Optional[int]`.
_ALIASES = (GenericAlias, UnionType, type(Annotated[int, ""]), type(Union[int, None]))  # noqa: UP007


def _is_plain(hint: object) -> bool:
    """Return whether an annotation is a class, or an alias of classes."""
    if isinstance(hint, type):
        return True
    return type(hint) in _ALIASES and all(map(_is_plain, hint.__args__))  # type: ignore[attr-defined]


def return_hint_of(function: Callable[..., object]) -> object:
    """Return the annotation of the value that a function returns, or `object` if it has none.

    One that can't be resolved stays a str.
    """
    return hints_of(function).get("return", object)


def _read_layer(function: Callable[..., object]) -> Layer:
    parameters = parameters_of(function)
    if isinstance(function, partial):
        given = function.keywords
        parameters = {name: each for name, each in parameters.items() if name not in given}
    return Layer(parameters, hints_of(function), hasattr(function, "__wrapped__"))


def without_annotated(hint: object) -> object:
    """Return the annotation inside `Annotated`."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def without_none(hint: object) -> object:
    """Return `X` for `X | None`, and any other annotation itself; both without `Annotated`."""
    if isinstance(hint, type):
        return hint  # most are classes, and `get_origin` takes 1 us
    hint = without_annotated(hint)
    if get_origin(hint) in (Union, UnionType):
        members = [member for member in get_args(hint) if member is not NoneType]
        if len(members) == 1:
            return without_annotated(members[0])
    return hint
