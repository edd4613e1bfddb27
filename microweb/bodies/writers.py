"""Writers of JSON: each converts the values of one type to the form that JSON takes.

`json_writers` combines them to the writer of an annotation.
"""

from __future__ import annotations

from collections import abc, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from operator import attrgetter
from types import NoneType, SimpleNamespace
from uuid import UUID

from .class_members import has_members
from .foreign import is_struct

Write = Callable[[object], object]

_SHOWN_CHARACTERS = 80

ARRAYS = (list, tuple, set, frozenset, deque)
# Values of exactly these classes are written unchecked: they can't add undeclared members.
SCALARS = frozenset(
    (NoneType, bool, int, float, str, date, datetime, time, timedelta, Decimal, UUID, bytes)
)
_SCALAR_CLASSES = tuple(SCALARS)


class Writer:
    """The writer of one type. `write` is None if its values are sent unchanged.

    A value whose class is exactly `unchecked` is sent unchanged and unchecked.
    """

    def __init__(
        self,
        expected: str,
        matches: Callable[[object], bool],
        write: Write | None = None,
        *,
        unchecked: type | None = None,
        is_scalar: bool = False,
    ) -> None:
        self.expected = expected
        self.matches = matches
        self.write = write
        self.unchecked = unchecked
        self.is_scalar = is_scalar  # its values are nearly always scalars

    def of(self, value: object) -> object:
        """Return the JSON form. Raises: TypeError for a value of another type."""
        if type(value) in SCALARS:
            return value
        if not self.matches(value):
            raise mismatch(self.expected, value)
        return value if self.write is None else self.write(value)

    def matches_all(self, values: Iterable[object]) -> bool:
        """Return whether all values match; this takes 3 ms for 100,000 scalars."""
        if self.write is None and SCALARS.issuperset(map(type, values)):
            return True
        return all(map(self.matches, values))


ANYTHING = Writer("anything", lambda value: True)


class Members(Writer):
    """Writes the declared members of a dataclass or a TypedDict, which may refer to itself."""

    def __init__(self, kind: type, expected: str, matches: Callable[[object], bool]) -> None:
        super().__init__(expected, matches, self._write)
        self.kind = kind
        self.members: list[tuple[str, str, Writer]] = []  # attribute, key, writer
        self.required: frozenset[str] = frozenset()  # of a TypedDict

    def prepare(self) -> None:
        """Build the fastest function that gets all members; call it when they are all there."""
        names = [name for name, _, _ in self.members]
        self._keys = [key for _, key, _ in self.members]
        self._writers = [writer for _, _, writer in self.members]
        self._is_flat = all(writer.is_scalar for writer in self._writers)
        self._get = attrgetter(*names) if len(names) > 1 else _getter_of_few(names)

    def of(self, value: object) -> object:
        """Return the JSON form. An object of no declared class is read by the declared names."""
        if type(value) in SCALARS:
            return value
        return self._write(value if self.matches(value) else self._by_names(value))

    def _by_names(self, value: object) -> object:
        if isinstance(value, ARRAYS):
            raise mismatch(self.expected, value)
        if isinstance(value, abc.Mapping):
            value = SimpleNamespace(**{str(name): each for name, each in value.items()})
        for name, _, _ in self.members:
            if not hasattr(value, name):
                raise mismatch(f"{self.expected}, or an object with {name!r},", value)
        return value

    def _write(self, value: object) -> object:
        members = self._get(value)
        if self._is_flat and SCALARS.issuperset(map(type, members)):
            return dict(zip(self._keys, members, strict=True))
        return {
            key: member if type(member) in SCALARS else writer.of(member)
            for key, member, writer in zip(self._keys, members, self._writers, strict=True)
        }


def _getter_of_few(names: Sequence[str]) -> Callable[[object], tuple[object, ...]]:
    """Return the getter of up to one attribute, for which `attrgetter` makes no tuple."""
    return lambda value: tuple([getattr(value, name) for name in names])


class Keys(Members):
    def _by_names(self, value: object) -> object:
        raise mismatch(self.expected, value)

    def _write(self, value: object) -> object:
        assert isinstance(value, dict)
        return {key: writer.of(value[name]) for name, key, writer in self.members if name in value}

    def fits(self, value: object) -> bool:
        """Return whether a dict has the required keys, and allowed values for `Literal` keys."""
        if not isinstance(value, dict) or not value.keys() >= self.required:
            return False
        return all(
            member.matches(value[name])
            for name, _, member in self.members
            if isinstance(member, Choice) and name in value
        )


