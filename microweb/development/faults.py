"""The answer while the app can't be served: the debug page for a browser, text for curl."""

from __future__ import annotations

import sys
import traceback
from types import TracebackType

from ..debug.page import debug_answer, is_forwarded
from ..debug.tracebacks import is_users_code, line_of
from ..errorpages import plain_answer
from ..errors import ConfigurationError
from ..request import Request
from ..response import Response
from ..server.console import say, show

_OURS = "microweb: "  # the lines of the command line


def fault_of(error: BaseException) -> BaseException:
    """Return the exception to show for one that was raised while the app was started.

    Calls before the first one of the application are left out.
    """
    if isinstance(error, SystemExit) and str(error.code).startswith(_OURS):
        return ConfigurationError(str(error.code).removeprefix(_OURS))
    return _trimmed(error)


def print_fault(error: BaseException) -> None:
    """Print a fault to stderr: as Python prints an exception, a ConfigurationError as one line."""
    if isinstance(error, ConfigurationError):
        say(line_of(error), sys.stderr)
    else:
        show("".join(traceback.format_exception(error)).rstrip(), sys.stderr)


async def answer_fault(request: Request, error: BaseException) -> Response:
    """Return the answer to any request while `error` keeps the app from serving."""
    if is_forwarded(request.headers):
        return plain_answer(500, request.headers.get("accept", ""))
    return debug_answer(request, error, 500)


def _trimmed(error: BaseException) -> BaseException:
    """Return `error` without the calls before the application's first one."""
    first: TracebackType | None = error.__traceback__
    while first is not None and not is_users_code(first.tb_frame.f_code.co_filename):
        first = first.tb_next
    if first is not None or isinstance(error, SyntaxError):
        error.__traceback__ = first
    return error
