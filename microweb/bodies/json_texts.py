"""Write the values of a declared type as JSON text, without dicts and lists in between.

Each function writes one type. It leaves other values to the type's writer, which checks them, and
to the encoder. The function of a class is generated, as `dataclasses` generates `__init__`: an
order with five objects takes 8 us in place of 17.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from json.encoder import encode_basestring
from keyword import iskeyword
from math import inf
from types import NoneType
from typing import Any
from uuid import UUID

from ..http.durations import format_duration
from .writers import ARRAYS, Array, Members, Object, UnionWriter, Writer

Text = Callable[[Any], str]


def _float(value: float) -> str:
    if -inf < value < inf:
        return float.__repr__(value)
    raise ValueError(f"expected a number that JSON can hold, got {value!r}")


# The values of exactly these classes are written for any declared type: they have no members.
_SCALARS: dict[type, Text] = {
    NoneType: lambda value: "null",
    bool: lambda value: "true" if value else "false",
    int: int.__repr__,
    float: _float,
    str: encode_basestring,
    **dict.fromkeys((date, datetime, time), lambda value: f'"{value.isoformat()}"'),
    timedelta: lambda value: f'"{format_duration(value)}"',
    **dict.fromkeys((Decimal, UUID), lambda value: f'"{value}"'),
    bytes: lambda value: f'"{b2a_base64(value, newline=False).decode()}"',
}
_text_for = _SCALARS.get


def text_of(writer: Writer, encode: Text) -> Text:
    """Return the function that writes the values of a type; `encode` writes any JSON form."""
    return _Compiler(encode).text_of(writer)


class _Compiler:
    def __init__(self, encode: Text) -> None:
        self._encode = encode
        self._begun: dict[Writer, Text] = {}

    def text_of(self, writer: Writer) -> Text:
        if writer in self._begun:
            return self._begun[writer]
        if type(writer) is Members:
            return self._members(writer)
        if isinstance(writer, Array):
            return self._array(writer)
        if isinstance(writer, Object):
            return self._object(writer)
        if isinstance(writer, UnionWriter):
            return self._union(writer)
        return self._any(writer)

    def _any(self, writer: Writer) -> Text:
        encode = self._encode
        return lambda value: encode(writer.of(value))

    def _members(self, writer: Members) -> Text:
        built: list[Text] = []  # a member may be of this class, which is not built yet
        self._begun[writer] = lambda value: built[0](value)
        scope: dict[str, Any] = {"find": _text_for, "cls": writer.kind, "other": self._any(writer)}
        scope |= {"quote": encode_basestring, "inf": inf}
        lines, pieces, before = [], [], "{"
        for index, (name, key, member) in enumerate(writer.members):
            scope[f"n{index}"], scope[f"t{index}"] = name, self.text_of(member)
            scope[f"p{index}"] = f"{before}{self._encode(key)}:"
            is_plain = name.isidentifier() and not iskeyword(name)
            lines.append(
                f"a{index} = " + (f"value.{name}" if is_plain else f"getattr(value, n{index})")
            )
            pieces.append(f"{{p{index}}}{{{_expression(member).format(n=index)}}}")
            before = ","
        scope["end"] = "}" if pieces else "{}"
        source = _SOURCE.format(lines="\n    ".join(lines), pieces="".join(pieces))
        exec(source, scope)
        built.append(scope["text"])
        self._begun[writer] = built[0]
        return built[0]

    def _array(self, writer: Array) -> Text:
        item, other = self.text_of(writer.item), self._any(writer)
        takes_all = isinstance(writer.item, _TAKING_ALL)

        def text(value: object) -> str:
            if not isinstance(value, ARRAYS):
                return other(value)
            if takes_all:
                return f"[{','.join(map(item, value))}]"
            return f"[{','.join([_text_for(type(each), item)(each) for each in value])}]"

        return text

    def _object(self, writer: Object) -> Text:
        member, other = self.text_of(writer.member), self._any(writer)

        def text(value: object) -> str:
            if type(value) is not dict or not {*map(type, value)} <= {str}:
                return other(value)
            pairs = [
                f"{encode_basestring(key)}:{_text_for(type(each), member)(each)}"
                for key, each in value.items()
            ]
            return f"{{{','.join(pairs)}}}"

        return text

    def _union(self, writer: UnionWriter) -> Text:
        other = self._any(writer)
        texts = {each.kind: self.text_of(each) for each in writer.writers if type(each) is Members}
        arrays = [each for each in writer.writers if isinstance(each, Array)]
        if len(arrays) == 1 and all(
            each.is_scalar or isinstance(each, (Array, Members)) for each in writer.writers
        ):
            texts[list] = self.text_of(arrays[0])
        return lambda value: texts.get(type(value), other)(value)


# The functions of these writers take values of any class.
_TAKING_ALL = (Members, Array)

# The text of a value of the declared class, without a call for its class.
_STRING = "quote(a{n}) if type(a{n}) is str else "
_INLINE = {
    "str": _STRING,
    "str | None": _STRING,
    "int": "a{n} if type(a{n}) is int else ",
    "float": "repr(a{n}) if type(a{n}) is float and -inf < a{n} < inf else ",
}


def _expression(writer: Writer) -> str:
    """Return the expression that writes the member `a{n}`; `t{n}` is the function of its type."""
    if isinstance(writer, _TAKING_ALL):
        return "t{n}(a{n})"
    return _INLINE.get(writer.expected, "") + "find(type(a{n}), t{n})(a{n})"


_SOURCE = """\
def text(value):
    if type(value) is not cls:
        return other(value)
    {lines}
    return f"{pieces}{{end}}"
"""
