"""`microweb run`: serve an app."""

from __future__ import annotations

import argparse

from ..server import process
from ..server.log_setup import set_up_json
from ..server.settings import NAMES
from .command import Command
from .configuring import add_configuration, read_configuration
from .interfaces import INTERFACES
from .target import load_application


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--interface",
        choices=INTERFACES,
        default="auto",
        help="of the application; auto: an App, else ASGI, else WSGI (default: auto)",
    )
    add_configuration(parser, NAMES)


def _run(given: argparse.Namespace) -> None:
    configuration = read_configuration(given, NAMES)
    options = configuration.settings.options
    if options.get("log") == "json":
        set_up_json()
    process.say_notes(configuration.settings)
    process.supervise_if_asked(options)  # before the app is imported: the supervisor needs none
    configuration.set_variables()
    process.run(load_application(given.target, INTERFACES[given.interface]), options)


COMMAND = Command("run", "Serve an app until Ctrl-C or SIGTERM.", _add_arguments, _run)
