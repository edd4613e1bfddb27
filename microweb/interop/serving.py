"""`microweb.serve`: serve an application of any interface, as `App.run` serves an App."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..concurrency.callables import folder_of
from ..errors import ConfigurationError
from ..server.process import Application, run_configured
from .asgi_types import ASGIApplication
from .interfaces import as_application
from .wsgi_answer import WSGIApplication

if TYPE_CHECKING:
    from typing import Unpack

    from ..server.config import RunOptions


def serve(
    app: Application | ASGIApplication | WSGIApplication,
    host: str | None = None,
    port: int | None = None,
    **options: Unpack[RunOptions],
) -> None:
    """Serve an App, an ASGI 3 or a WSGI application until Ctrl-C or SIGTERM, as `App.run` does.

    The options are the fields of `ServerConfig`; others come from the environment and from
    pyproject.toml. If the server can't start, print one line and exit with status 1.
    Raises: ConfigurationError if `app` is no application.
    """
    application = as_application(app)
    if application is None:
        raise ConfigurationError(
            f"microweb.serve: expected an App, an ASGI 3 application (an async callable of scope, "
            f"receive and send) or WSGI(application), got {_remedy(app)}"
        )
    run_configured(application, host, port, options, folder_of(sys._getframe(1)))


def _remedy(value: object) -> str:
    """Return a text about a value that is no application, and what to do if that is known."""
    got = f"{value!r:.80}"
    if isinstance(value, str):
        return f"{got}: pass the application itself, or use `microweb run {value:.80}`"
    if isinstance(value, type):
        return f"the class {value.__qualname__}: pass an object of it"
    if callable(value):
        return f"{got}: if it makes the application, pass the value that it returns"
    return got
