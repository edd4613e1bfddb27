"""Find names that are local to a function, so that annotations can use them.

Under `from __future__ import annotations` an annotation is a string, and Python resolves its names
in the module only. If a function makes an application, the names may be local to that function. So
they are taken from the function's frame when it registers an endpoint. Only weak references to the
classes are kept. A function keeps the other values that its annotations name, such as the function
in `Depends(session)` or an alias of `Annotated`, because no other object may refer to them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import isroutine
from types import FrameType
from weakref import WeakKeyDictionary, WeakValueDictionary

from ..concurrency.callables import innermost
from ..typed import Depends
from .annotations import metadata_of

_BESIDE: WeakKeyDictionary[object, WeakValueDictionary[str, type]] = WeakKeyDictionary()

_NAME = re.compile(r"[^\W\d]\w*")
_KEPT = "__microweb_beside__"  # the attribute of a function with the values that it keeps


def remember_beside(endpoint: Callable[..., object], frame: FrameType) -> None:
    """Remember the classes in `frame` for a local endpoint, and for each other."""
    function = innermost(endpoint)
    if _is_local(function):
        _remember(function, remember_classes(frame), frame.f_locals, [])


def _remember(
    function: object,
    classes: WeakValueDictionary[str, type],
    local: Mapping[str, object],
    seen: list[object],
) -> None:
    """Remember the names for a function, and for the functions that its annotations name."""
    _BESIDE[function] = classes
    seen.append(function)
    kept = dict(_named_in(getattr(function, "__annotations__", {}).values(), local))
    if kept:
        vars(function)[_KEPT] = {**vars(function).get(_KEPT, {}), **kept}
    for value in kept.values():
        markers = [each for each in metadata_of(value) if isinstance(each, Depends)]
        for each in (value, *(marker.function for marker in markers)):
            inner = innermost(each)
            if isroutine(inner) and _is_local(inner) and inner not in seen:
                _remember(inner, classes, local, seen)


def _named_in(
    annotations: Iterable[object], local: Mapping[str, object]
) -> Iterator[tuple[str, object]]:
    """Yield the local values, except classes, that annotations in the form of text name."""
    for annotation in annotations:
        for name in _NAME.findall(annotation) if isinstance(annotation, str) else ():
            if name in local and not isinstance(local[name], type):
                yield name, local[name]


def remember_classes(frame: FrameType) -> WeakValueDictionary[str, type]:
    """Remember the classes that are defined in `frame` for each other; return them by name."""
    named = {name: value for name, value in frame.f_locals.items() if isinstance(value, type)}
    classes = WeakValueDictionary(named)
    for cls in named.values():
        if _is_local(cls):
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
    return "<locals>" in getattr(item, "__qualname__", "")
