"""A command of the command line, and its two kinds of failure.

A usage error is one line on stderr and exit status 2. Any other expected failure is one line and
exit status 1. An exception of the user's own code keeps its traceback.
"""

from __future__ import annotations

import argparse
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
