"""`microweb run`: serve an app."""

from __future__ import annotations

import argparse

from ..server import process
from .command import Command
from .options import NAMES, add_server_options, server_options
from .target import add_target, load_app


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    add_server_options(parser, NAMES)


def _run(given: argparse.Namespace) -> None:
    options = server_options(given)
    process.supervise_if_asked(options)  # before the app is imported: the supervisor needs none
    process.run(load_app(given.target), options)


COMMAND = Command("run", "Serve an app until Ctrl-C or SIGTERM.", _add_arguments, _run)