class Items(Members):
    """Writes the items of a NamedTuple by their declared types."""

    def _by_names(self, value: object) -> object:
        raise mismatch(self.expected, value)

    def _write(self, value: object) -> object:
        return [writer.of(getattr(value, name)) for name, _, writer in self.members]


class UnionWriter(Writer):
    """Writes a union whose alternatives are not all sent unchanged."""

    def __init__(self, expected: str, writers: Sequence[Writer]) -> None:
        super().__init__(expected, lambda value: choose(writers, value) is not None, self._write)
        self.writers = writers

    def _write(self, value: object) -> object:
        writer = choose(self.writers, value)
        if writer is None:
            raise mismatch(self.expected, value)
        return writer.of(value)

    def of(self, value: object) -> object:
        """Return the JSON form. An object of no declared class is read by the only names."""
        named = [each for each in self.writers if type(each) is Members]
        is_plain = type(value) in SCALARS or isinstance(value, ARRAYS) or self.matches(value)
        if is_plain or len(named) != 1:
            return super().of(value)
        return named[0].of(value)


class Array(Writer):
    """Writes an array whose items are converted; each item is checked when it is written."""

    def __init__(self, item: Writer) -> None:
        super().__init__(
            f"a list of {item.expected}",
            lambda value: isinstance(value, ARRAYS) and item.matches_all(value),
            self._write,
        )
        self.item = item

    def of(self, value: object) -> object:
        if not isinstance(value, ARRAYS):
            return super().of(value)
        return self._write(value)

    def _write(self, value: object) -> object:
        return [self.item.of(each) for each in iterated(value)]


class Object(Writer):
    """Writes an object whose members are converted; each is checked when it is written."""

    def __init__(self, member: Writer) -> None:
        super().__init__(
            f"a dict of {member.expected}",
            lambda value: isinstance(value, dict) and member.matches_all(value.values()),
            self._write,
        )
        self.member = member

    def of(self, value: object) -> object:
        if not isinstance(value, dict):
            return super().of(value)
        return self._write(value)

    def _write(self, value: object) -> object:
        return {key: self.member.of(each) for key, each in paired(value)}


class Alias(Writer):
    """The writer of an alias inside itself: of `Json` in `type Json = list[Json] | str`."""

    def __init__(self, name: str) -> None:
        super().__init__(name, lambda value: self.target.matches(value), self.of)
        self.target = ANYTHING  # replaced when the alias is compiled

    def of(self, value: object) -> object:
        return self.target.of(value)


class Choice(Writer):
    """The writer of a Literal. Its values distinguish the alternatives of a union."""


def choose(writers: Iterable[Writer], value: object) -> Writer | None:
    """Return the writer of the nearest class, or of the TypedDict with most required keys."""
    if has_members(type(value)) or is_struct(type(value)):
        declared = {each.kind: each for each in writers if type(each) is Members}
        nearest = [declared[cls] for cls in type(value).__mro__ if cls in declared]
        if nearest:
            return nearest[0]
    elif isinstance(value, dict):
        fitting = [each for each in writers if isinstance(each, Keys) and each.fits(value)]
        if fitting:
            return max(fitting, key=lambda each: len(each.required))
    others = [each for each in writers if type(each) not in (Members, Keys) and each.matches(value)]
    # An alternative that declares members comes before one that sends the value unchanged.
    return next((each for each in others if each.write is not None), others[0] if others else None)


def is_one(value: object, cls: type) -> bool:
    """Return whether a value may be sent for `cls`, which declares no members; a scalar may."""
    if isinstance(value.value if isinstance(value, Enum) else value, _SCALAR_CLASSES):
        return True
    with suppress(TypeError):  # a Protocol that does not support isinstance
        return isinstance(value, cls)
    return True


def iterated(value: object) -> Iterator[object]:
    assert isinstance(value, abc.Iterable)
    return iter(value)


def paired(value: object) -> Iterable[tuple[object, object]]:
    assert isinstance(value, dict)
    return value.items()


def mismatch(expected: str, value: object) -> TypeError:
    got = type(value).__qualname__
    if isinstance(value, (dict, *ARRAYS)) and value:
        inside = value.values() if isinstance(value, dict) else value
        names = sorted({type(each).__qualname__ for each in inside})
        got = f"a {got} of {', '.join(names)[:_SHOWN_CHARACTERS]}"
    return TypeError(
        f"expected {expected} as annotated, got {got}: return a value of the annotated type, or "
        "change the return annotation; under `object` the whole value is sent"
    )
