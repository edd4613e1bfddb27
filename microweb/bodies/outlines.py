"""Outline: the members of a class that is read from a JSON object, and the function that reads it.

The function is generated, as `dataclasses` generates `__init__`: a class with three members takes
1.2 us, and 2.8 with a loop over them. Its source contains numbers and the names of arguments, which
are Python identifiers; keys and readers are variables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from keyword import iskeyword
from types import FunctionType
from typing import Any, Never

from ..errors import HTTPError, MissingValue
from .json import JSONObject
from .json_readers import Reader, is_tagged
from .mismatches import Convert, Mismatch, Refusal

_SHOWN_CHARACTERS = 200

_SOURCE = """\
def read(value):
    if type(value) is not JSONObject and not isinstance(value, dict):
        raise Mismatch("an object", value)
    at = 0
    try:
        {members}
    except (Mismatch, MissingValue, KeyError) as error:
        raise refusal(error, at, value)
    {returned}
"""
_CONSTRUCTED = """\
try:
        return cls({arguments})
    except HTTPError:
        raise
    except (TypeError, ValueError) as error:  # raised by its __post_init__
        raise Refusal(str(error)[:shown] or "refused") from error"""


class Outline:
    """The members of an object. They are added later, so that a class can refer to itself.

    If it is closed, a key that no member has is a mismatch.
    """

    def __init__(self, *, is_closed: bool = False) -> None:
        self._members: list[tuple[str, str, Reader, bool]] = []
        self._required: set[str] = set()
        self._keys: set[str] = set()
        self._is_closed = is_closed
        self.tags: dict[str, Reader] = {}

    def add(self, key: str, name: str, reader: Reader, is_required: bool) -> None:
        """Add the member that is `key` in JSON and `name` in the result."""
        self._members.append((key, name, reader, is_required))
        self._keys.add(key)
        if is_required:
            self._required.add(key)
        if reader.fits is not None and reader.takes is None:
            self.tags[key] = reader

    def fits(self, value: dict[str, object]) -> bool:
        """Return whether the object has all required members and the tags match."""
        return value.keys() >= self._required and all(
            name not in value or is_tagged(value, name, tag) for name, tag in self.tags.items()
        )

    def reader(self, cls: Callable[..., object] | None) -> Convert:
        """Return the function that reads a value. Unknown keys are ignored.

        It makes an object of `cls`, or a JSONObject if `cls` is None. It raises Mismatch.
        """
        scope: dict[str, Any] = {
            **{"JSONObject": JSONObject, "Mismatch": Mismatch, "MissingValue": MissingValue},
            **{"HTTPError": HTTPError, "Refusal": Refusal, "shown": _SHOWN_CHARACTERS},
            **{"cls": cls, "refusal": self._refusal, "check_closed": self._check_closed},
        }
        lines: list[str] = []
        arguments: list[str] = []
        defaults = self._defaults_in(cls)
        for index, (key, name, reader, is_required) in enumerate(self._members):
            scope |= {f"k{index}": key, f"n{index}": name, f"c{index}": reader.convert}
            is_named = cls is not None and name.isidentifier() and not iskeyword(name)
            is_argument = defaults is not None or (is_required and is_named)
            lines.append(f"at = {index}")
            reading = [f"a{index} = value[k{index}]"]
            converted = f"a{index} = c{index}(a{index})"
            test = reader.test.format(f"a{index}")
            reading.append(f"if not ({test}): {converted}" if test else converted)
            if is_argument:
                arguments.append(f"a{index}" if defaults is not None else f"{name}=a{index}")
            else:
                reading.append(f"others[n{index}] = a{index}")
            if is_required:
                lines += reading
            else:
                lines += [f"if k{index} in value:", *(f"    {line}" for line in reading)]
                if defaults is not None:
                    scope[f"d{index}"] = defaults[name]
                    lines += ["else:", f"    a{index} = d{index}"]
        if self._is_closed:
            lines += [f"at = {len(self._members)}", "check_closed(value)"]
        if cls is None or len(arguments) < len(self._members):
            lines.insert(0, "others = JSONObject()")
            arguments.append("**others")
        returned = _CONSTRUCTED.format(arguments=", ".join(arguments))
        source = _SOURCE.format(
            members="\n        ".join(lines) or "pass",
            returned=returned if cls is not None else "return others",
        )
        exec(source, scope)
        read: Convert = scope["read"]
        return read

    def _defaults_in(self, cls: Any) -> dict[str, object] | None:
        """Return the defaults of the arguments of `cls`; None if it is not called by position.

        An argument that is its default is the same as none. A call of a class with three members
        takes 0.3 us by position, and 0.7 by names.
        """
        init: Any = getattr(cls, "__init__", None)
        is_plain = (
            isinstance(cls, type)
            and isinstance(init, FunctionType)
            and type(cls).__call__ is type.__call__
            and cls.__new__ is object.__new__  # type: ignore[comparison-overlap]
        )
        if not is_plain:
            return None
        taken = init.__code__.co_varnames[1 : init.__code__.co_argcount]
        defaults = dict(zip(reversed(taken), reversed(init.__defaults__ or ()), strict=False))
        names = tuple(name for _, name, _, _ in self._members)
        has_all = all(each[3] or each[1] in defaults for each in self._members)
        return defaults if taken[: len(names)] == names and has_all else None

    def _check_closed(self, value: dict[str, object]) -> None:
        if not self._keys.issuperset(value):
            raise Refusal("expected no such key")

    def _refusal(self, error: Exception, at: int, value: dict[str, object]) -> Exception:
        """Return the mismatch of the member number `at`, with those of the members after it."""
        is_member = at < len(self._members)
        key = self._members[at][0] if is_member else min(value.keys() - self._keys)
        if not isinstance(error, Mismatch):
            if key in value:
                return error  # raised by the reader of the member
            error = Refusal("missing")
        error.add_step(key)
        error.read_rest(self._rest_after(at, key, value))
        return error

    def _rest_after(
        self, at: int, last: str, value: dict[str, object]
    ) -> Iterator[tuple[str, Convert, object]]:
        """Yield the key, the reader and the value of all members after the one at `at`."""
        for key, _, reader, is_required in self._members[at + 1 :]:
            if key in value:
                yield key, reader.convert, value[key]
            elif is_required:
                yield key, partial(_refuse, "missing"), None
        if self._is_closed:
            for key in value.keys() - self._keys - {last}:
                yield key, partial(_refuse, "expected no such key"), None


def _refuse(problem: str, value: object) -> Never:
    raise Refusal(problem)
