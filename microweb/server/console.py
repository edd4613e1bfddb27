"""The lines that the process prints: never in the way of the server.

The standard streams may be closed, a full disk, a broken pipe, or a pipe that nobody reads.
"""

from __future__ import annotations

import io
import os
import select
from contextlib import suppress
from typing import TextIO

from .sockets import has_room


def say(text: str, stream: TextIO | None) -> None:
    """Print a line of ours, unless `stream` would raise or block: then it is lost."""
    # A RuntimeError is a signal handler's that interrupts a print to the same stream.
    with suppress(OSError, ValueError, RuntimeError):
        if stream is None:
            return
        line = f"microweb: {text}\n"
        try:
            number = stream.fileno()
        except io.UnsupportedOperation:  # captured: no file stands behind it
            stream.write(line)
            return
        if not hasattr(select, "poll") or has_room(stream):  # Windows has no poll
            stream.flush()
            # Not by the stream: what fails to leave its buffer would fail once more at exit.
            os.write(number, line.encode(errors="backslashreplace"))
