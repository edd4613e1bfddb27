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
from .options import flag_of

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

_ONE_PROCESS = "dev serves with one process: use microweb run"
_REMEDIES = {  # of a flag that a command does not have
    ("run", "--reload"): "use microweb dev, which starts the app again when a file changes",
    ("run", "--dev-tls"): "use microweb dev",
    ("run", "--debug"): "use microweb dev, or App(debug=True)",
    **{("dev", flag_of(name)): _ONE_PROCESS for name in dev.OF_WORKERS},
    ("dev", "--reload"): "dev always starts the app again when a file changes",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command in `argv`, by default `sys.argv[1:]`.

    Raises: SystemExit with status 1 if the command fails, 2 for a usage error.
    """
    open_standard_descriptors()
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments[:1] == ["run"] and _wants_json(arguments):
        set_up_json()  # now, for a wrong option
    if not arguments or not arguments[0].startswith("-"):
        _check_command(arguments[:1])
    given, unknown = _parser().parse_known_args(arguments)
    if unknown:
        _refuse(given.parser, unknown)
    given.command(given)


def _check_command(named: list[str]) -> None:
    """Exit if the first argument is the name of no command, or there is none."""
    names = [each.name for each in COMMANDS]
    if not named or named[0] not in names:
        got = ""
        if named:
            from difflib import get_close_matches  # only for an error

            close = get_close_matches(named[0], names, n=1)
            got = f", got {named[0]!r:.80}" + (f": did you mean {close[0]}?" if close else "")
        fail_usage(f"expected a command: {', '.join(names)}{got}: see microweb --help")


def _refuse(parser: _Parser, unknown: list[str]) -> NoReturn:
    """Exit because of arguments that the command does not know."""
    from difflib import get_close_matches  # only for an error

    flags = [each.partition("=")[0] for each in unknown if each.startswith("-")]
    if not flags:
        fail_usage(f"unexpected argument {unknown[0]!r:.80}: see {parser.prog} --help")
    flag, command = flags[0], parser.prog.rpartition(" ")[2]
    remedy = _REMEDIES.get((command, flag), "")
    if not remedy and (close := get_close_matches(flag, parser.flags, n=1)):
        remedy = f"did you mean {close[0]}?"
    if not remedy and command == "dev" and flag in map(flag_of, dev.NOT_OFFERED):
        remedy = "it is an option of microweb run"
    see = f"see {parser.prog} --help"
    if remedy:
        see = f"{remedy}{'' if remedy.endswith('?') else ';'} {see}"
    fail_usage(f"{flag:.80} is not an option of {parser.prog}: {see}")


def _wants_json(arguments: list[str]) -> bool:
    """Whether the flag or the variable of the option `log` says so; the flag is nearer."""
    flags = [each.partition("=")[2] for each in arguments if each.startswith("--log=")]
    flags += [value for flag, value in pairwise(arguments) if flag == "--log"]
    return "json" in (flags or [os.environ.get(variable_of("log"), "")])


class _Parser(argparse.ArgumentParser):
    @property
    def flags(self) -> list[str]:
        """All flags of the command."""
        return [*self._option_string_actions]

    def error(self, message: str) -> NoReturn:
        """Exit with one line. The usage would be longer than a screen."""
        fail_usage(f"{message.removeprefix('argument ')}: see {self.prog} --help")


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
        added.set_defaults(command=each.run, parser=added)
    return parser
