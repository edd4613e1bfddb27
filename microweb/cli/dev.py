"""`microweb dev`: serve an app to this machine only, with debug on."""

from __future__ import annotations

import argparse

from ..errors import ConfigurationError
from ..server import process
from ..server.settings import NAMES
from ..server.sockets import is_loopback
from .command import Command, fail, fail_usage
from .configuring import add_configuration, read_configuration
from .options import DEFAULTS
from .routes import print_routes
from .target import load_app

_WORKERS = ("workers", "supervised", "worker_stall_s", "worker_start_s", "max_requests", "max_rss")
NOT_OFFERED = ("debug_anywhere", *_WORKERS)
_OFFERED = [name for name in NAMES if name not in NOT_OFFERED]


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_configuration(parser, _OFFERED)


def _run(given: argparse.Namespace) -> None:
    configuration = read_configuration(given, _OFFERED)
    settings = configuration.settings
    host = settings.options.get("host", DEFAULTS.host)
    if not _is_loopback(host):
        source = settings.source("host")
        refuse = fail_usage if source == "--host" else fail
        refuse(
            f"dev serves only this machine, but others can reach {host!r:.80} ({source}): "
            "use microweb run, or --host localhost"
        )
    process.say_notes(settings)
    configuration.set_variables()
    app = load_app(given.target)
    for each in app.all_apps():
        each.debug = True
    print_routes(app)
    process.run(app, settings.options)


def _is_loopback(host: str) -> bool:
    try:
        return is_loopback(host)
    except ConfigurationError as error:
        fail(str(error))


COMMAND = Command(
    "dev",
    "Serve an app to this machine only, with debug on; print its routes.",
    _add_arguments,
    _run,
)
