"""Classes of pydantic and msgspec: read and written by their own library.

The library is not imported here. If an annotation names such a class, the application has imported
the library, and the class has all that is needed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

# `Expected `int`, got `str` - at `$.items[0].price``
# These are compiled at their first use.
_PLACE = r"(?s)(?P<problem>.*?)(?: - at `(?:key in )?\$(?P<place>.*)`)?"
_STEP = r"\.([^.\[\]]+)|\[([0-9]+)\]"

_SHOWN_CHARACTERS = 200


def is_struct(cls: object) -> bool:
    """Return whether a class is a `msgspec.Struct`."""
    return isinstance(cls, type) and hasattr(cls, "__struct_fields__")


def is_model(cls: object) -> bool:
    """Return whether a class is a `pydantic.BaseModel`."""
    return (
        isinstance(cls, type)
        and hasattr(cls, "model_validate")
        and hasattr(cls, "__pydantic_serializer__")
    )


def is_foreign(cls: object) -> bool:
    """Return whether a class has a library that reads and writes it."""
    return is_model(cls) or is_struct(cls)


def is_plain_struct(cls: Any) -> bool:
    """Return whether a Struct is an object of its fields, without a tag."""
    config = cls.__struct_config__
    return config.tag is None and not config.array_like


def foreign_reader(cls: Any) -> Callable[[object], object]:
    """Return the function that makes an object of a foreign class from a JSON value.

    It raises an error of the library, which `faults_in` takes apart.
    """
    if is_model(cls):
        validate: Callable[[object], object] = cls.model_validate
        return validate
    convert = sys.modules["msgspec"].convert
    return lambda value: convert(value, cls)


def faults_in(error: Exception) -> list[tuple[list[str | int], str]]:
    """Return the steps to each wrong value, the innermost first, and the library's message."""
    errors = getattr(error, "errors", None)
    if errors is not None:
        found = errors(include_url=False, include_context=False, include_input=False)
        return [(list(reversed(each["loc"])), _cut(each["msg"])) for each in found]
    match = re.fullmatch(_PLACE, str(error))
    assert match is not None  # the expression matches any text
    steps = [name or int(index) for name, index in re.findall(_STEP, match["place"] or "")]
    return [(list(reversed(steps)), _cut(match["problem"]))]


def _cut(message: str) -> str:
    text = message[:_SHOWN_CHARACTERS] or "refused"
    return text[0].lower() + text[1:]


def foreign_writer(cls: Any) -> Callable[[object], object]:
    """Return the function that writes an object by the fields that `cls` declares.

    A subclass of a model adds no fields. A Struct that is no plain object is of exactly this class.
    """
    if is_model(cls):
        to_python = cls.__pydantic_serializer__.to_python
        return lambda value: to_python(value, mode="json", by_alias=True)
    to_builtins: Callable[[object], object] = sys.modules["msgspec"].to_builtins
    return to_builtins
