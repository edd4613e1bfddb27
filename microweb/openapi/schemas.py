"""Types to JSON Schemas: the same types that JSON is read to and written from.

A class, an Enum and a recursive alias are one schema each, which other schemas name by `$ref`. The
members, names and constraints come from the modules that readers use, so that both agree.
JSON Schema draft 2020-12, which OpenAPI 3.1 uses.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, asdict, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from itertools import compress, product
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin
from uuid import UUID

from ..bodies.annotations import bare, is_alias, metadata_of, value_of
from ..bodies.class_members import (
    Member,
    has_members,
    is_closed,
    is_named_tuple,
    members_of,
    substituted,
)
from ..bodies.constraints import annotated_alternatives_of, limits_of
from ..bodies.containers import ARRAYS, OBJECTS, type_of_items, type_of_members
from ..bodies.foreign import is_model, is_struct
from ..bodies.forms import UploadFile
from ..errors import ConfigurationError
from ..typed import Meta

Schema = dict[str, Any]

REF = "#/components/schemas/"
_INT64 = 1 << 63
_MAX_FLAGS = 8  # of which all combinations are listed

# Narrower than the reader: a pattern can't bound the sum of digits and exponent.
_DECIMAL = r"^-?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-3]?[0-9]{1,3})?$"

# Without years and months, which have no fixed length. The format refuses a "P" alone.
_DURATION = (
    "^[-+]?P([0-9]{1,6}W)?([0-9]{1,8}D)?"
    r"(T([0-9]{1,9}H)?([0-9]{1,9}M)?([0-9]{1,9}(\.[0-9]{1,6})?S)?)?$"
)
_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"

PLAIN: dict[object, Schema] = {
    object: {},
    str: {"type": "string"},
    int: {
        "type": "integer",
        "format": "int64",
        "minimum": -_INT64,
        "maximum": _INT64 - 1,
        "examples": [1],  # else a page suggests the minimum
    },
    float: {"type": "number"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
    tuple: {"type": "array", "items": {}},
    datetime: {"type": "string", "format": "date-time", "examples": ["2030-01-31T12:00:00Z"]},
    date: {"type": "string", "format": "date", "examples": ["2030-01-31"]},
    time: {"type": "string", "format": "time", "examples": ["12:00:00Z"]},
    timedelta: {
        "type": "string",
        "format": "duration",
        "pattern": _DURATION,
        "examples": ["PT1H30M"],
    },
    UUID: {
        "type": "string",
        "format": "uuid",
        "examples": ["01234567-89ab-4cde-8f01-23456789abcd"],
    },
    Decimal: {"type": ["string", "number"], "pattern": _DECIMAL, "examples": ["9.90"]},
    bytes: {
        "type": "string",
        "contentEncoding": "base64",
        "pattern": _BASE64,
        "examples": ["aGVsbG8="],
    },
    UploadFile: {"type": "string", "contentMediaType": "application/octet-stream"},
}

_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", NoneType: "null"}

# Constraint -> its keyword for numbers; of lengths, that for texts, arrays and objects.
_OF_NUMBERS = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
    "multiple_of": "multipleOf",
}
_OF_LENGTHS = {"string": "Length", "array": "Items", "object": "Properties"}


_PROBLEM: Schema = {
    "type": "object",
    "description": "Problem details. RFC 9457",
    "properties": {
        "status": {"type": "integer"},
        "title": {"type": "string"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": f"{REF}Fault"}},
    },
    "required": ["status", "title"],
}
_FAULT: Schema = {
    "type": "object",
    "description": "One wrong place of a request: a JSON pointer in the body, or a parameter",
    "properties": {
        "in": {"type": "string", "enum": ["body", "path", "query", "header", "cookie"]},
        "pointer": {"type": "string"},
        "name": {"type": "string"},
        "detail": {"type": "string"},
    },
    "required": ["in", "detail"],
}


class Schemas:
    """The schemas of one document. `components` holds those that have a name.

    `has_default`: True if the app's `json_default` writes values of any other class.
    """

    def __init__(self, *, has_default: bool = False) -> None:
        self._has_default = has_default
        self._names: dict[object, str] = {}
        self._kinds: dict[str, object] = dict.fromkeys(("Problem", "Fault"))  # these are ours
        self._found: dict[object, Schema] = {}

    @property
    def problem(self) -> Schema:
        """The schema of problem details, which errors have. RFC 9457"""
        for name, schema in (("Problem", _PROBLEM), ("Fault", _FAULT)):
            self._names[name], self._found[name] = name, schema
        return {"$ref": f"{REF}Problem"}

    @property
    def components(self) -> dict[str, Schema]:
        """The schemas with a name, sorted by it."""
        named = {self._names[kind]: schema for kind, schema in self._found.items()}
        return dict(sorted(named.items()))

    def schema_of(self, kind: object) -> Schema:
        """Return the schema of a type. Raises: ConfigurationError for a type that JSON has not."""
        metadata = metadata_of(kind)
        if get_origin(bare(kind)) in (Union, UnionType):
            return described(self._union(kind), metadata)  # each alternative has its limits
        schema = self._bare_schema(bare(kind))
        if limits_of(metadata):
            schema = {**schema, **_limits(schema, metadata)}
            schema.pop("examples", None)  # ours may break a limit
        return described(schema, metadata)

    def _bare_schema(self, kind: Any) -> Schema:
        origin, arguments = get_origin(kind), get_args(kind)
        if is_alias(kind) or is_alias(origin):
            return self._named(kind, self._alias)
        if origin is Literal:
            return _choices(arguments)
        if origin is tuple:
            return self._tuple(arguments)
        if (origin or kind) in ARRAYS:
            return {"type": "array", "items": self.schema_of(type_of_items(arguments))}
        if (origin or kind) in OBJECTS:
            members = self.schema_of(type_of_members(origin or kind, arguments))
            return {"type": "object", **({"additionalProperties": members} if members else {})}
        if (found := PLAIN.get(origin or kind)) is not None:
            return dict(found)
        return self._class(kind, origin or kind)

    def _class(self, kind: object, cls: Any) -> Schema:
        if isinstance(cls, type) and issubclass(cls, Flag):
            return self._named(kind, lambda each: _combinations(cls))
        if isinstance(cls, type) and issubclass(cls, Enum):
            return self._named(kind, lambda each: _choices(list(cls)))
        if has_members(cls):
            return self._named(kind, self._object)
        if isinstance(cls, type) and is_named_tuple(cls):
            return self._named(kind, self._named_tuple)
        if is_model(cls) or is_struct(cls):
            return self._foreign(cls)
        if self._has_default and isinstance(cls, type):
            return {}
        raise ConfigurationError(f"openapi: expected a type that JSON has, got {kind!r:.80}")

    def _named(self, kind: object, make: Callable[[Any], Schema]) -> Schema:
        """Return a reference to the schema of a type, made once. It may refer to itself."""
        if kind not in self._found:
            self._names[kind] = self._name_for(kind)
            self._found[kind] = {}
            self._found[kind].update(make(kind))
        return {"$ref": REF + self._names[kind]}

    def _name_for(self, kind: object) -> str:
        """Return a name that no other type has: `Page_Note`, or `orders_Note` after a clash."""
        name = _label(kind)
        if name in self._kinds:
            module = getattr(get_origin(kind) or kind, "__module__", "")
            name = f"{module.rpartition('.')[2]}_{name}"
        plain, number = name, 2
        while name in self._kinds:
            name, number = f"{plain}_{number}", number + 1
        self._kinds[name] = kind
        return name

    def _alias(self, kind: Any) -> Schema:
        alias = get_origin(kind) or kind
        bound = dict(zip(getattr(alias, "__type_params__", ()), get_args(kind), strict=False))
        return self.schema_of(substituted(value_of(alias), bound))

    def _union(self, kind: object) -> Schema:
        found = [self.schema_of(each) for each in annotated_alternatives_of(kind)]
        if {} in found:
            return {}
        schemas = [each for index, each in enumerate(found) if each not in found[:index]]
        null = PLAIN[NoneType]
        rest = [each for each in schemas if each != null]
        is_plain = len(rest) == 1 and isinstance(rest[0].get("type"), str) and "enum" not in rest[0]
        if null in schemas and is_plain:
            return {**rest[0], "type": [rest[0]["type"], "null"]}
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}

    def _tuple(self, arguments: tuple[object, ...]) -> Schema:
        if len(arguments) == 2 and arguments[1] is ...:
            return {"type": "array", "items": self.schema_of(arguments[0])}
        items = [self.schema_of(each) for each in arguments]
        return _array_of(items, len(items))

    def _object(self, kind: Any) -> Schema:
        members = members_of(kind)
        schema: Schema = {"type": "object"}
        schema["properties"] = {each.key: self._member(each) for each in members}
        if required := sorted(each.key for each in members if each.is_required):
            schema["required"] = required
        cls = get_origin(kind) or kind
        if is_closed(cls):
            schema["additionalProperties"] = False
        return described(schema, (vars(cls).get("__meta__"),))

    def _member(self, member: Member) -> Schema:
        schema = self.schema_of(member.kind)
        if member.argument is None:
            schema = {**schema, "readOnly": True}
        return with_default(schema, member.default)

    def _named_tuple(self, kind: Any) -> Schema:
        members = members_of(kind)
        items = [self.schema_of(each.kind) for each in members]
        return _array_of(items, sum(each.is_required for each in members))

    def _foreign(self, cls: Any) -> Schema:
        """Return the schema that the library of a class makes, with its parts among ours."""
        if is_model(cls):
            whole = cls.model_json_schema(ref_template=REF + "{model}")
            parts = whole.pop("$defs", {})
            if "$ref" in whole:  # a recursive model is among the parts itself
                whole = parts.pop(cls.__name__)
        else:
            (_,), parts = sys.modules["msgspec"].json.schema_components(
                (cls,), ref_template=REF + "{name}"
            )
            whole = parts.pop(cls.__name__)
        reference = self._named(cls, lambda each: whole)
        for name, part in parts.items():
            if name not in self._kinds:
                self._kinds[name] = self._names[name] = name
                self._found[name] = part
        return reference


def described(schema: Schema, metadata: Iterable[object]) -> Schema:
    """Return a schema with the title, description, examples and deprecation of a `Meta`."""
    found: Schema = dict(schema)
    for each in metadata:
        if isinstance(each, Meta):
            texts = {"title": each.title, "description": each.description}
            found |= {name: text for name, text in texts.items() if text}
            if each.examples:
                found["examples"] = [json_form(example) for example in each.examples]
            if each.deprecated:
                found["deprecated"] = True
    return found


def with_default(schema: Schema, default: object) -> Schema:
    """Return a schema with a default, unless that is null or can't be written."""
    if default is MISSING or default is None:
        return schema
    value = json_form(default)
    return schema if value is None else {**schema, "default": value}


