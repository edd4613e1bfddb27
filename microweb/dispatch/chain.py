"""The chain of a route: its endpoint inside all its middleware, built when the app is frozen.

`Level` has the registrations of one app as plain data; `Place` is that app at the prefix where it
is mounted. The endpoint stands inside the route's middleware, inside its app's, inside that of the
apps around it. Each link answers its own errors, so that the next one out gets a Response.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import isroutine
from typing import Protocol, runtime_checkable

from ..concurrency.callables import describe
from ..endpoints.arguments import bind
from ..endpoints.handler import UNANSWERED, Finish, OnError, in_thread, make_handler
from ..endpoints.results import ReturnConverter
from ..endpoints.signature import Signature, inspect_endpoint
from ..errors import ConfigurationError
from ..http.interfaces import BodyLimits, RequestApp
from ..logs import Log
from ..request import Handler, Request, name_in_log, request_id_of
from ..response import Response
from ..router import Middleware, Route
from ..routing.patterns import Converter, Pattern, parse_pattern
from .boundary import ErrorBoundary, ErrorHandlers
from .ownership import RESPONSE_CLASSES, is_held_once

_log = Log("microweb.error")


@dataclass(frozen=True, slots=True)
class Level:
    """One app as it stands when it is frozen, and those that are mounted in it."""

    app: RequestApp[Response]
    debug: bool
    limits: BodyLimits
    redirect_slashes: bool
    routes: tuple[Route, ...]
    middleware: tuple[Middleware, ...]
    errors: ErrorHandlers
    converters: Mapping[str, Converter]
    mounted: tuple[tuple[str, tuple[Middleware, ...], Level], ...]  # prefix, use, inner


@runtime_checkable
class PlacedMiddleware(Protocol):
    """Middleware that differs with the prefix that its app is mounted at."""

    def mounted_at(self, prefix: str) -> Middleware:
        """Return the middleware for an app at `prefix`, empty for the outermost."""


@runtime_checkable
class SoleMiddleware(Protocol):
    """Middleware of which one may stand around a route: `sole_source_of` names its source."""

    sole_source_of: str


class Place:
    """One app at the prefix that it is mounted at; the outermost one at none."""

    def __init__(
        self,
        level: Level,
        missed: Handler,
        prefix: str = "",
        outer: Place | None = None,
        use: tuple[Middleware, ...] = (),
    ) -> None:
        self.level = level
        self.prefix: str = prefix
        self.limits = level.limits
        self._outer = outer
        self.debug = level.debug
        if outer is not None:
            # As URLs have it: `url_for` puts it before the path in the mounted app.
            self.prefix = outer.prefix + parse_pattern(prefix).format({})
            self.limits = level.limits.inside(outer.limits)
            self.debug = level.debug or outer.debug
        self._use = placed_at(use, self.prefix)
        self.errors: ErrorBoundary = ErrorBoundary(
            level.errors,
            level.app,
            outer.errors if outer is not None else None,
            debug=self.debug,
        )
        self.missed: Handler = self._wrap(missed, missed, level.middleware, str(self))

    def __str__(self) -> str:
        return f"the app mounted at {self.prefix!r}" if self.prefix else "the app"

    def handler_of(self, route: Route, pattern: Pattern) -> Handler:
        """Return the chain of a route: its endpoint with all that is around it."""
        signature = inspect_endpoint(route.endpoint)
        if route.is_websocket:
            call = over_socket(signature, pattern, route.origins)
        else:
            call = self._call_of(route, signature, pattern)
        return self._wrap(route.endpoint, call, route.use, describe(route.endpoint))

    def _call_of(
        self, route: Route, signature: Signature, pattern: Pattern
    ) -> Callable[[Request], object]:
        """Return the function that calls a route's endpoint for a request."""
        call = bind(signature, pattern.parameters)
        if not signature.is_async:
            call = in_thread(str(route), call, may_read=signature.may_take_request)
        if not self.debug:
            return call
        from ..debug.slips import with_hints

        return with_hints(route.endpoint, call)

    def preflight_of(self, route: Route) -> Handler | None:
        """Return the answer to a CORS preflight inside a route's own middleware, if it has any."""
        own = route.use[len(self.level.middleware) :]  # the app's own comes first
        if not own:
            return None
        return _chain(
            [(self, each) for each in placed_at(own, self.prefix)], answer_options, hands_on=True
        )

    def _wrap(
        self,
        endpoint: Callable[..., object],
        call: Callable[[Request], object],
        use: tuple[Middleware, ...],
        label: str,
    ) -> Handler:
        """Return the handler that calls an endpoint, inside all its middleware."""
        around = self._around(use)
        _check_sole((middleware for _, middleware in around), label)
        finish = ReturnConverter(endpoint, self.level.app).convert
        handler = make_handler(call, finish, self.errors.answer, hands_on=bool(around))
        return _chain(around, handler, hands_on=False)

    def _around(self, middleware: tuple[Middleware, ...]) -> list[tuple[Place, Middleware]]:
        """Return middleware inside that of the apps around this one, the outermost first."""
        own = [(self, each) for each in placed_at(middleware, self.prefix)]
        if self._outer is None:
            return own
        return self._outer._around((*self._outer.level.middleware, *self._use)) + own


