"""Find out the interface of an application: microweb's own, ASGI or WSGI."""

from __future__ import annotations

import inspect
from contextlib import suppress

from ..concurrency.callables import is_async
from ..endpoints.lifespan import HasState
from ..server.process import Application
from .asgi_server import ASGI, is_asgi
from .wsgi_server import WSGI


def as_application(value: object) -> Application | None:
    """Return the application that a value of any interface is; None if it is none."""
    if isinstance(value, Application) and not isinstance(value, type):
        return value
    return as_asgi(value) or as_wsgi(value)


def as_asgi(value: object, outer: HasState | None = None) -> Application | None:
    """Return the application that an ASGI 3 application is; None for another value.

    `outer` is the App that mounts it.
    """
    if isinstance(value, ASGI):
        return value
    # An App can be called as ASGI asks for, too: it is served as it is.
    return ASGI(value, outer) if not isinstance(value, Application) and is_asgi(value) else None


def as_wsgi(value: object) -> Application | None:
    """Return the application that a WSGI application is; None for another value."""
    if isinstance(value, WSGI):
        return value
    return WSGI(value) if callable(value) and is_wsgi(value) else None


def is_wsgi(value: object) -> bool:
    """Whether a value can be called as a WSGI application, with `environ` and `start_response`.

    A function that can also be called without arguments is not one: it makes an application.
    """
    if not callable(value) or isinstance(value, type) or is_async(value):
        return False
    try:
        signature = inspect.signature(value)
        signature.bind("environ", "start_response")
    except (TypeError, ValueError):  # it takes other arguments; it has no signature
        return False
    if inspect.isroutine(value):
        with suppress(TypeError):
            signature.bind()
            return False
    return True
