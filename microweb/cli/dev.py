"""`microweb dev`: serve an app to this machine only, with debug on; start it again at a change."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..app import App
from ..errors import ConfigurationError
from ..server import process
from ..server.config import LogForm, ServerConfig, ServerOptions
from ..server.console import say
from ..server.settings import NAMES, Settings, project_file
from .command import Command, fail, fail_usage
from .configuring import add_configuration, read_configuration
from .routes import print_routes
from .target import app_folder, import_app, load_app

if TYPE_CHECKING:
    from ..development.certificate import LocalCertificate
    from ..development.watching import Watched

OF_WORKERS = (
    "workers",
    "supervised",
    "worker_stall_s",
    "worker_start_s",
    "max_requests",
    "max_rss",
)
NOT_OFFERED = ("debug_anywhere", "control", "metrics_bind", *OF_WORKERS)
_OFFERED = [name for name in NAMES if name not in NOT_OFFERED]
_STALL_MS = 100


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-reload",
        action="store_true",
        help="do not start the app again when a file changes: for a debugger, or a profiler",
    )
    parser.add_argument(
        "--dev-tls", action="store_true", help="serve https with a certificate that dev makes"
    )
    add_configuration(parser, _OFFERED)


def _run(given: argparse.Namespace) -> None:
    try:
        worker = process.become_worker()
        if worker is not None:
            from ..development.serving import serve  # other commands do not need this package

            serve(worker, partial(_load, given, import_app), print_routes)
            return
        _start(given)
    except ConfigurationError as error:
        fail(str(error))


def _start(given: argparse.Namespace) -> None:
    settings = read_configuration(given, _OFFERED).settings
    if given.dev_tls and "tls_certificate" in settings.options:
        fail_usage("--dev-tls makes a certificate: leave tls_certificate out")
    config = process.configure(_options(settings, given))
    _check_local(settings, config)
    process.loop_factory(config.loop)
    process.say_notes(settings)
    if given.dev_tls:
        authority = _certificate().authority
        say(f"the certificate's authority is {authority}: a browser may import it", sys.stdout)
    if given.no_reload or os.name != "posix":
        app, options = _load(given, load_app)
        for each in app.all_apps():
            each.debug = True
        print_routes(app)
        process.run(app, options)
    else:
        from ..development.reloader import develop

        sys.exit(develop(config, _watched(given)))


def _load(given: argparse.Namespace, load: Callable[[str], App]) -> tuple[App, ServerOptions]:
    """Return the app that `load(target)` returns, and its options, both read again."""
    configuration = read_configuration(given, _OFFERED)
    configuration.set_variables()
    return load(given.target), _options(configuration.settings, given)


def _options(settings: Settings, given: argparse.Namespace) -> ServerOptions:
    """Return the options of the server: it logs a request without a terminal too, as text."""
    form: LogForm = "off" if settings.options.get("log") == "off" else "text"
    return {"stall_ms": _STALL_MS, **settings.options, **_tls_of(given), "log": form}


def _tls_of(given: argparse.Namespace) -> ServerOptions:
    """Return the options of the certificate that `--dev-tls` makes."""
    if not given.dev_tls:
        return {}
    return {"tls_certificate": (str(_certificate().file),)}


def _certificate() -> LocalCertificate:
    from ..development.certificate import local_certificate

    return local_certificate()


def _watched(given: argparse.Namespace) -> Watched:
    from ..development.watching import Watched

    folder = app_folder(given.target)
    named = [project_file(folder), given.env_file, Path.cwd() / ".env"]
    return Watched(folder, [path.absolute() for path in named if path is not None])


def _check_local(settings: Settings, config: ServerConfig) -> None:
    """Exit if other machines could reach the address."""
    if process.is_local(config):
        return
    source = settings.source("bind" if config.bind else "host")
    refuse = fail_usage if source in ("--bind", "--host") else fail
    reached = ", ".join(config.bind) or config.host
    refuse(
        f"dev serves only this machine, but others can reach {reached!r:.80} ({source}): "
        "use microweb run, or --host localhost"
    )


COMMAND = Command(
    "dev",
    "Serve an app to this machine only, with debug on; start it again when a file changes.",
    _add_arguments,
    _run,
)
