"""Log records as JSON: one object a line, with keys by OpenTelemetry's semantic conventions.

All characters outside ASCII are escaped, and so are line ends: no text of a client can end a line
or begin another one. Keys of microweb itself begin with `microweb.`.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from functools import lru_cache
from types import TracebackType
from typing import Any

from ..http.grammar import METHODS
from .log_text import cut

# Attributes of our records, see docs/reference/logging.md -> keys.
_KEYS = {
    "method": "http.request.method",
    "path": "url.path",
    "route": "http.route",
    "status": "http.response.status_code",
    "received": "http.request.size",
    "bytes": "http.response.size",
    "client": "client.address",
    "ms": "microweb.duration_ms",
    "first_byte_ms": "microweb.first_byte_ms",
    "handler_ms": "microweb.handler_ms",
    "how": "microweb.how",
    "request_id": "microweb.request_id",
    "reason": "microweb.refusal.reason",
    "first_bytes": "microweb.refusal.first_bytes",
    "suppressed": "microweb.suppressed",
    "dropped": "microweb.dropped",
    "stacks": "code.stacktrace",
}
_OMITTED = frozenset(("target",))  # with its query, which may contain secrets

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

DIGITS = [f"{number:03d}" for number in range(1000)]  # `:06d` takes 0.5 us each time

_OURS = "microweb."

_MAX_RECORD = 1 << 19  # characters, all ASCII: half of what a LogWriter holds
_MAX_PARTS = (1 << 15, 1 << 11)  # characters of each member of a longer record; one may take 12
_KEPT = frozenset("timestamp severity message logger process.pid thread.name".split()) | {
    *("exception.type", "exception.message", "exception.stacktrace")
}

_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=str)

ExceptionInfo = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)


class JSONFormatter(logging.Formatter):
    """Formats records as objects: attributes that `extra` has set are members of the object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object of a record, without a line end."""
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.name.startswith(_OURS):
            fields = _ours(fields)
        if record.exc_info:
            fields.update(_exception(self, record.exc_info))
        if record.stack_info:
            fields["code.stacktrace"] = record.stack_info
        if record.threadName not in (None, "MainThread"):
            fields["thread.name"] = record.threadName
        return json_line(
            record.levelname,
            _message_of(record),
            fields,
            logger=record.name,
            at=record.created,
            pid=record.process,
        )


def _ours(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a record of microweb: without those that have no value."""
    found = {
        _KEYS.get(key, key): value
        for key, value in fields.items()
        if value not in (None, "-") and key not in _OMITTED
    }
    if fields.get("status") == 0:
        del found[_KEYS["status"]]
    method = fields.get("method")
    if isinstance(method, str) and method != "-" and method not in METHODS:
        found |= {_KEYS["method"]: "_OTHER", "http.request.method_original": method}
    return found


def ours_line(
    logger: str, message: str, fields: dict[str, Any], at: float, thread: str | None
) -> str:
    """Return the object of a record of microweb at level INFO. `thread` is not the main thread."""
    members = _ours(fields)
    if thread is not None:
        members["thread.name"] = thread
    return json_line("INFO", message, members, logger=logger, at=at, pid=os.getpid())


def other_thread() -> str | None:
    """Return the name of this thread, None for the main thread or without `logging.logThreads`."""
    name = threading.current_thread().name
    return name if logging.logThreads and name != "MainThread" else None


def json_line(
    severity: str,
    message: str,
    fields: Mapping[str, object],
    *,
    logger: str,
    at: float,
    pid: int | None,
) -> str:
    """Return one object, without a line end. Values that JSON does not have become text."""
    own: dict[str, object] = {
        "timestamp": timestamp(at),
        "severity": severity,
        "message": message,
        "logger": logger,
        "process.pid": pid,
    }
    own.update((key, value) for key, value in fields.items() if key not in own)
    line = _encode_safely(own)
    for most in _MAX_PARTS:
        if len(line) <= _MAX_RECORD:
            return line
        own = {cut(str(key), most): _cut_value(value, most) for key, value in own.items()}
        line = _encode_safely(own)
    if len(line) > _MAX_RECORD:  # there are thousands of members
        kept = {key: value for key, value in own.items() if key in _KEPT}
        line = _encode_safely(kept | {"microweb.log_error": "too many members"})
    return line


def _encode_safely(own: dict[str, object]) -> str:
    try:
        return _encode.encode(own)
    except (TypeError, ValueError, RecursionError):  # a key, an infinity, a cycle
        return _encode.encode({str(key): _plain(value) for key, value in own.items()})
    except Exception as error:  # of a `__str__` of the application
        own = dict(list(own.items())[:5], **{"microweb.log_error": type(error).__name__})
        return _encode.encode(own)


def _cut_value(value: object, most: int) -> object:
    plain = value if isinstance(value, (bool, float)) else _plain(value)
    return cut(plain, most) if isinstance(plain, str) else plain


def exception_fields(error: BaseException) -> dict[str, object]:
    """Return the members of an object that is about an exception."""
    return _exception(_plain_formatter, (type(error), error, error.__traceback__))


def _exception(formatter: logging.Formatter, info: ExceptionInfo | Any) -> dict[str, object]:
    kind, error, _ = info
    if kind is None:
        return {}
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return {
        "exception.type": f"{module}{kind.__qualname__}",
        "exception.message": _text_of(error),
        "exception.stacktrace": formatter.formatException(info),
    }


def _text_of(error: object) -> str:
    try:
        return str(error)
    except Exception as other:  # of a `__str__` of the application
        return f"<str() failed: {type(other).__name__}>"


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # arguments that do not fit: the line must not be lost
        return f"{record.msg!r:.500} with wrong arguments: {_text_of(error)}"


def _plain(value: object) -> object:
    is_number = isinstance(value, int) and abs(value) < 1 << 63
    return value if is_number or isinstance(value, (str, type(None))) else _text_of(value)


def timestamp(at: float) -> str:
    """Return a time in UTC by RFC 3339, with microseconds."""
    seconds = int(at)
    ms, us = divmod(int((at - seconds) * 1_000_000), 1000)
    return f"{_text_of_second(seconds)}.{DIGITS[ms]}{DIGITS[us]}Z"


@lru_cache(maxsize=1)  # many lines have the same second
def _text_of_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


_plain_formatter = logging.Formatter()
