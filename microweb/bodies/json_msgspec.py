"""JSON by msgspec, if it is installed: the bytes and the values of `bodies.json`, in less time.

The functions leave a value or a text that msgspec would write or read in another way, or refuse.
Then `bodies.json` does it, so bytes, values and messages do not depend on the installed packages.

msgspec writes dataclasses, dates and other classes by rules of its own. So it gets dicts and lists
of the types that JSON is read to, and of no other subclass. The shapes whose types are checked in
less time than the standard library writes them: flat dicts, lists of them, and dicts that contain
these.

Times, in parts of those without msgspec, to write and to read:

- a dict of 36 texts (1 KiB): 0.5 and 0.7
- `{"message": "Hello, World!"}`: 0.8 and 0.8
- a list of 100 dicts with a number and a price: 0.7 and 0.5
- a dict of 40 bytes with a short list in it: 1.0 and 1.0

Read for a declared type, which needs no JSONObject, these are 0.5, 0.5, 0.25 and 0.5.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import cache
from itertools import chain
from types import NoneType
from typing import Any, Final, NamedTuple

from .json_containers import JSONArray, JSONObject

LEFT: Final = object()

SCALARS = frozenset((str, int, bool, NoneType))
_NUMBERS_TOO = SCALARS | {float}
_CONTAINERS = frozenset((dict, list))
_TEXT = frozenset((str,))
_DICT = frozenset((dict,))
_LIST = frozenset((list,))
_DICTS = frozenset((dict, JSONObject))  # these are written
_LISTS = frozenset((list, JSONArray))

_MAX_DEPTH = 16  # of dicts; also ends the check of a dict that contains itself

_MAX_COLLECTED = 16 * 1024  # bytes: a longer text is parsed without the garbage collector


class Codec(NamedTuple):
    """The functions of msgspec, and what they raise."""

    encode: Callable[[object], bytes]
    decode: Callable[[bytes], Any]
    errors: tuple[type[Exception], ...]


def import_codec() -> Codec | None:
    """Return the functions of msgspec; None if it is not installed."""
    try:
        import msgspec
    except ImportError:
        return None
    # UnicodeError, and the error for an int of too many digits, are a ValueError.
    errors = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)
    return Codec(msgspec.json.Encoder().encode, msgspec.json.Decoder().decode, errors)


@cache
def msgspec_codec() -> Codec | None:
    """Return the functions of msgspec, which the first call imports, if it is installed."""
    return import_codec()


# --- values to bytes ------------------------------------------------------------------


def write(codec: Codec, value: object) -> bytes | None:
    """Return a dict or a list as JSON; None if `bodies.json` must write it."""
    if not _is_plain(value, 0):
        return None
    try:
        return codec.encode(value)
    except codec.errors:  # half a surrogate pair, an int of too many digits
        return None


def _is_plain(value: Any, depth: int) -> bool:
    """Return whether msgspec surely writes a container as `bodies.json` does."""
    if type(value) in _LISTS:
        if not _DICTS.issuperset(map(type, value)):
            return _are_plain(value)
        return _TEXT.issuperset(map(type, chain.from_iterable(value))) and _are_plain(
            [*chain.from_iterable(map(dict.values, value))]
        )
    if type(value) not in _DICTS:
        return False
    for key, each in value.items():  # a loop takes two thirds of the time of `issuperset`
        kind = type(each)
        if type(key) is not str:
            return False
        if kind in SCALARS:
            continue
        if kind is float:
            if not (1e-4 <= abs(each) < 1e16 or each == 0):
                return False
        elif kind in _LISTS and SCALARS.issuperset(map(type, each)):
            continue
        elif depth == _MAX_DEPTH or not _is_plain(each, depth + 1):
            return False
    return True


def _are_plain(values: list[Any]) -> bool:
    """Return whether all values are scalars, and floats without an exponent.

    Both write the shortest digits, but 1e+16 and 1e16. NaN would be null.
    """
    if SCALARS.issuperset(map(type, values)):
        return True
    return _NUMBERS_TOO.issuperset(map(type, values)) and all(
        [1e-4 <= abs(each) < 1e16 or each == 0 for each in values if type(each) is float]
    )


# --- bytes to values ------------------------------------------------------------------


def read(codec: Codec, data: bytes, make: Callable[[dict[str, object]], object] | None) -> object:
    """Return the value of a JSON text; `LEFT` if it is refused. `make` makes an object of a dict.

    `bodies.json` refuses it again, with the place. It also accepts a byte order mark.
    """
    collects = len(data) > _MAX_COLLECTED and gc.isenabled()
    if collects:
        gc.disable()  # the values contain no garbage
    try:
        value = codec.decode(data)
        if make is None:
            return value
        if type(value) is dict and data.count(b"{") == 1:  # of 7 members in half of the time
            return make(value)
        return _made(value, make)
    except codec.errors:
        return LEFT
    finally:
        if collects:
            gc.enable()


def _made(value: Any, make: Callable[[dict[str, object]], object]) -> object:
    if type(value) is dict:
        if not _CONTAINERS.isdisjoint(map(type, value.values())):
            for key, each in value.items():
                kind = type(each)
                if kind is dict or (kind is list and not _CONTAINERS.isdisjoint(map(type, each))):
                    value[key] = _made(each, make)
        return make(value)
    if type(value) is not list:
        return value
    kinds = {*map(type, value)}
    if _CONTAINERS.isdisjoint(kinds):
        return value
    if kinds == _DICT and _CONTAINERS.isdisjoint(
        map(type, chain.from_iterable(map(dict.values, value)))
    ):
        return [*map(make, value)]
    if kinds == _LIST and _CONTAINERS.isdisjoint(map(type, chain.from_iterable(value))):
        return value
    return [_made(each, make) if type(each) in _CONTAINERS else each for each in value]
