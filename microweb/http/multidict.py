"""Names with one or more text values: the content of a query or a form.

The pairs are kept as they were sent, beside a dict of each name's first value. C code builds both,
once. A lookup is a dict lookup, and only `get_all` walks the pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping
from inspect import isclass
from typing import TypeVar, overload

from ..errors import InvalidValue, MissingValue

_Default = TypeVar("_Default")
_Value = TypeVar("_Value")

_SHOWN_CHARACTERS = 80

_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}

_WANTED: dict[object, str] = {int: "an integer", float: "a number", bool: "true or false"}

# The exceptions with which a conversion refuses a text: decimal's InvalidOperation is an
# ArithmeticError, and a table's `__getitem__` raises a LookupError.
_REFUSALS = (ValueError, TypeError, ArithmeticError, LookupError)


def parse_bool(text: str) -> bool:
    """Return True for true/1/yes/on and False for false/0/no/off, in any case.

    Raises: ValueError for any other text.
    """
    value = _BOOLEANS.get(text.lower())
    if value is None:
        raise ValueError(f"expected true or false, got {text[:_SHOWN_CHARACTERS]!r}")
    return value


class MultiDict(Mapping[str, str]):
    """An immutable mapping of names to one or more values, in the order they were sent.

    As a mapping (`items()`, iteration, `len`) it has each name once, with its first value.
    `get_all(name)` returns all values of a name, `pairs()` all pairs as they were sent.
    """

    __slots__ = ("_first", "_pairs")

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = tuple(pairs)
        self._first = dict(self._pairs)
        if len(self._first) < len(self._pairs):
            self._first.update(reversed(self._pairs))  # the first value wins, the order stays

    def __getitem__(self, name: str) -> str:
        """Return the first value of `name`. Raises: MissingValue."""
        try:
            return self._first[name]
        except KeyError:
            raise MissingValue(f"expected a value for {_show(name)}, got none") from None

    @overload
    def get(self, name: str, default: None = None) -> str | None: ...
    @overload
    def get(self, name: str, default: _Default) -> str | _Default: ...
    @overload
    def get(
        self, name: str, default: None = None, *, type: Callable[[str], _Value]
    ) -> _Value | None: ...
    @overload
    def get(
        self, name: str, default: _Default, *, type: Callable[[str], _Value]
    ) -> _Value | _Default: ...

    def get(
        self, name: str, default: object = None, *, type: Callable[[str], object] = str
    ) -> object:
        """Return the first value of `name`, converted by `type`; if missing, `default` unchanged.

        `type=bool` converts with `parse_bool`.

        Raises: InvalidValue if `type` refuses the value.
        """
        value = self._first.get(name)
        if value is None:
            return default
        convert = parse_bool if type is bool else type
        try:
            return convert(value)
        except _REFUSALS as error:
            wanted = _WANTED.get(type) or f"a valid {type.__name__ if isclass(type) else 'value'}"
            message = f"expected {wanted} for {_show(name)}, got {_show(value)}"
            raise InvalidValue(message) from error

    def get_all(self, name: str) -> list[str]:
        """Return all values of `name` in the order they were sent; if missing, an empty list."""
        return [value for other, value in self._pairs if other == name]

    def pairs(self) -> list[tuple[str, str]]:
        """Return each (name, value) as it was sent, with those of repeated names."""
        return list(self._pairs)

    def keys(self) -> KeysView[str]:
        """Return the distinct names, in the order of their first appearance."""
        return self._first.keys()

    def __contains__(self, name: object) -> bool:
        return name in self._first

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, MultiDict):
            return self._pairs == other._pairs
        return self._first == other if isinstance(other, dict) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._pairs)

    def __repr__(self) -> str:
        return f"MultiDict({list(self._pairs)!r})"


def _show(text: str) -> str:
    return repr(text[:_SHOWN_CHARACTERS])
