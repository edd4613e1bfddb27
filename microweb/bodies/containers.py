"""The classes that are arrays and objects in JSON, and the class of the values that are read.

Readers, constraints and documents use the same tables. A class without types, such as `Sequence`,
holds anything.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, abc, defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any

ARRAYS: dict[object, Callable[[Any], object]] = {
    **dict.fromkeys((list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable), list),
    **dict.fromkeys((set, abc.Set, abc.MutableSet), set),
    frozenset: frozenset,
    deque: deque,
}

# A defaultdict is only written: JSON does not say how it makes a missing value.
OBJECTS: dict[object, Callable[[Any], object] | None] = {
    **dict.fromkeys((dict, abc.Mapping, abc.MutableMapping), dict),
    OrderedDict: OrderedDict,
    Counter: Counter,
    defaultdict: None,
}


def type_of_items(arguments: Sequence[object]) -> object:
    """Return the type of the items of an array: that in `list[int]`."""
    return arguments[0] if arguments else object


def type_of_members(cls: object, arguments: Sequence[object]) -> object:
    """Return the type of the members of an object: the second one in `dict[str, int]`."""
    if cls is Counter:
        return int
    return arguments[1] if len(arguments) > 1 else object
