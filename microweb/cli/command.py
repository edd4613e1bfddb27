"""A command of the command line, and how it fails.

A wrong usage is one line on stderr and exit status 2. Any other failure that a command expects is
one line and exit status 1. An exception of the user's own code keeps its traceback.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NamedTuple, NoReturn


class Command(NamedTuple):
    """One command: `microweb NAME ...`. `run` gets the parsed arguments."""

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


def fail(text: str) -> NoReturn:
    """Leave with one line on stderr. Raises: SystemExit of status 1."""
    sys.exit(f"microweb: {text}")


def fail_usage(text: str) -> NoReturn:
    """Leave with one line on stderr, because the usage is wrong. Raises: SystemExit of status 2."""
    print(f"microweb: {text}", file=sys.stderr)
    sys.exit(2)
