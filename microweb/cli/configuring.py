"""The configuration of a command: its flags, the environment with `--env-file`, pyproject.toml."""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfigurationError
from ..server.env_file import read_env_file
from ..server.settings import Settings, read_settings
from .command import fail
from .options import add_server_options, flag_of, server_options
from .target import add_target, app_folder


class Configuration(NamedTuple):
    """The settings of a command, and the variables of its `--env-file`."""

    settings: Settings
    variables: dict[str, str]

    def set_variables(self) -> None:
        """Add the variables of the file to the environment. Those that are set already stay.

        The supervisor does not call this. A worker that inherited the variables would keep their
        old values at a reload.
        """
        for name, value in self.variables.items():
            os.environ.setdefault(name, value)


def add_configuration(parser: argparse.ArgumentParser, names: Collection[str]) -> None:
    """Add the target, `--env-file` and the options `names`."""
    add_target(parser)
    parser.add_argument(
        "--env-file",
        type=Path,
        metavar="FILE",
        help="a file of variables NAME=value; a variable that is set already keeps its value",
    )
    add_server_options(parser, names)


def read_configuration(given: argparse.Namespace, names: Collection[str]) -> Configuration:
    """Return the configuration of a command, without importing the app.

    Raises: SystemExit with status 2 if a flag is wrong, 1 if a variable or a file is.
    """
    flags = server_options(given)
    try:
        variables = read_env_file(given.env_file) if given.env_file is not None else {}
        settings = read_settings(
            flags,
            app_folder(given.target),
            {**variables, **os.environ},
            source=flag_of,
            names=names,
        )
    except ConfigurationError as error:
        fail(str(error))
    return Configuration(settings, variables)
