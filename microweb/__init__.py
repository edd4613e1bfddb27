"""microweb: an HTTP microframework that owns its whole path, from the socket to the handler.

Read the modules in the order in which a request passes them. The socket: `server/server.py`,
`server/state.py`, `server/connection.py`, `server/network.py`. Bytes to a request: `parser.py`,
`http/request_head.py`, `http/framing.py`, `http/headers.py`, `http/response_head.py`, `request.py`.
The application: `app.py`, `dispatch/dispatcher.py`, `routing/tree.py`, `endpoints/handler.py`. The
answer: `response.py`.
"""

import typing

from .app import App
from .bodies.forms import UploadFile
from .concurrency.threads import from_thread
from .errors import ClientDisconnected, ConfigurationError, HTTPError, abort
from .http.headers import Headers
from .http.multidict import MultiDict
from .markup import html
from .request import Handler, Request
from .response import Response
from .router import Middleware, Router
from .suggestions import apply_suggestions

if typing.TYPE_CHECKING:
    from .interop.serving import serve
    from .interop.wsgi_server import WSGI
    from .websocket.socket import WebSocket

__all__ = [  # noqa: RUF022 - in the order of `sorted`
    "App",
    "ClientDisconnected",
    "ConfigurationError",
    "HTTPError",
    "Handler",
    "Headers",
    "Middleware",
    "MultiDict",
    "Request",
    "Response",
    "Router",
    "UploadFile",
    "WSGI",
    "WebSocket",
    "abort",
    "from_thread",
    "html",
    "serve",
]
__version__ = "0.1.0"

apply_suggestions()

if not typing.TYPE_CHECKING:
    # Otherwise `from microweb import request` gives the module, not the error with the remedy.
    del request  # noqa: F821

    def __getattr__(name: str) -> object:
        found: object
        if name == "WebSocket":  # each is imported at its first use
            from .websocket.socket import WebSocket as found
        elif name == "WSGI":
            from .interop.wsgi_server import WSGI as found
        elif name == "serve":
            from .interop.serving import serve as found
        else:
            from .debug.missing_names import public_name

            return public_name(name)
        for room in ("interop", "websocket"):
            globals().pop(room, None)  # as for `request`
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
