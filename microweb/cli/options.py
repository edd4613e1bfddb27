"""The options of a command, made from the fields of `ServerConfig`."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from functools import partial
from typing import Literal, cast, get_args, get_origin, get_type_hints

from ..errors import ConfigurationError
from ..server.config import ServerConfig, ServerOptions, Workers
from ..server.settings import NAMES, to_list, to_workers
from .command import fail_usage

DEFAULTS = ServerConfig()
_LISTS = {"bind": "ADDRESS,...", "trusted_proxies": "NETWORK,...", "trust_headers": "FIELD,..."}
_PATHS = ("control",)
_METAVARS = {str: "NAME", int: "N", float: "N"}


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
        elif get_origin(kind) is Literal:
            add(choices=get_args(kind))
        elif kind == Workers:
            add(type=to_workers, metavar="N|auto")
        elif kind == tuple[str, ...]:
            add(action="extend", type=to_list, metavar=_LISTS.get(name, "FILE,..."))
        elif name in _PATHS:
            add(metavar="PATH")
        else:
            add(type=kind, metavar="SECONDS" if name.endswith("_s") else _METAVARS[kind])
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


def server_options(given: argparse.Namespace) -> ServerOptions:
    """Return the options that were given. Raises: SystemExit if a value is not valid."""
    options = cast(ServerOptions, {key: getattr(given, key) for key in NAMES if key in given})
    try:
        ServerConfig.from_options(options)
    except ConfigurationError as error:
        fail_usage(str(error))
    return options


def flag_of(name: str) -> str:
    """Return the flag of an option."""
    return "--" + name.replace("_", "-")
