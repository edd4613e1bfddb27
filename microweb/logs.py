"""Log: a logger whose calls never raise.

A handler of the application may fail. Then logging prints to `sys.stderr`, which raises ValueError
if the application has closed it. That must not end an exchange or the server.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


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
        try:
            self.logger.log(level, msg, *args, stacklevel=stacklevel, **kwargs)
        except Exception as error:
            self.report(error)

    def report(self, error: Exception) -> None:
        """Report that a handler has raised `error`, by logging's handler of last resort."""
        text, last = "a handler of the log failed: %s: %s", logging.lastResort
        args = (type(error).__name__, error)
        record = self.logger.makeRecord(self.name, logging.ERROR, __file__, 0, text, args, None)
        if last is not None:
            with suppress(Exception):  # stderr is closed, so nothing can report it
                last.handle(record)
