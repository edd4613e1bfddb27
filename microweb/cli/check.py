"""`microweb check`: load an app and its options, say where each comes from, and start nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from ..app import App
from ..concurrency.per_process import all_per_process
from ..errors import ConfigurationError
from ..server import process
from ..server.binds import ListeningSockets, TCPBind, UnixBind
from ..server.config import ServerConfig
from ..server.console import say
from ..server.cpus import worker_count
from ..server.holders import AddressInUse
from ..server.settings import NAMES, Settings
from .command import Command, write_out
from .configuring import add_configuration, read_configuration
from .target import load_app


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_configuration(parser, NAMES)
    parser.add_argument(
        "--show", action="store_true", help="print all options, also those with their default"
    )
    parser.add_argument(
        "--per-process-ok",
        action="store_true",
        help="allow sessions and channels in memory with several workers",
    )


def _run(given: argparse.Namespace) -> None:
    configuration = read_configuration(given, NAMES)
    settings = configuration.settings
    configuration.set_variables()
    app = load_app(given.target)
    config = ServerConfig.from_options(settings.options)
    write_out(f"{_table(settings, config, is_whole=given.show)}\n")
    notes, problems = _check_addresses(config)
    for note in [*settings.notes, *settings.unknown, *notes]:
        _say(note)
    problems = [text for check in _CHECKS if (text := _problem(check, app, config))] + problems
    for each in all_per_process() if worker_count(config) > 1 else ():
        if each.is_wrong and not given.per_process_ok:
            problems.append(f"{each}, or --per-process-ok if this is meant")
        else:
            _say(str(each))
    for problem in problems:
        say(problem, sys.stderr)
    if problems:
        sys.exit(1)
    _say(f"{given.target} can be served")


def _say(text: str) -> None:
    write_out(f"microweb: {text}\n")


COMMAND = Command(
    "check",
    "Load an app, check its options and addresses; start nothing.",
    _add_arguments,
    _run,
)


def _table(settings: Settings, config: ServerConfig, *, is_whole: bool) -> str:
    """Return the options with their values and places; without `is_whole` only those set."""
    rows = [("OPTION", "VALUE", "FROM")]
    for name in NAMES:
        if is_whole or name in settings.sources:
            place = settings.source(name)
            if name in ("host", "port") and config.bind and name in settings.sources:
                place += ", not used: bind is set"
            rows.append((name, _text(getattr(config, name)), place))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)


# --- the checks


def _problem(check: Callable[[App, ServerConfig], None], app: App, config: ServerConfig) -> str:
    """Return the error of a check, or an empty text."""
    try:
        check(app, config)
    except ConfigurationError as error:
        return str(error)
    return ""


def _check_app(app: App, config: ServerConfig) -> None:
    app.freeze()


def _check_loop(app: App, config: ServerConfig) -> None:
    process.loop_factory(config.loop)


def _check_certificates(app: App, config: ServerConfig) -> None:
    if config.has_tls:
        from ..server.tls_context import make_contexts

        for note in make_contexts(config).notes:
            _say(f"{note}: clients refuse it")


_CHECKS = (_check_app, process.check_debug, _check_loop, _check_certificates)


def _check_addresses(config: ServerConfig) -> tuple[list[str], list[str]]:
    """Return notes about addresses that are in use, and the problems of others.

    An address in use is no problem, because no option causes it: most often the service itself has
    it, and the check comes before its reload.
    """
    notes, problems = [], []
    for each in config.addresses:
        if not isinstance(each, TCPBind | UnixBind):  # inherited ones are known at the start only
            continue
        try:
            ListeningSockets.open([each]).close()
        except AddressInUse as error:
            notes.append(f"{error.fact}: a reload keeps it, a start would fail")
        except ConfigurationError as error:
            problems.append(str(error))
    return notes, problems
