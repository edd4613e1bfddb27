"""The kinds of applications that commands take: an App, or one of another interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from ..app import App
from ..server.process import Application

A = TypeVar("A", bound=Application)


class Kind(NamedTuple, Generic[A]):
    """A kind of application. `accept` returns the application that a value is, or None."""

    name: str
    accept: Callable[[object], A | None]


def _as_app(value: object) -> App | None:
    return value if isinstance(value, App) else None


def _as_wsgi(value: object) -> Application | None:
    from ..interop.interfaces import as_wsgi

    return as_wsgi(value)


def _as_asgi(value: object) -> Application | None:
    from ..interop.interfaces import as_asgi

    return as_asgi(value)


def _as_any(value: object) -> Application | None:
    return _as_app(value) or _as_asgi(value) or _as_wsgi(value)


APP = Kind("an App", _as_app)

# The interfaces of `microweb run --interface`.
INTERFACES: dict[str, Kind[Application]] = {
    "auto": Kind("an App, an ASGI or a WSGI application", _as_any),
    "microweb": Kind(APP.name, _as_app),
    "asgi": Kind("an ASGI application", _as_asgi),
    "wsgi": Kind("a WSGI application", _as_wsgi),
}


def interface_of(value: object) -> str | None:
    """Return the name of the kind of an application that is no App; None for another value."""
    for interface in ("asgi", "wsgi"):
        if INTERFACES[interface].accept(value) is not None:
            return INTERFACES[interface].name
    return None