def _chain(
    around: Sequence[tuple[Place, Middleware]], handler: Handler, *, hands_on: bool
) -> Handler:
    """Return `handler` inside middleware, the outermost first; `hands_on` as for `_link`."""
    for depth, (place, middleware) in reversed(tuple(enumerate(around))):
        is_outermost = depth == 0 and not hands_on
        handler = _link(
            middleware,
            handler,
            ReturnConverter(middleware, place.level.app, passes_on=True).convert,
            place.errors.answer,
            hands_on=not is_outermost and not _is_ours(middleware),
            closes=is_outermost,
        )
    return handler


def over_socket(
    signature: Signature, pattern: Pattern, origins: frozenset[str]
) -> Callable[[Request], object]:
    """Return the function that answers a request by a WebSocket endpoint.

    Raises: ConfigurationError, which names the remedy; MissingExtra.
    """
    from ..websocket.endpoint import answering, bind_socket

    return answering(bind_socket(signature, pattern.parameters), origins)


def placed_at(middleware: Iterable[Middleware], prefix: str) -> list[Middleware]:
    """Return the middleware as it is for an app at `prefix`."""
    return [
        each.mounted_at(prefix) if isinstance(each, PlacedMiddleware) else each
        for each in middleware
    ]


def _check_sole(middleware: Iterable[Middleware], where: str) -> None:
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


def _is_ours(middleware: Middleware) -> bool:
    """Whether it comes with microweb: then it keeps no Response, so each one is of one exchange."""
    kind = middleware if isroutine(middleware) else type(middleware)
    return kind.__module__.partition(".")[0] == "microweb"


def _link(
    middleware: Middleware,
    call_next: Handler,
    finish: Finish,
    on_error: OnError,
    *,
    hands_on: bool,
    closes: bool,
) -> Handler:
    """Return the handler that is `middleware` around `call_next`.

    `hands_on`: other middleware stands around it, and gets a copy of the Response that
    `middleware` returns, because it may have kept that to answer other requests.

    `closes`: none stands around it, so that its value is sent, and no other stream.
    """

    async def handle(request: Request) -> Response:
        response = None
        try:
            value: object = await middleware(request, call_next)
            if value is None:
                raise TypeError(
                    f"{describe(middleware)} returned None: did you forget "
                    "`return await call_next(request)`?"
                )
            response = value if isinstance(value, RESPONSE_CLASSES) else finish(value)
            if response.source is not None:
                response = await response.prepare(request)
            if hands_on and response is value and not is_held_once(response):
                response = response.hand_on()
        except UNANSWERED:
            raise
        except BaseException as error:
            response = await on_error(request, error)
        finally:
            if closes and request.has_exchange:
                await _close_dropped(request, response)
        return response

    return handle


async def _close_dropped(request: Request, response: object) -> None:
    """Close the streams that were made to answer a request, and are not its answer."""
    sent: object = response.source if isinstance(response, Response) else None
    for held in tuple(request.exchange.held):
        if held is not sent:
            try:
                await held.discard()
            except Exception:
                fields = {"request_id": request_id_of(request)}
                _log.exception("%s: closing %r failed", name_in_log(request), held, extra=fields)


async def answer_options(request: Request) -> Response:
    """The endpoint of OPTIONS where no route has it. RFC 9110 section 9.3.7"""
    allowed = request.match.allowed if request.match is not None else ()
    return Response(b"", 204, {"Allow": ", ".join(allowed)})
