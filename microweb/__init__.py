"""microweb: an HTTP microframework that owns its whole path, from the socket to the handler."""

from .app import App
from .errors import ClientDisconnected, ConfigurationError, HTTPError, abort
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
    "Headers",
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
