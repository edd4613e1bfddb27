"""The access log: one record of the logger `microweb.access` for each exchange."""

from __future__ import annotations

import logging
import sys

from ..logs import Log, taken_key
from .access_lines import LOGGER, fields_of, format_of, object_line, text_line
from .config import LogForm
from .console import is_terminal
from .log_json import other_thread
from .log_setup import direct_handler
from .records import ExchangeRecord, Observer

_log = Log(LOGGER)


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
    thread: str | None = None
    is_first = True

    def log(record: ExchangeRecord) -> None:
        nonlocal is_first, thread
        request, logger = record.request, _log.logger
        if is_first:  # in the thread of the server, which is the same for all exchanges
            is_first, thread = False, other_thread()
        if not logger.isEnabledFor(logging.INFO):
            return
        exchange = None if request is None else request._exchange
        if exchange is not None and not exchange.is_logged:
            return
        fields: dict[str, object] = {}
        try:
            direct = direct_handler(logger)
            if direct is None:
                fields = fields_of(record)
                # `_log.info` would do the same, but costs 2.4 us more per request
                logger.info(format_of(record), fields, extra=fields)
            else:
                direct.put(object_line(record, thread) if direct.is_json else text_line(record))
        except Exception as error:  # of a log handler; the response is already sent
            if taken_key(error, fields) is None:
                _log.report(error)
            else:
                _log.info(format_of(record), fields, extra=fields)

    return log
