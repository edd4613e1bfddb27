"""The lines of the access log, written without a `LogRecord` and without a dict of its fields.

Each line is the one that `logging` would write from the same record. A `LogRecord` made a line cost
up to four times as many instructions.
"""

from __future__ import annotations

import os
import time
from json.encoder import encode_basestring_ascii as _quoted

from ..http.grammar import METHODS
from ..request import Request, request_id_of
from .log_json import ours_line, timestamp
from .records import DONE, ExchangeRecord

LOGGER = "microweb.access"

_LINE = "%(method)s %(path)s %(status)d %(bytes)dB %(ms).1fms %(client)s"
_LINE_WITH_ID = _LINE + " %(request_id)s"
_END = " (%(how)s)"  # only of an exchange that did not end as usual

_FRACTIONS = [f".{us:03d}" for us in range(1000)]
_DONE = f',"microweb.how":"{DONE}"}}'
_METHOD = {method: f',"http.request.method":"{method}"' for method in METHODS}


def format_of(record: ExchangeRecord) -> str:
    """Return the format of the line, for the fields of `fields_of`."""
    request = record.request
    has_id = request is not None and request_id_of(request) is not None
    line = _LINE_WITH_ID if has_id else _LINE
    return line if record.how is DONE else line + _END


def fields_of(record: ExchangeRecord) -> dict[str, object]:
    """Return the attributes of a record: see docs/reference/logging.md."""
    request, client, begun = record.request, record.client, record.begun
    exchange = request.exchange if request is not None and request.has_exchange else None
    first_byte, handled = record.first_byte, record.handled
    return {
        "method": record.method or "-",
        "path": "-" if request is None else request.line.raw_path,
        "target": record.target or "-",
        "route": record.route,
        "status": record.status,
        "received": record.received,
        "bytes": record.sent,
        "ms": _ms(begun, record.ended),
        "first_byte_ms": _ms(begun, first_byte) if first_byte else None,
        "handler_ms": _ms(begun, handled) if handled else None,
        "client": client.host if client is not None else "-",
        "request_id": None if request is None else request_id_of(request),
        "trace_id": None if exchange is None else exchange.trace_id,
        "span_id": None if exchange is None else exchange.span_id,
        "how": record.how,
    }


def text_line(record: ExchangeRecord) -> str:
    """Return the line of a record as text: what `format_of` makes of its fields."""
    request, client = record.request, record.client
    method, path, request_id = "-", "-", None
    if request is not None:
        method, path = request.line.method or "-", request.line.raw_path
        request_id = request_id_of(request)
    sent, ms = f"{record.sent:d}B", f"{_ms(record.begun, record.ended):.1f}ms"
    text = f"{method} {path} {record.status:d} {sent} {ms} {'-' if client is None else client.host}"
    if request_id is not None:
        text += f" {request_id}"
    return text if record.how is DONE else f"{text} ({record.how})"


def object_line(record: ExchangeRecord) -> str:
    """Return the line of a record as an object: what `JSONFormatter` makes of its fields."""
    request, begun, at = record.request, record.begun, time.time()
    method = None if request is None else _METHOD.get(request.line.method)
    ids = None if request is None else _ids_of(request)
    if request is None or method is None or ids is None:  # rare
        fields = fields_of(record)
        return ours_line(LOGGER, format_of(record) % fields, fields, at)
    route, status, client = record.route, record.status, record.client
    first_byte, handled, how = record.first_byte, record.handled, record.how
    own = f',"logger":"{LOGGER}","process.pid":{os.getpid()}{method}'
    sizes = f',"http.request.size":{record.received},"http.response.size":{record.sent}'
    return "".join(
        (
            f'{{"timestamp":"{timestamp(at)}","severity":"INFO","message":',
            _quoted(text_line(record)),
            f'{own},"url.path":{_quoted(request.line.raw_path)}',
            "" if route is None else f',"http.route":{_quoted(route)}',
            f',"http.response.status_code":{status:d}{sizes}' if status else sizes,
            f',"microweb.duration_ms":{_ms_text(begun, record.ended)}',
            f',"microweb.first_byte_ms":{_ms_text(begun, first_byte)}' if first_byte else "",
            f',"microweb.handler_ms":{_ms_text(begun, handled)}' if handled else "",
            "" if client is None else f',"client.address":{_quoted(client.host)}',
            ids,
            _DONE if how is DONE else f',"microweb.how":{_quoted(how)}}}',
        )
    )


def _ids_of(request: Request) -> str | None:
    """Return the members with ids; None if a value is not text, which an application may set."""
    request_id, exchange, text = request_id_of(request), request._exchange, ""
    if request_id is not None:
        if type(request_id) is not str:
            return None
        text = f',"microweb.request_id":{_quoted(request_id)}'
    if exchange is not None and exchange.trace_id is not None:
        if type(exchange.trace_id) is not str or type(exchange.span_id) is not str:
            return None
        text += f',"trace_id":{_quoted(exchange.trace_id)},"span_id":{_quoted(exchange.span_id)}'
    return text


def _ms(begun: float, ended: float) -> float:
    """Return milliseconds with three digits."""
    return round((ended - begun) * 1_000_000) / 1000


def _ms_text(begun: float, ended: float) -> str:
    """Return the text of `_ms`, which costs a third of that of a float."""
    ms, us = divmod(round((ended - begun) * 1_000_000), 1000)
    return f"{ms}{_FRACTIONS[us]}"
