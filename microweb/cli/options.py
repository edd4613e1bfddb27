"""The options of a command, made from the fields of `ServerConfig`."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from functools import partial
from typing import Literal, cast, get_args, get_origin, get_type_hints

from ..errors import ConfigurationError
from ..server.config import ServerConfig, ServerOptions, Workers
from ..server.settings import NAMES, check_value, of_text
from .command import fail_usage

DEFAULTS = ServerConfig()
_LISTS = {"bind": "ADDRESS,...", "trusted_proxies": "NETWORK,...", "trust_headers": "FIELD,..."}
_PATHS = ("control",)
_METAVARS: dict[object, str] = {str: "NAME", int: "N", float: "N"}


def add_server_options(parser: argparse.ArgumentParser, names: Collection[str]) -> None:
    """Add an option for each of the fields `names`."""
    note = "Limits are per worker." if "workers" in names else None
    group = parser.add_argument_group("options of the server", note)
    annotations = get_type_hints(ServerConfig, include_extras=True)
    for name in names:
        kind, text = get_args(annotations[name])
        default = getattr(DEFAULTS, name)
        if kind is not bool:  # a flag is off by default
            shown = ", ".join(default) if isinstance(default, tuple) else str(default)
            text = f"{text} (default: {shown or 'none'})"
        # SUPPRESS: an option that was not given does not appear in the parsed arguments.
        add = partial(group.add_argument, flag_of(name), default=argparse.SUPPRESS, help=text)
        if kind is bool:
            add(action="store_true")
            continue
        action = "extend" if kind == tuple[str, ...] else "store"
        add(action=action, type=partial(_value_of, name), metavar=_metavar_of(name, kind))
    if "log" in names:  # the flags of earlier versions, which --help does not show
        for flag, log in (("--access-log", "text"), ("--no-access-log", "off")):
            group.add_argument(
                flag,
                dest="log",
                action="store_const",
                const=log,
                default=argparse.SUPPRESS,
                help=argparse.SUPPRESS,
            )


def _metavar_of(name: str, kind: object) -> str:
    """Return the text for the value of an option in `--help`."""
    if get_origin(kind) is Literal:
        return f"{{{','.join(get_args(kind))}}}"
    if kind == Workers:
        return "N|auto"
    if kind == tuple[str, ...]:
        return _LISTS.get(name, "FILE,...")
    if name in _PATHS:
        return "PATH"
    return "SECONDS" if name.endswith("_s") else _METAVARS[kind]


def _value_of(name: str, text: str) -> object:
    """Return the value of a flag. Raises: SystemExit with one line that names the flag."""
    try:
        return of_text(name, text, flag_of(name))
    except ConfigurationError as error:
        fail_usage(str(error))


def server_options(given: argparse.Namespace) -> ServerOptions:
    """Return the options that were given. Raises: SystemExit if a value is not valid."""
    options = cast(ServerOptions, {key: getattr(given, key) for key in NAMES if key in given})
    try:
        for name, value in options.items():  # whole: a flag may be given several times
            check_value(name, value, flag_of(name))
    except ConfigurationError as error:
        fail_usage(str(error))
    return options


def flag_of(name: str) -> str:
    """Return the flag of an option."""
    return "--" + name.replace("_", "-")
