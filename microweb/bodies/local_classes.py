"""Classes that are local to a function, by name: for annotations that name them.

Under `from __future__ import annotations` an annotation is a text, and Python finds the names in it
among those of the module alone. An application that a function makes has its classes in that
function: they are looked up in its frame, while it registers an endpoint that stands beside them.
Nothing is kept alive by it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from weakref import WeakKeyDictionary, WeakValueDictionary

from ..concurrency.callables import innermost

_BESIDE: WeakKeyDictionary[object, WeakValueDictionary[str, type]] = WeakKeyDictionary()


def remember_beside(endpoint: Callable[..., object], frame: FrameType) -> None:
    """Keep the classes in `frame` for what names them: a local endpoint, and one another."""
    function = innermost(endpoint)
    if _is_local(function):
        _BESIDE[function] = remember_classes(frame)


def remember_classes(frame: FrameType) -> WeakValueDictionary[str, type]:
    """Keep the classes that a function has made so far, for one another; return them by name."""
    named = {name: value for name, value in frame.f_locals.items() if isinstance(value, type)}
    classes = WeakValueDictionary(named)
    for cls in named.values():
        if _is_local(cls):
            _BESIDE[cls] = classes
    return classes


def classes_beside(item: object) -> dict[str, type]:
    """Return the classes by name that stand beside a class, or a function, which is local."""
    return dict(_BESIDE.get(item, {})) if _is_local(item) else {}


def _is_local(item: object) -> bool:
    return "<locals>" in getattr(item, "__qualname__", "")
