"""State that lives in one process, such as sessions in memory: each of several workers has its own.

An object that keeps such state notes itself when it is made. The start of several workers and
`microweb check` name those that exist.
"""

from __future__ import annotations

import sys
from typing import NamedTuple
from weakref import WeakKeyDictionary

_PACKAGE = __package__.partition(".")[0]


class PerProcess(NamedTuple):
    """An object whose state lives in one process, in words."""

    text: str  # the object with its place, the effect and the remedy
    is_wrong: bool  # several workers give wrong answers; else only a limit is wider

    def __str__(self) -> str:
        return self.text


_noted: WeakKeyDictionary[object, PerProcess] = WeakKeyDictionary()


def note_per_process(owner: object, effect: str, *, is_wrong: bool) -> None:
    """Note that the state of `owner` lives in this process; `effect` says also the remedy."""
    _noted[owner] = PerProcess(f"{type(owner).__name__} ({_place()}): {effect}", is_wrong)


def all_per_process() -> list[PerProcess]:
    """Return the state of this process, in the order in which it was made."""
    return list(_noted.values())


def _place() -> str:
    """Return file and line of the nearest caller outside this package."""
    frame = sys._getframe(2)
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__")):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == _PACKAGE
