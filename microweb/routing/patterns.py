"""Path patterns: `/users/{id:int}` is parsed once, matched by segment, and formatted for `url_for`.

A path is split at "/" into segments before it is percent-decoded, so `%2F` never separates two
segments (RFC 3986 section 2.2). A segment of a pattern is a literal, or one whole parameter that a
converter reads. An invalid pattern is refused when its route is registered, with the remedy.

The pattern matches each path that its `Pattern.format` returns. Other values are refused.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from ..errors import ConfigurationError
from ..http.urlencoded import percent_decode, percent_encode

_PARAMETER = re.compile(r"\{([^{}:]*+)(?::([^{}]*+))?\}")

# Clients resolve these segments before they send a path. RFC 3986 section 5.2.4
_DOT_SEGMENTS = frozenset({".", ".."})

_AFTER_ALL = 1 << 30


# --- converters -----------------------------------------------------------------------


class Converter:
    """The conversion between the text of one decoded segment and a value.

    `pattern` is a regex that must match the whole segment; `parse` then returns the value. If
    `parse` raises `ValueError`, the segment does not match. `url_for` calls `format`.

    Raises: ConfigurationError if the name is no identifier or the pattern no regex.
    """

    __slots__ = ("format", "key", "matches", "name", "parse", "pattern")

    def __init__(
        self,
        name: str,
        pattern: str,
        parse: Callable[[str], object],
        format: Callable[[Any], str] = str,
    ) -> None:
        if not name.isidentifier():
            raise ConfigurationError(
                f"expected an identifier as the name of a converter, got {name[:80]!r}"
            )
        try:
            self.matches: Callable[[str], object | None] = re.compile(pattern).fullmatch
        except re.error as error:
            raise ConfigurationError(
                f"converter {name!r}: correct its regex {pattern!r}: {error}"
            ) from error
        self.name, self.pattern, self.parse, self.format = name, pattern, parse, format
        self.key = name, pattern, parse, format  # equal for those that do the same


def parse_int64(text: str) -> int:
    """Return the integer of `text` if it fits 64 bits, as in SQL. Raises: ValueError."""
    value = int(text)
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"expected an integer of 64 bits, got {text[:80]!r}")
    return value


def _format_float(value: float) -> str:
    return f"{Decimal(repr(float(value))):f}"  # repr() alone would write 1e-07


def _format_uuid(value: object) -> str:
    """Return the canonical form of a UUID, or of text in another form such as `uuid.hex`."""
    try:
        return str(UUID(str(value)))
    except ValueError:
        return str(value)  # the pattern refuses it


STR = Converter("str", r"(?s:.+)", str)
PATH = Converter("path", r"(?s:.+)", str)

# In order of priority; converters of the application come before `str`. The number of digits is
# bounded, so that an int is cheap to parse and a float is never infinite (1.8e308).
BUILT_IN: Mapping[str, Converter] = MappingProxyType(
    {
        "uuid": Converter(
            "uuid", r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", UUID, _format_uuid
        ),
        "int": Converter("int", r"-?[0-9]{1,19}", parse_int64),
        "float": Converter("float", r"-?[0-9]{1,308}(?:\.[0-9]+)?", float, _format_float),
        "str": STR,
        "path": PATH,
    }
)


def _rank(converter: Converter, converters: Mapping[str, Converter]) -> int:
    if converter is STR or converter is PATH:
        return _AFTER_ALL + (converter is PATH)  # after later converters too
    return list(converters).index(converter.name)


# --- patterns -------------------------------------------------------------------------


class Parameter(NamedTuple):
    """A segment `{name:converter}`; the lower `rank` of two at the same place is tried first."""

    name: str
    converter: Converter
    rank: int

    @property
    def takes_rest(self) -> bool:
        """Whether it matches all remaining segments, not one."""
        return self.converter is PATH

    def format(self, value: object) -> str:
        """Return `value` percent-encoded. Raises: ValueError or TypeError if it doesn't fit."""
        if value is None:
            raise TypeError(f"expected a value for the path parameter {self.name!r}, got None")
        text = self.converter.format(value)
        if self.converter.matches(text) is None:
            raise ValueError(
                f"expected {self.converter.name} for the path parameter {self.name!r}, "
                f"got {value!r:.80}"
            )
        self.converter.parse(text)
        segments = text.split("/") if self.takes_rest else [text]
        if not _DOT_SEGMENTS.isdisjoint(segments):
            raise ValueError(
                f"expected no '.' or '..' as a segment in the path parameter {self.name!r}, "
                f"got {value!r:.80}: clients resolve it to another path"
            )
        return "/".join(map(percent_encode, segments))


