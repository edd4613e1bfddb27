"""Errors of callbacks, which asyncio gives to the exception handler of its event loop.

If file descriptors run out suddenly, asyncio reports each attempt to accept: up to the backlog in
one iteration of the event loop. Then it pauses accepting for a second. Here this is one line.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ..concurrency.throttle import Throttle
from ..logs import Log

_ACCEPT_FAILED = "socket.accept() out of system resource"  # asyncio's message

_log = Log("microweb.server")
_pauses = Throttle()


def log_callback_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log the error of a callback. A log handler that raises must not end the event loop."""
    if context.get("message") == _ACCEPT_FAILED:
        if _pauses.permits():
            error = context.get("exception")
            _log.warning("new connections wait until they can be accepted: %s", error)
        return
    try:
        loop.default_exception_handler(context)
    except Exception as error:
        _log.error("asyncio could not log %r: %r", context.get("message"), error)
