"""Set up `logging` for a process that serves, unless the application has done so.

Records go to a `LogWriter`: as text to stderr, or with `log="json"` as objects to stdout. Then
warnings and exceptions that no code has caught are objects too.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType

from .console import (
    is_json,
    objects_written_by_a_thread,
    put_line,
    report_dropped,
    say_exception,
    use_json,
)
from .forks import called_in_children
from .lines import line_lock
from .log_json import JSONFormatter
from .log_text import TextFormatter
from .log_writer import LogWriter

_warnings_log = logging.getLogger("py.warnings")


class LogHandler(logging.Handler):
    """Formats records in the thread that logs them, and writes them in the thread of `writer`."""

    is_json = False

    def __init__(self, writer: LogWriter, level: int) -> None:
        super().__init__(level)
        self.put = writer.put  # a line
        self.setFormatter(TextFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.put(self.format(record))
        except Exception:  # like the handlers of `logging`: a wrong argument must not end anything
            self.handleError(record)


class JSONHandler(logging.Handler):
    """Writes records as objects on stdout."""

    is_json = True
    put = staticmethod(put_line)

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.setFormatter(JSONFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.put(self.format(record))
        except Exception:  # like the handlers of `logging`: a strange object must not end anything
            self.handleError(record)


def direct_handler(logger: logging.Logger) -> JSONHandler | LogHandler | None:
    """Return the handler that alone gets the records of `logger`, and gets them unchanged.

    The application may change `logging` at any time, so call it for each record.
    """
    root = logger.parent
    if (
        logger.handlers
        or logger.filters
        or not logger.propagate
        or type(logger) is not logging.Logger
        or type(root) is not logging.RootLogger
    ):
        return None
    handlers = root.handlers
    if len(handlers) != 1 or logging.getLogRecordFactory() is not logging.LogRecord:
        return None
    handler = handlers[0]
    if handler.filters or handler.level > logging.INFO:
        return None
    if type(handler) is JSONHandler:
        return handler if type(handler.formatter) is JSONFormatter else None
    if type(handler) is LogHandler and type(handler.formatter) is TextFormatter:
        return handler
    return None


def set_up_json() -> None:
    """Write all that this process says as objects on stdout, from now on to its end."""
    if is_json():
        return
    use_json()
    logging.lastResort = JSONHandler(logging.WARNING)
    sys.excepthook = _on_exception
    threading.excepthook = _on_thread_exception
    sys.unraisablehook = _on_unraisable
    warnings.showwarning = _on_warning


def _on_exception(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    say_exception(error.with_traceback(traceback), "the program ends with an exception")


def _on_thread_exception(arguments: threading.ExceptHookArgs) -> None:
    error = arguments.exc_value
    if error is not None and not isinstance(error, SystemExit):
        name = "unknown" if arguments.thread is None else arguments.thread.name
        say_exception(error, f"the thread {name} ends with an exception")


def _on_unraisable(arguments: sys.UnraisableHookArgs) -> None:
    if arguments.exc_value is not None:
        text = arguments.err_msg or "an exception was ignored in"
        say_exception(arguments.exc_value, f"{text}: {arguments.object!r:.500}")


def _on_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    fields = {
        "exception.type": category.__qualname__,
        "code.file.path": filename,
        "code.line.number": lineno,
    }
    _warnings_log.warning("%s", message, extra=fields)


@contextmanager
def logs_written_by_a_thread() -> Iterator[logging.Handler]:
    """Replace `logging.lastResort`; yield a handler that takes records of any level."""
    if is_json():
        with (
            objects_written_by_a_thread() as objects,
            called_in_children(partial(_continue_forked, objects)),
        ):
            yield JSONHandler()
        return
    last, stream = logging.lastResort, sys.stderr
    if stream is not None and stream is not sys.__stderr__:  # the application's, or captured
        handler = logging.StreamHandler(stream)
        handler.setFormatter(TextFormatter())
        yield handler
        return
    try:
        if stream is None:
            logging.lastResort = logging.NullHandler()
            yield logging.NullHandler()
            return
        writer = LogWriter(stream.fileno(), report_dropped)
        logging.lastResort = LogHandler(writer, logging.WARNING)
        try:
            with called_in_children(partial(_continue_forked, writer)):
                yield LogHandler(writer, logging.NOTSET)
        finally:
            writer.close()
    finally:
        logging.lastResort = last


@contextmanager
def logging_configured(handler: logging.Handler, level: str) -> Iterator[None]:
    """Give `handler` the records from `level` up, unless the root logger has handlers already."""
    root = logging.getLogger()
    if root.handlers:
        yield
        return
    before = root.level
    root.addHandler(handler)
    root.setLevel(level.upper())
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def _continue_forked(writer: LogWriter) -> None:
    """Prepare a forked child, which has no thread that writes."""
    line_lock.forked()
    writer.forked()
