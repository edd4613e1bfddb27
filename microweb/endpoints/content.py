"""Read the body of a request for a parameter of its endpoint: `note: Json[Note]`.

The limits, and who may send it, are checked before the body is read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from ..bodies.incoming import check_sender, needs_no_check
from ..bodies.json_types import converter_for, reads_all
from ..http.request_log import name_in_log
from ..request import Request
from .form_data import form_reader
from .inputs import MISSING, Input
from .parameters import default_maker

ReadBody = Callable[[Request], Awaitable[object]]

_EMPTY = object()


def body_reader(described: Input) -> ReadBody:
    """Return the function that reads the body of an input. Raises: ConfigurationError."""
    return _json_reader(described) if described.source == "json" else form_reader(described)


def _json_reader(described: Input) -> ReadBody:
    convert, plain = converter_for(described.kind), reads_all(described.kind)
    absent = default_maker(described.default)
    empty = None if described.default is MISSING else _EMPTY

    async def read_json(request: Request) -> object:
        is_checked = needs_no_check(request.section)
        if not is_checked:
            check_sender(request.section.headers)
        incoming, match = request.incoming, request.match
        own = None if match is None else match.limits
        value = await incoming.json(own, empty, plain=plain, is_checked=is_checked)
        if value is _EMPTY:
            return absent()
        if incoming.has_few_values:  # without two coroutines, through which a refusal is raised
            return convert(value)
        return await incoming.convert(value, convert, partial(name_in_log, request))

    return read_json
