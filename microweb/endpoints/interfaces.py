"""Handler and Middleware: the two shapes that an application is made of.

A handler answers a request. Middleware is called with a request and the handler inside it. Both are
checked when they are registered, so that a wrong one is no surprise at the first request.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from ..concurrency.callables import describe, is_async
from ..errors import ConfigurationError
from ..request import Request
from ..response import Response

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

# None is not among them: it means that a `return` was forgotten.
Answer = Response | str | bytes | Mapping[str, Any] | list[Any] | tuple[Any, ...]
Middleware = Callable[[Request, Handler], Awaitable[Answer]]


@runtime_checkable
class PlacedMiddleware(Protocol):
    """Middleware that differs with the prefix that its app is mounted at."""

    def mounted_at(self, prefix: str) -> Middleware:
        """Return the middleware for an app at `prefix`, empty for the outermost."""


@runtime_checkable
class SoleMiddleware(Protocol):
    """Middleware of which one may stand around a route: `sole_source_of` names what it gives."""

    sole_source_of: str


def check_sole(middleware: Iterable[Middleware], where: str) -> None:
    """Raise ConfigurationError if two of `middleware` are the sole source of the same."""
    seen: dict[str, str] = {}
    for each in middleware:
        if isinstance(each, SoleMiddleware):
            given, name = each.sole_source_of, type(each).__name__
            if given in seen:
                raise ConfigurationError(
                    f"{where}: expected one source of {given}, got {name} inside {seen[given]}: "
                    "keep one of the two; that of an app serves the apps mounted in it as well"
                )
            seen[given] = name


def placed_at(middleware: Iterable[Middleware], prefix: str) -> list[Middleware]:
    """Return the middleware as it is for an app at `prefix`."""
    return [
        each.mounted_at(prefix) if isinstance(each, PlacedMiddleware) else each
        for each in middleware
    ]


def check_middleware(middleware: object) -> None:
    """Raise ConfigurationError for anything but `async def (request, call_next)`."""
    if isinstance(middleware, str):
        raise ConfigurationError(
            f"middleware({middleware!r}): write @app.middleware, without parentheses"
        )
    if isinstance(middleware, type):
        name = middleware.__name__
        raise ConfigurationError(f"middleware: {name} is a class: make one of it, as {name}(...)")
    if not callable(middleware) or not is_async(middleware):
        raise ConfigurationError(
            f"{describe(middleware)}: write middleware as async def (request, call_next)"
        )
    check_parameters(middleware, "middleware", "request", "call_next")


def check_parameters(function: Callable[..., object], role: str, *names: str) -> None:
    """Raise ConfigurationError if `function` can't be called with these, by position."""
    if not callable(function):
        raise ConfigurationError(f"{role}: expected a function, got {function!r:.80}")
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except ValueError:  # it is built in
        return
    try:
        signature.bind(*names)
    except TypeError:
        raise ConfigurationError(
            f"{describe(function)}: {role} takes ({', '.join(names)}), this takes {signature}"
        ) from None
