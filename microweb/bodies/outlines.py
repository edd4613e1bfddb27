"""Outline: the members of a class that is read from a JSON object, and the function that reads it.

The function is generated, as `dataclasses` generates `__init__`: a class with three members takes
1.2 us, and 2.8 with a loop over them. Its source contains numbers and the names of arguments, which
are Python identifiers; keys and readers are variables.
"""

from __future__ import annotations

from collections.abc import Callable
from keyword import iskeyword
from types import FunctionType
from typing import Any

from ..errors import HTTPError
from .json_containers import JSONObject
from .json_readers import Reader, is_tagged
from .mismatches import Convert, Mismatch, Refusal, joined, token_of

_SHOWN_CHARACTERS = 200

_SOURCE = """\
def read(value):
    if type(value) is not dict and not isinstance(value, dict):
        return Mismatch("an object", value)
    found = None
    {members}
    if found is not None:
        return found
    {returned}
"""
_REQUIRED = """\
    try:
        a{n} = value[k{n}]
    except KeyError:
        found = joined(found, Refusal("missing"), s{n})
    else:
        {read}
"""
_OPTIONAL = """\
    if k{n} in value:
        a{n} = value[k{n}]
        {read}
"""
_DEFAULT = """\
    else:
        a{n} = d{n}
"""
_READ = """\
if not ({test}):
            a{n} = c{n}(a{n})
            if isinstance(a{n}, Mismatch):
                found = joined(found, a{n}, s{n})
                if found.is_full:
                    return found"""
_CLOSED = """\
    if not keys.issuperset(value):
        found = closed(found, value)
"""
_CONSTRUCTED = """\
try:
        return cls({arguments})
    except HTTPError:
        raise
    except (TypeError, ValueError) as error:  # raised by its __post_init__
        return refusal_of(error)"""


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

        It makes an object of `cls`, or a JSONObject if `cls` is None. It may return a Mismatch.
        """
        scope: dict[str, Any] = {
            **{"JSONObject": JSONObject, "Mismatch": Mismatch, "Refusal": Refusal},
            **{"HTTPError": HTTPError, "joined": joined, "refusal_of": _refusal_of},
            **{"cls": cls, "keys": self._keys, "closed": self._closed},
        }
        members: list[str] = []
        arguments: list[str] = []
        defaults = self._defaults_in(cls)
        for n, (key, name, reader, is_required) in enumerate(self._members):
            scope |= {f"k{n}": key, f"n{n}": name, f"c{n}": reader.convert, f"s{n}": token_of(key)}
            is_named = cls is not None and name.isidentifier() and not iskeyword(name)
            read = _READ.format(n=n, test=reader.test.format(f"a{n}") or "False")
            if defaults is not None:
                arguments.append(f"a{n}")
            elif is_required and is_named:
                arguments.append(f"{name}=a{n}")
            else:
                read += f"\n        others[n{n}] = a{n}"
            members.append((_REQUIRED if is_required else _OPTIONAL).format(n=n, read=read))
            if defaults is not None and not is_required:
                scope[f"d{n}"] = defaults[name]
                members.append(_DEFAULT.format(n=n))
        if self._is_closed:
            members.append(_CLOSED)
        if cls is None or len(arguments) < len(self._members):
            members.insert(0, "    others = JSONObject()\n")
            arguments.append("**others")
        returned = _CONSTRUCTED.format(arguments=", ".join(arguments))
        source = _SOURCE.format(
            members="".join(members).strip(),
            returned=returned if cls is not None else "return others",
        )
        exec(source, scope)
        function: Convert = scope["read"]
        return function

    def _defaults_in(self, cls: Any) -> dict[str, object] | None:
        """Return the defaults of the arguments of `cls`; None if it is not called by position.

        An argument that is its default is the same as none. A call of a class with three members
        takes 1,300 instructions by position, and 3,000 by names.
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

    def _closed(self, found: Mismatch | None, value: dict[str, object]) -> Mismatch | None:
        """Return `found` with a mismatch for each key that no member has."""
        for key in sorted(value.keys() - self._keys):
            found = joined(found, Refusal("expected no such key"), token_of(key))
            if found.is_full:
                break
        return found


def _refusal_of(error: Exception) -> Refusal:
    refusal = Refusal(str(error)[:_SHOWN_CHARACTERS] or "refused")
    refusal.cause = error
    return refusal
