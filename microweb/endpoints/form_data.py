"""Read a form for a parameter of an endpoint: `picture: FormData[Picture]`.

Each field of the dataclass is one field of the form, or a list of those with its name. Browsers
send no text for an empty input and nothing for a box that is not ticked, so an empty text is None
for a type with None, and an absent bool is False.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, get_args, get_origin

from ..bodies.annotations import bare, metadata_of
from ..bodies.constraints import checks_for
from ..bodies.forms import Form, UploadFile
from ..errors import ConfigurationError, HTTPError, UnprocessableContent
from ..faults import Fault
from ..request import Request
from .inputs import MISSING, Input, may_be_none
from .parameters import default_maker
from .scalars import Parse, run_checks, scalar_parser
from .signature import without_none

FieldReader = Callable[[Form], object]

_NOT_SENT = object()
_SHOWN_CHARACTERS = 200


def form_reader(described: Input) -> Callable[[Request], Awaitable[object]]:
    """Return the function that reads a form. Raises: ConfigurationError for a wrong class."""
    if not described.fields:
        raise ConfigurationError("FormData takes a dataclass with a field for each field of a form")
    cls: Any = bare(described.kind)
    readers = [(field, _field_reader(field)) for field in described.fields]
    absent = default_maker(described.default)
    has_default = described.default is not MISSING

    async def read_form(request: Request) -> object:
        if has_default and not request.section.has_body:
            return absent()
        form = await request.form()
        values: dict[str, object] = {}
        faults: list[Fault] = []
        for field, read in readers:
            try:
                value = read(form)
            except ValueError as error:
                faults.append(Fault("body", f"#/{field.name}", str(error)))
            else:
                if value is not _NOT_SENT:
                    values[field.parameter] = value
        if faults:
            raise UnprocessableContent(faults=faults)
        return _made(cls, values)

    return read_form


def _made(cls: Any, values: dict[str, object]) -> object:
    try:
        return cls(**values)
    except HTTPError:
        raise
    except (TypeError, ValueError) as error:  # raised by its __post_init__
        message = str(error)[:_SHOWN_CHARACTERS] or "refused"
        raise UnprocessableContent(faults=[Fault("body", "#", message)]) from error


def _field_reader(field: Input) -> FieldReader:
    """Return the reader of one field. It raises ValueError with a message for the client."""
    kind = without_none(field.kind)
    if get_origin(kind) is list or kind is list:
        return _list_reader(field, *(get_args(kind) or (str,)))
    if kind is UploadFile:
        return _one(field, _files_of(field.name), lambda file: file)
    metadata = metadata_of(field.kind)
    parse = scalar_parser(Annotated[(kind, *metadata)] if metadata else kind)
    if parse is None:
        raise ConfigurationError(
            f"the field {field.parameter!r} can't be read from a form: annotate it with str, int, "
            "float, bool, Decimal, UUID, a date or time, Literal, an Enum, UploadFile, or a list "
            "of one of these"
        )
    if may_be_none(field.kind) and kind is not str:
        parse = _none_if_empty(parse)
    return _one(field, _texts_of(field.name), parse)


def _none_if_empty(parse: Parse) -> Parse:
    return lambda text: parse(text) if text else None


def _one(
    field: Input, sent: Callable[[Form], list[Any]], parse: Callable[[Any], object]
) -> FieldReader:
    is_tick = bare(field.kind) is bool

    def read(form: Form) -> object:
        values = sent(form)
        if len(values) > 1:
            raise ValueError(f"expected it once, got it {len(values)} times")
        if values:
            return parse(values[0])
        return False if is_tick else _absent(field)

    return read


def _list_reader(field: Input, item: object) -> FieldReader:
    if item is UploadFile:
        sent: Callable[[Form], list[Any]] = _files_of(field.name)
        parse: Callable[[Any], object] | None = _same
    else:
        sent, parse = _texts_of(field.name), scalar_parser(item)
    if parse is None:
        raise ConfigurationError(f"the field {field.parameter!r} is a list of no scalars or files")
    parse_item, checks = parse, checks_for(field.kind)

    def read_list(form: Form) -> object:
        values = sent(form)
        if not values and not field.is_required:
            return _absent(field)
        items = [parse_item(value) for value in values]
        run_checks(checks, items)
        return items

    return read_list


def _same(value: object) -> object:
    return value


def _absent(field: Input) -> object:
    """Return the value of a field that was not sent. Raises: ValueError if it is required."""
    if field.is_required:
        raise ValueError("missing")
    return None if field.default is None else _NOT_SENT  # the class has the default


def _texts_of(name: str) -> Callable[[Form], list[Any]]:
    def texts(form: Form) -> list[Any]:
        if name in form.files:
            raise ValueError("expected a text, got a file")
        return form.get_all(name)

    return texts


def _files_of(name: str) -> Callable[[Form], list[Any]]:
    def files(form: Form) -> list[Any]:
        if name in form:
            raise ValueError("expected a file, got a text")
        return form.files.get_all(name)

    return files
