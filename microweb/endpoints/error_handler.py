"""A user's error handler: bind its parameters, call it, convert its value."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress

from ..concurrency.annotated import signature_of
from ..concurrency.callables import describe
from ..errorpages import status_of
from ..errors import ConfigurationError, HTTPError
from ..http.interfaces import RequestApp
from ..request import Request
from ..response import Response
from ..sessions.session import NoSession
from .handler import as_async
from .results import ReturnConverter, split_tuple
from .signature import hints_of

ErrorKey = int | type[Exception]


def check_key(key: object) -> None:
    """Raise ConfigurationError if `key` is a function: `@app.errorhandler` without parentheses."""
    if callable(key) and not isinstance(key, type):
        raise ConfigurationError(
            f"errorhandler({describe(key)}): write @app.errorhandler(404) or "
            "@app.errorhandler(ExceptionType)"
        )


class ErrorHandler:
    """A user's error handler: `async def missing(request, error)`; both parameters are optional.

    An error page may read `request.session`, which is empty if the error was raised outside
    `Sessions`.
    """

    def __init__(self, key: ErrorKey, function: Callable[..., object]) -> None:
        self.key = key
        self.function = function
        self._call = as_async(function)
        self._positional: list[str] = []  # the source of each: "request" or "error"
        self._named: dict[str, str] = {}
        hints = hints_of(inspect.unwrap(function))
        for name, parameter in signature_of(function).parameters.items():
            if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
                continue
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                self._named[name] = self._source_of(name, hints.get(name))
            else:
                self._positional.append(self._source_of(name, hints.get(name)))
        self.takes_request = "request" in (*self._positional, *self._named.values())

    def __str__(self) -> str:
        return describe(self.function)

    def _source_of(self, name: str, hint: object) -> str:
        if name == "request" or (isinstance(hint, type) and issubclass(hint, Request)):
            return "request"
        if name == "error" or (isinstance(hint, type) and issubclass(hint, BaseException)):
            return "error"
        raise ConfigurationError(
            f"{self}: expected only the parameters 'request' and 'error', got {name!r}"
        )

    async def answer(
        self, request: Request | None, error: BaseException, app: RequestApp[Response]
    ) -> Response:
        """Call the handler and return its answer; a plain value keeps the error's status."""
        if request is not None:
            with suppress(ConfigurationError):  # keep the session that the exchange has
                request.exchange.use_session(NoSession())
        given = {"request": request, "error": error}
        value = await self._call(
            *[given[source] for source in self._positional],
            **{name: given[source] for name, source in self._named.items()},
        )
        response = ReturnConverter(self.function, app).convert(value)
        if response is value:
            if response.source is not None:
                response.source.check_unclaimed()
            response = response.hand_on()  # the handler may return it for other requests too
        is_whole = isinstance(value, Response) and not (value.is_value and value.status == 200)
        if not is_whole and split_tuple(value)[1] is None:
            response.status = status_of(error)
        if isinstance(error, HTTPError):
            for name, text in error.headers.items():
                response.headers.setdefault(name, text)
        if response.source is not None:
            if request is None:
                return response.rendered(None)
            return await response.prepare(request)
        return response
