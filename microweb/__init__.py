"""microweb: an HTTP microframework that owns its whole path, from the socket to the handler."""

import typing

from .app import App
from .elsewhere import public_name
from .errors import ClientDisconnected, ConfigurationError, HTTPError, abort
from .handlers import Handler, Middleware
from .headers import Headers
from .markup import html
from .multidict import MultiDict
from .request import Request
from .response import Response
from .router import Router
from .threads import from_thread
from .uploads import UploadFile
from .websocket import WebSocket

__all__ = [
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
    "WebSocket",
    "abort",
    "from_thread",
    "html",
]
__version__ = "0.1.0"

if not typing.TYPE_CHECKING:
    # `from microweb import request` would give the module, not the error that names the remedy.
    del request, session, websocket  # noqa: F821

    def __getattr__(name: str) -> object:
        return public_name(name)
