"""`microweb dev`: serve an app to this machine only, with debug on."""

from __future__ import annotations

import argparse

from ..errors import ConfigurationError
from ..server import process
from ..server.config import ServerConfig
from ..server.settings import NAMES
from .command import Command, fail, fail_usage
from .configuring import add_configuration, read_configuration
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
    config = ServerConfig.from_options(settings.options)
    if not _is_local(config):
        source = settings.source("bind" if config.bind else "host")
        refuse = fail_usage if source in ("--bind", "--host") else fail
        reached = ", ".join(config.bind) or config.host
        refuse(
            f"dev serves only this machine, but others can reach {reached!r:.80} ({source}): "
            "use microweb run, or --host localhost"
        )
    process.say_notes(settings)
    configuration.set_variables()
    app = load_app(given.target)
    for each in app.all_apps():
        each.debug = True
    print_routes(app)
    process.run(app, settings.options)


def _is_local(config: ServerConfig) -> bool:
    try:
        return process.is_local(config)
    except ConfigurationError as error:
        fail(str(error))


COMMAND = Command(
    "dev",
    "Serve an app to this machine only, with debug on; print its routes.",
    _add_arguments,
    _run,
)
