"""Share the timer of `faulthandler`, of which a process has only one, between its users.

An orphan, whose supervisor is gone, uses it to end. From then on nothing else may set or cancel it.
The watch of the event loop uses it to write stacks while C code holds the GIL.
"""

from __future__ import annotations

import faulthandler
import threading

_lock = threading.RLock()  # a signal handler may call `end_later` inside a call of this module
_is_final = False


def end_later(seconds: float, file: int) -> None:
    """Write all stacks to the descriptor `file` in `seconds`, and end the process.

    Nothing can stop this any more, because the event loop may be blocked forever.
    """
    global _is_final
    with _lock:
        _is_final = True
        faulthandler.dump_traceback_later(seconds, file=file, exit=True)


def write_later(seconds: float, file: int) -> None:
    """Write all stacks to the descriptor `file` in `seconds`, in place of an earlier call.

    Only threads other than the main thread may call this: a signal handler of the main thread could
    call `end_later` between the check and the call of `faulthandler`.
    """
    with _lock:
        if not _is_final:
            faulthandler.dump_traceback_later(seconds, file=file)


def cancel() -> None:
    """Cancel `write_later`, under the same condition."""
    with _lock:
        if not _is_final:
            faulthandler.cancel_dump_traceback_later()
