"""Applications of other interfaces, as `App.mount` takes them."""

from __future__ import annotations

from ..endpoints.lifespan import HasState
from ..errors import ConfigurationError
from ..server.process import Application
from .interfaces import as_asgi
from .wsgi_server import WSGI


def as_mounted(app: object, prefix: str, outer: HasState) -> Application:
    """Return `app` as an application that `outer` can mount. Raises: ConfigurationError."""
    application = app if isinstance(app, WSGI) else as_asgi(app, outer)
    if application is not None:
        return application
    raise ConfigurationError(
        f"mount {prefix!r}: expected an App, a Router, an ASGI application or WSGI(app), got "
        f"{app!r:.80}; route a function with @app.route({prefix + '/{path:path}'!r})"
    )
