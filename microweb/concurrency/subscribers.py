"""How many subscribers the channels of this process have, for its metrics."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

_counts: WeakKeyDictionary[object, Callable[[], int]] = WeakKeyDictionary()


def note_subscribers(owner: object, count: Callable[[], int]) -> None:
    """Count the subscribers of `owner` by `count()`, which must not refer to it."""
    _counts[owner] = count


def subscribers() -> int:
    """Return the number of all subscribers in this process."""
    return sum(count() for count in _counts.values())
