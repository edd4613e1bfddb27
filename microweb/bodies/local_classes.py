"""Find names that are local to a function, so that annotations can use them.

Under `from __future__ import annotations` an annotation is a string, and Python resolves its names
in the module only. If a function makes an application, the names may be local to that function. So
they are taken from its frame when it registers an endpoint, itself or by a function that it calls.
Only weak references to the classes are kept. A function keeps the other values that its annotations
name, such as the function in `Depends(session)` or an alias of `Annotated`, because no other object
may refer to them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import isroutine
from traceback import walk_stack
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from ..concurrency.annotated import annotations_of
from ..concurrency.callables import innermost
from ..typed import Depends
from .annotations import metadata_of

_BESIDE: WeakKeyDictionary[object, WeakValueDictionary[str, type]] = WeakKeyDictionary()

_NAME = re.compile(r"[^\W\d]\w*")
_LOCALS = ".<locals>."  # in the qualified name of a class or function that is local to another
_KEPT = "__microweb_beside__"  # the attribute of a function with the values that it keeps


def remember_beside(endpoint: Callable[..., object], frame: FrameType) -> None:
    """Remember the names around a local endpoint, for it and for the functions that it names.

    `frame` registers the endpoint. The names are those of the functions around the endpoint, which
    may have called the one of `frame`. If none of them is running any more, those of `frame` count.
    """
    function = innermost(endpoint)
    if _is_local(function):
        _remember(function, frame, [])


def _remember(function: object, frame: FrameType, seen: list[object]) -> None:
    """Remember the names for a function, and for the functions that its annotations name."""
    place = getattr(function, "__qualname__", "").rpartition(_LOCALS)[0]
    scope = getattr(function, "__globals__", {})
    frames = _frames_around(place, scope, frame) or _frames_around_itself(frame)
    local = _locals_of(frames)
    classes = _remember_classes_in(local, frames[-1])
    if classes is not None:
        _BESIDE[function] = classes
    seen.append(function)
    kept = dict(_named_in(annotations_of(function).values(), local))
    if kept:
        vars(function)[_KEPT] = {**vars(function).get(_KEPT, {}), **kept}
    for value in kept.values():
        markers = [each for each in metadata_of(value) if isinstance(each, Depends)]
        for named in (value, *(marker.function for marker in markers)):
            inner = innermost(named)
            if isroutine(inner) and _is_local(inner) and inner not in seen:
                _remember(inner, frame, seen)


def _frames_around(place: str, scope: Mapping[str, Any], frame: FrameType) -> list[FrameType]:
    """Return the running calls of the function `place`, and of those around it, which come first.

    `scope` are the global names of its module. The search begins at `frame`, and follows callers.
    """
    parts = place.split(_LOCALS)
    around = [_LOCALS.join(parts[: index + 1]) for index in range(len(parts))]
    found: dict[str, FrameType] = {}
    caller: FrameType | None = frame
    while caller is not None and len(found) < len(around):
        name = caller.f_code.co_qualname
        if name in around and caller.f_globals is scope:
            found.setdefault(name, caller)
        caller = caller.f_back
    return [found[name] for name in around if name in found]


def _frames_around_itself(frame: FrameType) -> list[FrameType]:
    return _frames_around(frame.f_code.co_qualname, frame.f_globals, frame)


def _locals_of(frames: list[FrameType]) -> Mapping[str, object]:
    """Return the local names of functions; the inner ones hide those of the outer ones."""
    if len(frames) == 1:
        return frames[0].f_locals
    return {name: value for each in frames for name, value in each.f_locals.items()}


def _named_in(
    annotations: Iterable[object], local: Mapping[str, object]
) -> Iterator[tuple[str, object]]:
    """Yield the local values, except classes, that annotations in the form of text name."""
    for annotation in annotations:
        for name in _NAME.findall(annotation) if isinstance(annotation, str) else ():
            if name in local and not isinstance(local[name], type):
                yield name, local[name]


def remember_classes_of_callers(frame: FrameType) -> None:
    """Remember the classes that `frame` and the functions that called it define."""
    for each, _ in walk_stack(frame):
        _remember_classes_in(_locals_of(_frames_around_itself(each)), each)


def _remember_classes_in(
    local: Mapping[str, object], frame: FrameType
) -> WeakValueDictionary[str, type] | None:
    """Remember the classes among local names for each other; return them by name, if any.

    `frame` is the innermost of the functions with these names.
    """
    named = {name: value for name, value in local.items() if isinstance(value, type)}
    if not named:
        return None
    classes = WeakValueDictionary(named)
    inside = f"{frame.f_code.co_qualname}{_LOCALS}"
    for cls in named.values():
        # A function that only takes a class as argument knows less than the one that defines it.
        if _is_local(cls) and (cls.__qualname__.startswith(inside) or cls not in _BESIDE):
            _BESIDE[cls] = classes
    return classes


def classes_beside(item: object) -> dict[str, type]:
    """Return by name the classes in the same function as `item`, a local class or function."""
    return dict(_BESIDE.get(item, {})) if _is_local(item) else {}


def values_beside(item: object) -> dict[str, object]:
    """Return by name the classes beside a local function, and the values that it keeps."""
    kept: dict[str, object] = getattr(item, _KEPT, {}) if _is_local(item) else {}
    return {**classes_beside(item), **kept}


def _is_local(item: object) -> bool:
    return _LOCALS in getattr(item, "__qualname__", "")
