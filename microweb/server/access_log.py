"""The access log: one record of the logger `microweb.access` for each exchange."""

from __future__ import annotations

import logging
import sys

from ..logs import Log
from ..request import request_id_of
from .config import LogForm
from .console import is_terminal
from .log_setup import direct_handler
from .records import DONE, ExchangeRecord, Observer

_LINE = "%(method)s %(path)s %(status)d %(bytes)dB %(ms).1fms %(client)s"
_LINE_WITH_ID = _LINE + " %(request_id)s"
_END = " (%(how)s)"  # only of an exchange that did not end as usual

_log = Log("microweb.access")


def wants_access_log(form: LogForm) -> bool:
    """Return whether to make records. Call it before `logging` is configured for this server."""
    if form != "auto":
        return form != "off"
    return is_terminal(sys.stderr) or (_log.isEnabledFor(logging.INFO) and _log.hasHandlers())


def show_access_log() -> None:
    """Let the records through, unless the application has set a level for them."""
    if _log.logger.level == logging.NOTSET:
        _log.logger.setLevel(logging.INFO)


def access_logger() -> Observer:
    """Return a function that logs an exchange, unless `Exchange.is_logged` is false.

    docs/reference/logging.md lists the attributes of the record.
    """

    def log(record: ExchangeRecord) -> None:
        request = record.request
        if not _log.isEnabledFor(logging.INFO):
            return
        if request is not None and request.has_exchange and not request.exchange.is_logged:
            return
        fields = _fields_of(record)
        line = _LINE if fields["request_id"] is None else _LINE_WITH_ID
        if record.how is not DONE:
            line += _END
        direct = direct_handler(_log.logger)
        if direct is not None:
            direct.write(_log.logger.name, line % fields, fields)
            return
        try:  # `_log.info` would do the same, but costs 2.4 us more per request
            _log.logger.info(line, fields, extra=fields)
        except Exception as error:  # of a log handler; the response is already sent
            _log.report(error)

    return log


def _fields_of(record: ExchangeRecord) -> dict[str, object]:
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


def _ms(begun: float, ended: float) -> float:
    return round((ended - begun) * 1000, 3)
