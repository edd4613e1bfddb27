"""The annotations and parameters of a user's function or class, also if a name is not defined.

Before Python 3.14 an annotation is a value, or a text under `from __future__ import annotations`.
Python 3.14 evaluates annotations at their first use: a name that exists for type checkers only
raises NameError then, also in `inspect.signature`. Such an annotation is its text here, as under
that import, so that callers see two cases on each version. PEP 649, PEP 749
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from inspect import Parameter
from types import FunctionType
from typing import ForwardRef, NamedTuple, get_args

if sys.version_info >= (3, 14):
    from annotationlib import Format, get_annotations


def signature_of(
    function: Callable[..., object], *, follow_wrapped: bool = True
) -> inspect.Signature:
    """Return `inspect.signature(function)`. Its annotations may hold names that are not defined."""
    if sys.version_info >= (3, 14):
        return inspect.signature(
            function, follow_wrapped=follow_wrapped, annotation_format=Format.FORWARDREF
        )
    return inspect.signature(function, follow_wrapped=follow_wrapped)


class FunctionParameter(NamedTuple):
    """A parameter of a function, as `inspect.Parameter`, whose checks take 2 us."""

    name: str
    kind: object  # such as `inspect.Parameter.KEYWORD_ONLY`
    default: object  # `inspect.Parameter.empty` if there is none


def parameters_of(function: Callable[..., object]) -> dict[str, FunctionParameter]:
    """Return the parameters of a function itself, not of one that it wraps.

    Those of a usual function are read from its code: `inspect` takes ten times as long. Raises:
    ValueError if the signature can't be read.
    """
    is_usual = type(function) is FunctionType and not hasattr(function, "__signature__")
    if not is_usual or function.__code__.co_flags & _TAKES_MORE:
        return parameters_in(signature_of(function, follow_wrapped=False))
    code, defaults = function.__code__, function.__defaults__ or ()
    count, names = code.co_argcount, code.co_varnames
    required = count - len(defaults)
    found: dict[str, FunctionParameter] = {}
    for index, name in enumerate(names[:count]):
        kind = _ONLY if index < code.co_posonlyargcount else _EITHER
        default = defaults[index - required] if index >= required else Parameter.empty
        found[name] = FunctionParameter(name, kind, default)
    if code.co_kwonlyargcount:
        known = function.__kwdefaults__ or {}
        for name in names[count : count + code.co_kwonlyargcount]:
            found[name] = FunctionParameter(name, _NAMED, known.get(name, Parameter.empty))
    return found


def parameters_in(signature: inspect.Signature) -> dict[str, FunctionParameter]:
    """Return the parameters of a signature by name."""
    return {
        name: FunctionParameter(name, each.kind, each.default)
        for name, each in signature.parameters.items()
    }


_TAKES_MORE = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
_ONLY, _EITHER = Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD
_NAMED = Parameter.KEYWORD_ONLY


def annotations_of(item: object) -> dict[str, object]:
    """Return the annotations of a function, or those of a class without its base classes."""
    if sys.version_info >= (3, 14):
        known = get_annotations(item, format=Format.FORWARDREF)
        if not any(map(_is_open, known.values())):
            return known
        texts = get_annotations(item, format=Format.STRING)
        return {name: texts[name] if _is_open(hint) else hint for name, hint in known.items()}
    if isinstance(item, type):  # its attribute may be that of a base class
        return dict(vars(item).get("__annotations__", {}))
    return dict(getattr(item, "__annotations__", {}))


def _is_open(hint: object) -> bool:
    """Return whether an annotation has a name that is not defined."""
    return isinstance(hint, ForwardRef) or any(map(_is_open, get_args(hint)))


def closed_over(function: Callable[..., object]) -> dict[str, object]:
    """Return the values of the functions around a function that its code refers to.

    In Python 3.14 the code of its annotations counts too.
    """
    inner = inspect.unwrap(function)
    found: dict[str, object] = {}
    for each in (getattr(inner, "__annotate__", None), inner):
        names = getattr(getattr(each, "__code__", None), "co_freevars", ())
        for name, cell in zip(names, getattr(each, "__closure__", None) or (), strict=False):
            try:
                found[name] = cell.cell_contents
            except ValueError:  # it has no value yet
                continue
    return found
