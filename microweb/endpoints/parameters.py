"""Read the parameters of an endpoint from the path, the query, the header section and cookies.

A getter takes the request and returns the value of one input. If the text is wrong, it raises a 400
with the fault. `refusal_of` then calls the other getters too, so that the answer names all faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from operator import attrgetter
from typing import Annotated, Any, get_args, get_origin

from ..bodies.annotations import bare, metadata_of
from ..bodies.constraints import checks_for
from ..errors import ConfigurationError, HTTPError, InvalidValue, MissingValue, TooManyFields
from ..faults import Fault, Source
from ..http.headers import list_members
from ..request import Request
from .inputs import MISSING, Input
from .scalars import Parse, run_checks, scalar_parser
from .signature import without_none

Getter = Callable[[Request], object]

REFUSED = (InvalidValue, MissingValue)

_NOT_SENT = object()

# Values of these classes can't change, so all requests may share a default.
_SHARED = (str, bytes, int, float, bool, type(None))

# The texts of a source by name.
_TEXTS: dict[str, Callable[[Request], Mapping[str, str]]] = {
    "query": attrgetter("query"),
    "header": attrgetter("section.headers.by_name"),
    "cookie": attrgetter("cookies"),
}


def parameter_getter(described: Input) -> Getter | None:
    """Return the getter of an input; None if parameters can't have its type.

    Raises: ConfigurationError for a constraint that does not fit.
    """
    if described.fields:
        return _fields_getter(described)
    kind = without_none(described.kind)
    if get_origin(kind) is list or kind is list:
        return _list_getter(described, *(get_args(kind) or (str,)))
    metadata = metadata_of(described.kind)
    parse = scalar_parser(Annotated[(kind, *metadata)] if metadata else kind)
    return None if parse is None else _scalar_getter(described, parse)


def checked_path_getter(name: str, kind: object) -> Getter | None:
    """Return the getter that checks the constraints of a path parameter; None if it has none."""
    checks = checks_for(kind)
    if not checks:
        return None

    def get_checked(request: Request) -> object:
        value = request.match.params[name]  # type: ignore[union-attr]
        try:
            run_checks(checks, value, str(value))
        except ValueError as error:
            raise _invalid("path", name, error) from error
        return value

    return get_checked


def refusal_of(request: Request, getters: Iterable[Getter], first: HTTPError) -> HTTPError:
    """Return the 400 with the faults of all parameters, after one getter has raised `first`."""
    faults: list[Fault] = []
    for getter in getters:
        try:
            getter(request)
        except REFUSED as error:
            faults += error.faults
    kind = MissingValue if isinstance(first, MissingValue) else InvalidValue
    return kind(faults=dict.fromkeys(faults))  # two functions may read the same parameter


def default_maker(default: object) -> Callable[[], object]:
    """Return a function that returns `default`, as a copy if it can change."""
    if isinstance(default, _SHARED) or default is _NOT_SENT:
        return lambda: default
    return lambda: deepcopy(default)


def _source_of(described: Input) -> Source:
    assert described.source != "json" and described.source != "form"
    return described.source


def _scalar_getter(described: Input, parse: Parse) -> Getter:
    name, source, default = described.name, _source_of(described), described.default
    texts = _TEXTS[source]
    is_shared = isinstance(default, _SHARED) or default is _NOT_SENT

    def get(request: Request) -> object:
        text = texts(request).get(name)
        if text is not None:
            try:
                return parse(text)
            except ValueError as error:
                raise _invalid(source, name, error) from error
        if default is MISSING:
            raise _missing(source, name)
        return default if is_shared else deepcopy(default)

    return get


def _list_getter(described: Input, item: object) -> Getter | None:
    name, source = described.name, _source_of(described)
    parse, all_texts = scalar_parser(item), _ALL_TEXTS.get(source)
    if parse is None:
        return None
    if all_texts is None:
        raise ConfigurationError(f"a {source} has one value, not a list: annotate it with one type")
    checks = checks_for(described.kind)
    absent = default_maker(described.default)

    def get_list(request: Request) -> object:
        texts = all_texts(request, name)
        if not texts:
            if described.default is MISSING:
                raise _missing(source, name)
            return absent()
        try:
            values = [parse(text) for text in texts]
            run_checks(checks, values)
        except ValueError as error:
            raise _invalid(source, name, error) from error
        return values

    return get_list


def _fields_getter(described: Input) -> Getter:
    """Return the getter of a dataclass whose fields are parameters."""
    cls: Any = bare(without_none(described.kind))
    getters = {field.parameter: _field_getter(field) for field in described.fields}
    source, names = _source_of(described), ", ".join(each.name for each in described.fields)

    def get_fields(request: Request) -> object:
        try:
            values = {name: getter(request) for name, getter in getters.items()}
        except REFUSED as error:
            raise refusal_of(request, getters.values(), error) from error
        try:
            return cls(**{key: each for key, each in values.items() if each is not _NOT_SENT})
        except HTTPError:
            raise
        except (TypeError, ValueError) as error:  # raised by its __post_init__
            raise _invalid(source, names, error) from error

    return get_fields


def _field_getter(field: Input) -> Getter:
    made_by_class = field.default is MISSING and not field.is_required
    getter = parameter_getter(field._replace(default=_NOT_SENT) if made_by_class else field)
    if getter is None:
        raise ConfigurationError(
            f"the field {field.parameter!r} is no scalar or list of scalars, so a {field.source} "
            "can't hold it"
        )
    return getter


def _all_in_query(request: Request, name: str) -> list[str]:
    return request.query.get_all(name)


def _all_in_headers(request: Request, name: str) -> list[str]:
    value, limit = (
        request.section.headers.by_name.get(name, ""),
        request.transport.limits.max_form_fields,
    )
    if value.count(",") >= limit:
        raise TooManyFields(f"expected at most {limit} members of {name}, got more")
    return list_members(value)


_ALL_TEXTS: dict[str, Callable[[Request, str], list[str]]] = {
    "query": _all_in_query,
    "header": _all_in_headers,
}


def _missing(source: Source, name: str) -> MissingValue:
    return MissingValue(faults=[Fault(source, name, "missing")])


def _invalid(source: Source, name: str, error: Exception) -> InvalidValue:
    return InvalidValue(faults=[Fault(source, name, str(error)[:_SHOWN] or "refused")])


_SHOWN = 200  # characters of a message that an application's class may have raised
