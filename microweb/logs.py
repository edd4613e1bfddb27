"""Log: a logger whose calls never raise.

A handler of the application may fail. Then logging prints to `sys.stderr`, which raises ValueError
if the application has closed it. That must not end an exchange or the server.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

_TAKEN = "Attempt to overwrite %r in LogRecord"  # the text of `Logger.makeRecord`

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


def taken_key(error: Exception, extra: Mapping[str, object]) -> str | None:
    """Return the key of `extra` that the application's factory of records has set already.

    `logging` refuses such a record with the KeyError `error`. None if that has another cause.
    """
    if isinstance(error, KeyError):
        return next((key for key in extra if error.args == (_TAKEN % (key,),)), None)
    return None


class Log(_Adapter):
    """A named logger. If a handler raises, logging's handler of last resort reports it."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name))

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[object, MutableMapping[str, Any]]:
        return msg, kwargs  # LoggerAdapter would drop `extra`

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Pass a record to the handlers. An exception of a handler is reported, not raised."""
        stacklevel = kwargs.pop("stacklevel", 1) + 1  # the caller's line, not this one
        while True:
            try:
                self.logger.log(level, msg, *args, stacklevel=stacklevel, **kwargs)
            except Exception as error:
                extra = kwargs.get("extra") or {}
                taken = taken_key(error, extra)
                if taken is not None:
                    kwargs["extra"] = {key: extra[key] for key in extra if key != taken}
                    continue
                self.report(error)
            return

    def report(self, error: Exception) -> None:
        """Report that a handler has raised `error`, by logging's handler of last resort."""
        text, last = "a handler of the log failed: %s: %s", logging.lastResort
        args = (type(error).__name__, error)
        record = self.logger.makeRecord(self.name, logging.ERROR, __file__, 0, text, args, None)
        if last is not None:
            with suppress(Exception):  # stderr is closed, so nothing can report it
                last.handle(record)
