"""A command of the command line, and its two kinds of failure.

A usage error is one line on stderr and exit status 2. Any other expected failure is one line and
exit status 1. An exception of the user's own code keeps its traceback.

The text that a command is for is written completely, or the command fails: a script must not take
half a table for a whole one.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Callable
from logging import ERROR
from typing import NamedTuple, NoReturn

from ..server.console import is_json, say


class Command(NamedTuple):
    """One command: `microweb NAME ...`. `run` gets the parsed arguments."""

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


def fail(text: str) -> NoReturn:
    """Exit with one line on stderr. Raises: SystemExit with status 1."""
    if is_json():
        say(text, sys.stderr, ERROR)
        sys.exit(1)
    sys.exit(f"microweb: {text}")


def fail_usage(text: str) -> NoReturn:
    """Exit with one line on stderr for a usage error. Raises: SystemExit with status 2."""
    say(text, sys.stderr, ERROR)
    sys.exit(2)


def write_out(text: str) -> None:
    """Write all of a text to stdout. Raises: SystemExit with status 1 if that fails."""
    stream = sys.stdout
    if stream is None:  # closed before the start
        fail("stdout: it is closed")
    is_captured = stream is not sys.__stdout__
    try:
        if is_captured:
            print(text, end="", flush=True)
        else:
            stream.flush()
            _write_all(stream.fileno(), text.encode(errors="backslashreplace"))
    except OSError as error:
        # Python flushes the stream at exit, and would complain about it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        fail(f"stdout: {error.strerror or error}")


def _write_all(number: int, data: bytes) -> None:
    # Past the stream: it would drop a part if the descriptor does not block.
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(number, left) :]
        except BlockingIOError:
            select.select([], [number], [])
