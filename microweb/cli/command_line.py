"""`main`: parse the arguments, call the command. Each command is a module of this package."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import NoReturn

from .. import __version__
from ..server.console import open_standard_descriptors
from ..server.log_setup import set_up_json
from ..server.settings import variable_of
from . import check, dev, drain, openapi, ps, reload, routes, run, stacks, systemd
from .command import fail_usage

COMMANDS = (
    run.COMMAND,
    dev.COMMAND,
    routes.COMMAND,
    openapi.COMMAND,
    check.COMMAND,
    systemd.COMMAND,
    ps.COMMAND,
    reload.COMMAND,
    drain.COMMAND,
    stacks.COMMAND,
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command in `argv`, by default `sys.argv[1:]`.

    Raises: SystemExit with status 1 if the command fails, 2 for a usage error.
    """
    open_standard_descriptors()
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments[:1] == ["run"] and _wants_json(arguments):
        set_up_json()  # now, for a wrong option
    given = _parser().parse_args(argv)
    given.command(given)


def _wants_json(arguments: list[str]) -> bool:
    """Whether the flag or the variable of the option `log` says so; the flag is nearer."""
    flags = [each.partition("=")[2] for each in arguments if each.startswith("--log=")]
    flags += [value for flag, value in pairwise(arguments) if flag == "--log"]
    return "json" in (flags or [os.environ.get(variable_of("log"), "")])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with one line. The usage would be longer than a screen."""
        fail_usage(f"{message}: see {self.prog} --help")


def _parser() -> _Parser:
    parser = _Parser(
        prog="microweb", description="Serve an app, or show its parts.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"microweb {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    for each in COMMANDS:
        added = commands.add_parser(
            each.name, help=each.help, description=each.help, allow_abbrev=False
        )
        each.add_arguments(added)
        added.set_defaults(command=each.run)
    return parser
