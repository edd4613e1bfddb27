"""The inputs of an endpoint: one description for each parameter whose value a client sends.

`arguments` binds by these descriptions, and a document can list them: they are built from the
signature when the route is registered, and nothing runs to read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import fields, is_dataclass
from inspect import Parameter
from types import UnionType
from typing import Annotated, Literal, NamedTuple, Union, get_args, get_origin

from ..bodies.annotations import bare, expanded_alternatives_of, metadata_of
from ..bodies.class_members import hints_of_class
from ..errors import ConfigurationError
from ..typed import Depends, From, Marker, Meta
from .type_matches import is_given_for

MISSING = Parameter.empty

InputSource = Literal["path", "query", "header", "cookie", "json", "form"]

_MARKERS = {
    "json": "Json",
    "form": "FormData",
    "query": "Query",
    "header": "Header",
    "cookie": "Cookie",
}


class Input(NamedTuple):
    """A parameter of an endpoint, or a field of a dataclass that stands for several.

    `name` is the name on the wire. `kind` is the annotation without the marker: constraints and
    descriptions are in its metadata. `default` is MISSING if there is none, or if a function makes
    it. `fields` are the inputs of `Query[SomeDataclass]` or `FormData[SomeDataclass]`, which itself
    is not on the wire.
    """

    parameter: str
    source: InputSource
    name: str
    kind: object
    default: object
    is_required: bool
    fields: tuple[Input, ...] = ()

    @property
    def is_body(self) -> bool:
        """Whether the value is read from the body."""
        return self.source in ("json", "form")

    @property
    def leaves(self) -> tuple[Input, ...]:
        """The inputs that have a name on the wire: the fields, or this one."""
        return self.fields or (self,)


def marked_input(name: str, hint: object, default: object) -> Input | None:
    """Return the input of a parameter with a marker such as `Query`, else None.

    Raises: ConfigurationError for a marker in the wrong place, and for a dataclass that a query
    can't hold.
    """
    if isinstance(hint, type):
        return None  # most are classes
    markers = [each for each in metadata_of(hint) if isinstance(each, From)]
    if not markers:
        _check_misplaced(hint)
        return None
    if len(markers) > 1:
        raise ConfigurationError("expected one source, got two markers: keep one of them")
    source, kind = markers[0].source, _without_marker(hint)
    cls = bare(kind)
    inside: tuple[Input, ...] = ()
    if source != "json" and isinstance(cls, type) and is_dataclass(cls):
        inside = tuple(_fields_of(cls, source))
    return scalar_input(name, source, kind, default, inside)


def _check_misplaced(hint: object) -> None:
    """Raise ConfigurationError for a marker that is not around the whole annotation."""
    for each in (hint, *_inner_types(hint)):
        if isinstance(each, Marker):
            raise ConfigurationError(f"{each.name} has no type here: write {each.name}[T]")
        for found in metadata_of(each):
            if isinstance(found, From):
                label = _MARKERS[found.source]
                raise ConfigurationError(
                    f"{label} stands inside the annotation: put it outside, as in "
                    f"{label}[T | None] or {label}[list[T]]"
                )
            _check_metadata(each, found)


def _check_metadata(hint: object, found: object) -> None:
    """Raise ConfigurationError for a marker in the metadata: `Annotated[str, Header]`.

    Otherwise its value would be read from the query.
    """
    kind = _name(bare(hint))
    if found is Depends:
        raise ConfigurationError(f"write Annotated[{kind}, Depends(function)], with the function")
    if isinstance(found, Marker):
        label = given = found.name
    elif inside := [each for each in metadata_of(found) if isinstance(each, From)]:
        label = _MARKERS[inside[0].source]
        given = f"{label}[{_name(bare(found))}]"
    else:
        return
    raise ConfigurationError(f"write {label}[{kind}] in place of Annotated[{kind}, {given}]")


def _name(kind: object) -> str:
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else f"{kind!s:.80}"


def scalar_input(
    name: str,
    source: InputSource,
    kind: object,
    default: object,
    inside: tuple[Input, ...] = (),
) -> Input:
    """Return the input of a parameter. Without a default, `T | None` is None if it is absent."""
    if default is MISSING and source != "json" and not inside and may_be_none(kind):
        default = None
    if default is not MISSING and default is not None and type(default) is not kind:
        _check_default(name, kind, default)
    wire_name = _wire_name(name, kind, source)
    return Input(name, source, wire_name, kind, default, default is MISSING, inside)


def _check_default(name: str, kind: object, default: object) -> None:
    """Raise ConfigurationError if a default is surely of another type than the annotation says.

    None is a default of any type, and only the classes in the annotation are compared.
    """
    classes = list(expanded_alternatives_of(kind))
    if kind is MISSING or not all(isinstance(each, type) for each in map(bare, classes)):
        return
    if isinstance(default, Depends) or is_given_for(type(default), kind):
        return
    raise ConfigurationError(
        f"the default of {name!r} is {default!r:.80}, but its annotation says {_name(bare(kind))}: "
        "make them agree"
    )


def may_be_none(kind: object) -> bool:
    """Return whether a type is a union with None."""
    if isinstance(kind, type):
        return False  # most are classes, and `get_origin` takes 1 us
    kind = bare(kind)
    return get_origin(kind) in (Union, UnionType) and type(None) in get_args(kind)


def name_in(metadata: tuple[object, ...], default: str) -> str:
    """Return the name on the wire that `Meta(name=...)` gives, else `default`."""
    names = [each.name for each in metadata if isinstance(each, Meta) and each.name is not None]
    return names[-1] if names else default


def _fields_of(cls: type, source: InputSource) -> Iterator[Input]:
    """Yield the inputs of a dataclass whose fields are parameters."""
    hints = hints_of_class(cls)
    for field in fields(cls):
        if not field.init:
            continue
        default = MISSING if field.default is NO_DEFAULT else field.default
        _check_field(field.name, hints[field.name], source)
        found = scalar_input(field.name, source, hints[field.name], default)
        has_factory = field.default_factory is not NO_DEFAULT
        yield found._replace(is_required=False) if has_factory else found


def _check_field(name: str, hint: object, source: InputSource) -> None:
    """Raise ConfigurationError if a field names another source than its dataclass has."""
    marked = marked_input(name, hint, MISSING)
    if marked is not None and marked.source != source:
        raise ConfigurationError(
            f"the field {name!r} has the source of its class, {_MARKERS[source]}: take it out of "
            f"the class, or {_MARKERS[marked.source]} out of its annotation"
        )


def _wire_name(name: str, kind: object, source: InputSource) -> str:
    metadata = metadata_of(kind)
    given = name_in(metadata, "") if metadata else ""
    if source != "header":
        return given or name
    return (given or name.replace("_", "-")).lower()


def _without_marker(hint: object) -> object:
    rest = [each for each in metadata_of(hint) if not isinstance(each, From)]
    inner = bare(hint)
    return Annotated[(inner, *rest)] if rest else inner


def _inner_types(hint: object) -> Iterator[object]:
    """Yield the types inside a type, at any depth."""
    for each in get_args(bare(hint)):
        yield each
        yield from _inner_types(each)
