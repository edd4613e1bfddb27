"""Applications of other interfaces, as `App.mount` takes them."""

from __future__ import annotations

from ..errors import ConfigurationError
from ..server.process import Application
from .wsgi_server import WSGI


def as_application(app: object, prefix: str) -> Application:
    """Return `app` as an application that an App can mount. Raises: ConfigurationError."""
    if isinstance(app, WSGI):
        return app
    raise ConfigurationError(
        f"mount {prefix!r}: expected an App, a Router or WSGI(app), got {app!r:.80}; route a "
        f"function with @app.route({prefix + '/{path:path}'!r})"
    )
