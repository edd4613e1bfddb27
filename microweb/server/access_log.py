"""The access log: one record of the logger `microweb.access` per request."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ..logs import Log
from ..request import request_id_of
from .records import ExchangeRecord, Observer

_LINE = "%(method)s %(path)s %(status)d %(bytes)dB %(ms).1fms %(client)s"
_LINE_WITH_ID = _LINE + " %(request_id)s"

_log = Log("microweb.access")


def is_access_logged() -> bool:
    """Return whether the application's own logging handles the records."""
    return _log.isEnabledFor(logging.INFO) and _log.hasHandlers()


def access_logger() -> Observer:
    """Return a function that logs a request, unless its `exchange` says not to.

    The record has these attributes.

    `method`, `path`, `status`, `bytes` (sent), `ms` (milliseconds), `client` (its address),
    `request_id` (from the middleware `RequestID`; without it None, and not in the line).
    """

    def log(record: ExchangeRecord) -> None:
        request = record.request
        if request is None or not _log.isEnabledFor(logging.INFO):
            return
        if request.has_exchange and not request.exchange.is_logged:
            return
        client, request_id = request.client, request_id_of(request)
        fields = {
            "method": request.method,
            "path": request.raw_path,
            "status": record.status,
            "bytes": record.sent,
            "ms": (record.ended - record.begun) * 1000,
            "client": client.host if client is not None else "-",
            "request_id": request_id,
        }
        try:  # `_log.info` would do the same, but costs 2.4 us more per request
            _log.logger.info(_LINE if request_id is None else _LINE_WITH_ID, fields, extra=fields)
        except Exception as error:  # of a log handler; the response is already sent
            _log.report(error)

    return log


@contextmanager
def access_log_shown(handler: logging.Handler) -> Iterator[None]:
    """Send the records to `handler`, unless the application has its own handlers."""
    logger = _log.logger
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if logger.hasHandlers():
        yield
        return
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