class Pattern(NamedTuple):
    """A parsed path: its text, and its segments with the literals decoded."""

    path: str
    segments: tuple[str | Parameter, ...]

    @property
    def parameters(self) -> dict[str, str]:
        """The name of each parameter -> the name of its converter, in order."""
        return {
            segment.name: segment.converter.name
            for segment in self.segments
            if isinstance(segment, Parameter)
        }

    def format(self, params: Mapping[str, object]) -> str:
        """Return the percent-encoded path from which this pattern reads `params`.

        It never begins with "//", which a browser reads as another host (RFC 3986 section 4.2).

        Raises: TypeError for a parameter that is missing, unknown or None; ValueError for a value
        that this pattern would not match.
        """
        expected = self.parameters
        if params.keys() != expected.keys():
            raise TypeError(
                f"expected the parameters ({', '.join(expected)}) for {self.path!r}, "
                f"got ({', '.join(params)})"
            )
        parts = [
            part.format(params[part.name]) if isinstance(part, Parameter) else percent_encode(part)
            for part in self.segments
        ]
        written = "/" + "/".join(parts)
        if written.startswith("//"):
            raise ValueError(f"expected one leading '/' for {self.path!r}, got {written[:80]!r}")
        return written


def parse_pattern(
    path: str,
    converters: Mapping[str, Converter] = BUILT_IN,
    defaults: Mapping[str, str] = MappingProxyType({}),
) -> Pattern:
    """Return the parsed pattern of `path`.

    `converters` are the built-in ones, then those of the application in order of registration.
    `defaults` maps a parameter without a converter (`{id}`) to a converter's name; the default of
    other parameters is `str`. Names that are not in the path are ignored.

    Raises: ConfigurationError, which names the path and the remedy.
    """
    _check_path(path)
    segments: list[str | Parameter] = []
    parameters: list[Parameter] = []
    for raw in path.split("/")[1:]:
        if "{" in raw or "}" in raw:
            parameters.append(_parse_parameter(raw, path, converters, defaults))
            segments.append(parameters[-1])
        else:
            segments.append(_parse_literal(raw, path))
    names = [parameter.name for parameter in parameters]
    for name in names:
        if names.count(name) > 1:
            raise _fault(path, f"{name!r} is there twice: give each parameter its own name")
    for each in parameters:
        if each.takes_rest and each is not segments[-1]:
            raise _fault(path, f"{each.name!r} matches all remaining segments: make it the last")
    return Pattern(path, tuple(segments))


def names_in(path: str) -> list[str]:
    """Return the names of the parameters in a path, before it is parsed."""
    return [name for name, _ in _PARAMETER.findall(path)]


def _check_path(path: str) -> None:
    if not path:
        raise _fault(path, "write '/'; only a Router with a prefix has a route at ''")
    if not path.startswith("/"):
        raise _fault(path, "begin it with '/'")
    if path.startswith("//"):
        raise _fault(path, "begin it with one '/': browsers read '//name' as another host")
    if "?" in path or "#" in path:
        raise _fault(path, "leave the query and fragment out (a literal '?' is %3F, '#' is %23)")


def _parse_literal(raw: str, path: str) -> str:
    if not raw or (raw.isalnum() and raw.isascii()):  # no escape, and none is needed: most are so
        return raw
    try:
        literal = percent_decode(raw)
        percent_encode(literal)
    except ValueError as error:
        raise _fault(
            path, f"correct the escape in {raw!r}: '%' and two hex digits, UTF-8 (a '%' is %25)"
        ) from error
    if literal in _DOT_SEGMENTS:
        raise _fault(path, f"leave the segment {raw!r} out: clients resolve it before they send it")
    return literal


def _parse_parameter(
    raw: str, path: str, converters: Mapping[str, Converter], defaults: Mapping[str, str]
) -> Parameter:
    match = _PARAMETER.fullmatch(raw)
    if match is None:
        raise _fault(
            path,
            f"write {raw!r} as a whole segment, '{{name}}' or '{{name:converter}}' "
            "(a literal '{' is %7B, '}' is %7D)",
        )
    name, converter_name = match.groups()
    if not name.isidentifier() or keyword.iskeyword(name):
        raise _fault(path, f"name the parameter {raw!r} with an identifier that is not a keyword")
    if converter_name is None:
        converter_name = defaults.get(name, STR.name)
    if converter_name not in converters:
        if name in converters:
            raise _fault(path, f"write {{{converter_name}:{name}}} in place of {raw}")
        known = ", ".join(converters)
        raise _fault(
            path, f"register the converter {converter_name!r} of {raw!r}, or use one of {known}"
        )
    converter = converters[converter_name]
    return Parameter(name, converter, _rank(converter, converters))


def _fault(path: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"route path {path!r}: {remedy}")
