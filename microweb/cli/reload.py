"""`microweb reload`: replace the workers of a running service, and wait for the outcome."""

from __future__ import annotations

import argparse
import sys

from ..server.console import say
from .command import Command
from .controlling import add_control, ask, shown


def _run(given: argparse.Namespace) -> None:
    answer = ask(given, {"command": "reload"}, waits=True)
    say(shown(answer.get("text")), sys.stdout)


COMMAND = Command(
    "reload",
    "Replace the workers of a running service; wait until all are replaced.",
    add_control,
    _run,
)
