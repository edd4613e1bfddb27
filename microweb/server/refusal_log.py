"""The records of `microweb.protocol`: requests and handshakes that were refused, 10 a second."""

from __future__ import annotations

from ..concurrency.throttle import Throttle
from ..logs import Log

_log = Log("microweb.protocol")
_refusals = Throttle(1.0, times=10)


def log_refusal(text: str, *args: object, **fields: object) -> None:
    """Log a refusal with the attributes `fields`, at level INFO.

    A record says how many refusals have none since the last one.
    """
    if _refusals.permits():
        fields["suppressed"] = _refusals.take_skipped() or None
        _log.info(text, *args, extra=fields)
