"""`microweb dev`: serve an app to this machine only, with debug on."""

from __future__ import annotations

import argparse

from ..errors import ConfigurationError
from ..server import process
from ..server.sockets import is_loopback
from .command import Command, fail, fail_usage
from .options import DEFAULTS, NAMES, add_server_options, server_options
from .routes import print_routes
from .target import add_target, load_app

_WORKERS = ("workers", "supervised", "worker_stall_s", "worker_start_s", "max_requests", "max_rss")
NOT_OFFERED = ("debug_anywhere", *_WORKERS)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    add_server_options(parser, [name for name in NAMES if name not in NOT_OFFERED])


def _run(given: argparse.Namespace) -> None:
    options = server_options(given)
    host = options.get("host", DEFAULTS.host)
    if not _is_loopback(host):
        fail_usage(
            f"dev serves only this machine, but others can reach {host!r:.80}: use microweb run"
        )
    app = load_app(given.target)
    for each in app.all_apps():
        each.debug = True
    print_routes(app)
    process.run(app, options)


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
