"""The objects and arrays of a JSON body: a dict and a list whose missing keys are a 400."""

from __future__ import annotations

from typing import Any, Never

from ..errors import MissingValue

_SHOWN_CHARACTERS = 80


class JSONObject(dict[str, object]):
    """A JSON object: a dict, but `[key]` with a missing key raises a 400 that names the key."""

    __slots__ = ()

    def __missing__(self, key: object) -> Never:
        shown = repr(key)[:_SHOWN_CHARACTERS]
        raise MissingValue(f"expected the key {shown} in the JSON object, got none")


class JSONArray(list[object]):
    """A JSON array: a list, but `["key"]` raises a 400 that names the key."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            shown = repr(index)[:_SHOWN_CHARACTERS]
            raise MissingValue(f"expected a JSON object with the key {shown}, got an array")
        return super().__getitem__(index)
