"""The lines of the access log, written without a `LogRecord` and without a dict of its fields.

Each line is the one that `logging` would write from the same record. A `LogRecord` made a line cost
up to four times as many instructions.
"""

from __future__ import annotations

import os
import time
from json.encoder import encode_basestring_ascii as _quoted

from ..http.grammar import METHODS
from ..http.request_log import request_id_of
from ..request import Request
from .log_json import DIGITS, ours_line, timestamp
from .log_text import safe_line
from .records import DONE, ExchangeRecord

LOGGER = "microweb.access"

_LINE = "%(method)s %(path)s %(status)d %(bytes)dB %(ms).1fms %(client)s"
_LINE_WITH_ID = _LINE + " %(request_id)s"
_END = " (%(how)s)"  # only of an exchange that did not end as usual

_MAX_PATH = 1 << 14  # characters: the members of a longer path are cut as those of any record

_NO_TRACE = (None, None)
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
    """Return the line of a record as text: what `TextFormatter` makes of its fields."""
    request, client = record.request, record.client
    request_id = None if request is None else request_id_of(request)
    us, host = _microseconds(record.begun, record.ended), None if client is None else client.host
    return safe_line(_text_line(record, us, host, request_id))


def _text_line(record: ExchangeRecord, us: int, host: str | None, request_id: str | None) -> str:
    request, host = record.request, "-" if host is None else host
    method, path = "-", "-"
    if request is not None:
        method, path = request.line.method or "-", request.line.raw_path
    text = f"{method} {path} {record.status} {record.sent}B {us / 1000:.1f}ms {host}"
    if request_id is not None:
        text += f" {request_id}"
    return text if record.how is DONE else f"{text} ({record.how})"


def object_line(record: ExchangeRecord, thread: str | None) -> str:
    """Return the line of a record as an object: what `JSONFormatter` makes of its fields.

    `thread` is the name of the server's thread, None if that is the main thread.
    """
    request, at = record.request, time.time()
    method = ids = request_id = None
    if request is not None and request.line.raw_path != "-":
        request_id = request_id_of(request)
        method, ids = _METHOD.get(request.line.method), _ids_of(request, request_id)
    client = record.client
    host = None if client is None else client.host
    is_long = request is not None and len(request.line.raw_path) > _MAX_PATH
    if request is None or method is None or ids is None or host == "-" or is_long:  # rare
        fields = fields_of(record)
        return ours_line(LOGGER, format_of(record) % fields, fields, at, thread)
    us, route = _microseconds(record.begun, record.ended), record.route
    route = "" if route is None else f',"http.route":{_quoted(route)}'
    status = f',"http.response.status_code":{record.status}' if record.status else ""
    first = handled = ""
    if record.first_byte:
        first = _ms_text(_microseconds(record.begun, record.first_byte))
        first = f',"microweb.first_byte_ms":{first}'
    if record.handled:
        handled = _ms_text(_microseconds(record.begun, record.handled))
        handled = f',"microweb.handler_ms":{handled}'
    address = "" if host is None else f',"client.address":{_quoted(host)}'
    behind = "" if thread is None else f',"thread.name":{_quoted(thread)}'
    message = _quoted(_text_line(record, us, host, request_id))
    # One f-string: to put 400 characters together piece by piece takes 4 us more.
    return (
        f'{{"timestamp":"{timestamp(at)}","severity":"INFO","message":{message}'
        f',"logger":"{LOGGER}","process.pid":{os.getpid()}'
        f'{method},"url.path":{_quoted(request.line.raw_path)}{route}{status}'
        f',"http.request.size":{record.received},"http.response.size":{record.sent}'
        f',"microweb.duration_ms":{_ms_text(us)}{first}{handled}{address}{ids}'
        f',"microweb.how":{_quoted(record.how)}{behind}}}'
    )


def _ids_of(request: Request, request_id: object) -> str | None:
    """Return the members with ids; None if a value is not text, which an application may set."""
    exchange, text = request._exchange, ""
    if request_id is not None:
        if type(request_id) is not str or request_id == "-":
            return None
        text = f',"microweb.request_id":{_quoted(request_id)}'
    if exchange is not None and (exchange.trace_id, exchange.span_id) != _NO_TRACE:
        for name, value in (("trace_id", exchange.trace_id), ("span_id", exchange.span_id)):
            if type(value) is not str or value == "-":
                return None
            text += f',"{name}":{_quoted(value)}'
    return text


def _microseconds(begun: float, ended: float) -> int:
    return round((ended - begun) * 1_000_000)


def _ms(begun: float, ended: float) -> float:
    return _microseconds(begun, ended) / 1000


def _ms_text(us: int) -> str:
    """Return the text of the milliseconds: it costs a third of the text of a float."""
    ms, us = divmod(us, 1000)
    return f"{ms}.{DIGITS[us]}"