def json_form(value: object) -> object:
    """Return a value as JSON has it, None if it has no simple form."""
    if isinstance(value, Enum):
        return json_form(value.value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        return [json_form(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): json_form(each) for key, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return json_form(asdict(value))
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return str(value) if isinstance(value, (Decimal, UUID)) else None


def _choices(choices: Iterable[object]) -> Schema:
    values = [json_form(each) for each in choices]
    if any(type(each) not in _TYPES for each in values):
        return {"enum": values}  # of an answer: it may have lists, too
    kinds = sorted({_TYPES[type(each)] for each in values})
    return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": values}


def _combinations(cls: type[Flag]) -> Schema:
    """Return the schema of the integers that stand for members of a Flag, and for none."""
    flags = [member.value for member in cls]
    every = sum(flags)
    if every == (1 << len(flags)) - 1 or len(flags) > _MAX_FLAGS:
        return {"type": "integer", "minimum": 0, "maximum": every}
    chosen = product((True, False), repeat=len(flags))
    return {"type": "integer", "enum": sorted(sum(compress(flags, each)) for each in chosen)}


def _array_of(items: list[Schema], required: int) -> Schema:
    schema: Schema = {"type": "array", "minItems": required, "maxItems": len(items)}
    return {**schema, "prefixItems": items} if items else schema


def _limits(schema: Schema, metadata: tuple[object, ...]) -> Schema:
    """Return the keywords of the constraints that JSON Schema has for this type."""
    found: Schema = {}
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    for name, limit in limits_of(metadata):
        if name in _OF_NUMBERS:
            if kind in ("integer", "number"):
                found[_OF_NUMBERS[name]] = float(limit) if isinstance(limit, Decimal) else limit
        elif name == "pattern":
            found["pattern"] = limit
        elif kind in _OF_LENGTHS and "contentEncoding" not in schema:
            found[name[:3] + _OF_LENGTHS[kind]] = limit
    if "pattern" in found and "maxLength" not in found:
        found["maxLength"] = 1000
    return found


def _label(kind: object) -> str:
    """Return the name of a type in the letters that components may have: `Page_Note`."""
    origin = get_origin(kind)
    name = getattr(origin or kind, "__name__", str(kind))
    arguments = [_label(bare(each)) for each in get_args(kind)]
    return re.sub(r"[^A-Za-z0-9.-]+", "_", "_".join([name, *arguments])).strip("_")
