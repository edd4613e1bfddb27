"""`microweb drain`: stop a running service, as SIGTERM does."""

from __future__ import annotations

import argparse
import sys

from ..server.console import say
from .command import Command
from .controlling import add_control, ask, shown


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_control(parser)
    parser.add_argument("--wait", action="store_true", help="wait until the service has ended")


def _run(given: argparse.Namespace) -> None:
    answer = ask(given, {"command": "drain", "wait": given.wait}, waits=given.wait)
    say(shown(answer.get("text")), sys.stdout)


COMMAND = Command(
    "drain",
    "Stop a running service: it finishes its requests within grace_s.",
    _add_arguments,
    _run,
)
