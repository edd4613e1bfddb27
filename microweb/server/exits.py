"""The exit statuses of a program that serves: the same ones for one process and for workers."""

from __future__ import annotations

import sys
from typing import NoReturn

STOPPED = 0
FAILED = 1  # a wrong option or address at the start; or a part that had to be killed at the stop
NOT_STARTED = 3  # the application could not be imported, its lifespan failed, or a worker died
HOPELESS = 4  # all workers crash, again and again


def exit_not_started(error: BaseException) -> NoReturn:
    """Exit because the application has raised `error` before it could serve.

    The traceback is shown as that of any uncaught exception. Raises: SystemExit.
    """
    sys.excepthook(type(error), error, error.__traceback__)
    sys.exit(NOT_STARTED)
