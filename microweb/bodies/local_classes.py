"""Find classes that are local to a function, so that annotations can name them.

Under `from __future__ import annotations` an annotation is a string, and Python resolves its names
in the module only. If a function makes an application, the classes may be local to that function.
So they are taken from the function's frame when it registers an endpoint. Only weak references to
the classes are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from weakref import WeakKeyDictionary, WeakValueDictionary

from ..concurrency.callables import innermost

_BESIDE: WeakKeyDictionary[object, WeakValueDictionary[str, type]] = WeakKeyDictionary()


def remember_beside(endpoint: Callable[..., object], frame: FrameType) -> None:
    """Remember the classes in `frame` for a local endpoint, and for each other."""
    function = innermost(endpoint)
    if _is_local(function):
        _BESIDE[function] = remember_classes(frame)


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


def _is_local(item: object) -> bool:
    return "<locals>" in getattr(item, "__qualname__", "")
