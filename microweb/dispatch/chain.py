"""The chain of a route: its endpoint inside all its middleware, built when the app is frozen.

A `Level` is the registrations of one app as plain data. A `Place` is that app at the prefix where
it is mounted. Around the endpoint is the middleware of its route, then that of its app, then that
of the outer apps. Each link answers its own errors, so the link around it always gets a Response.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from inspect import isroutine
from typing import NamedTuple, Protocol, runtime_checkable

from ..concurrency.callables import describe
from ..endpoints.answer_checks import checking, is_checked
from ..endpoints.arguments import Binding, bind
from ..endpoints.dependencies import dependencies_in
from ..endpoints.graph import Graph, Replacements
from ..endpoints.handler import UNANSWERED, Finish, MakeHandler, OnError, in_thread, make_handler
from ..endpoints.overrides import Overrides, PlannedRoute
from ..endpoints.plans import Plan
from ..endpoints.resolving import calling_in_thread, resolving
from ..endpoints.results import ReturnConverter
from ..endpoints.signature import REQUEST, Signature
from ..errors import ConfigurationError
from ..http.interfaces import BodyLimits, RequestApp
from ..http.request_log import log_fields, name_in_log
from ..logs import Log
from ..request import Handler, Request
from ..response import Response
from ..router import Middleware, Route
from ..routing.patterns import Converter, Pattern, parse_pattern
from .boundary import ErrorBoundary, ErrorHandlers, answer_missing
from .ownership import RESPONSE_CLASSES, is_held_once

_log = Log("microweb.error")


class Level(NamedTuple):
    """The registrations of one app when it is frozen, and those of the apps mounted in it."""

    app: RequestApp[Response]
    debug: bool
    limits: BodyLimits
    redirect_slashes: bool
    routes: tuple[Route, ...]
    middleware: tuple[Middleware, ...]
    errors: ErrorHandlers
    converters: Mapping[str, Converter]
    overrides: Overrides
    mounted: tuple[tuple[str, tuple[Middleware, ...], Level], ...]  # prefix, use, inner
    missed: Handler | None  # answers all paths without a route, in place of 404 and 405
    has_lifespan: bool  # of its own


@runtime_checkable
class PlacedMiddleware(Protocol):
    """Middleware that depends on the prefix where its app is mounted."""

    def mounted_at(self, prefix: str) -> Middleware:
        """Return the middleware for an app at `prefix`; the prefix of the outermost app is ""."""


@runtime_checkable
class SoleMiddleware(Protocol):
    """Middleware that a route may have only once: `sole_source_of` names the thing it provides."""

    sole_source_of: str


class Place:
    """One app at the prefix where it is mounted; the outermost app has the prefix ""."""

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
        self._overrides: tuple[Overrides, ...] = (level.overrides,)
        if outer is not None:
            self._overrides = (*outer._overrides, level.overrides)
            # Percent-encoded as in a URL: `url_for` puts it before the path in the mounted app.
            self.prefix = outer.prefix + parse_pattern(prefix).format({})
            self.limits = level.limits.inside(outer.limits)
            self.debug = level.debug or outer.debug
        # In mounted apps too, where the outermost one is under test.
        self.checks_answers: bool = (
            self.debug or is_checked(level.app) or (outer is not None and outer.checks_answers)
        )
        self._use = placed_at(use, self.prefix)
        self.errors: ErrorBoundary = ErrorBoundary(
            level.errors,
            level.app,
            outer.errors if outer is not None else None,
            debug=self.debug,
        )
        self.missed: Handler = self._wrap(
            partial(make_handler, missed, ReturnConverter(missed, level.app).convert),
            level.middleware,
            self.__str__,
        )
        # Answers a request without a route in one step; None if any code may see that answer.
        self.nothing: Handler | None = None
        if self.errors.answers_missing and not self._around(level.middleware):
            self.nothing = answer_missing

    def __str__(self) -> str:
        return f"the app mounted at {self.prefix!r}" if self.prefix else "the app"

    def handler_of(self, route: Route, signature: Signature, pattern: Pattern) -> Handler:
        """Return the chain of a route: its endpoint inside all its middleware."""
        finish = self._finish_of(route.endpoint)
        if route.is_websocket:
            call = over_socket(signature, pattern, route.origins, self._overrides)
        elif any(dependencies_in(signature)):
            make = self._resolving(route, signature, pattern, finish)
            return self._wrap(make, route.use, partial(describe, route.endpoint))
        else:
            call = self._call_of(route, signature, pattern)
        sure = None if self.checks_answers else str
        make = partial(make_handler, call, finish, sure=sure)
        return self._wrap(make, route.use, partial(describe, route.endpoint))

    def _finish_of(self, endpoint: Callable[..., object]) -> Finish:
        """Return the function that makes a response of an endpoint's value."""
        finish: Finish = ReturnConverter(endpoint, self.level.app).convert
        return checking(endpoint, finish) if self.checks_answers else finish

    def _call_of(
        self, route: Route, signature: Signature, pattern: Pattern
    ) -> Callable[[Request], object]:
        """Return the function that calls a route's endpoint for a request."""
        if signature.is_async:
            call = bind(signature, pattern.parameters, route.methods)
        else:
            wrap = partial(in_thread, str(route), may_read=signature.may_take_request)
            call = bind(signature, pattern.parameters, route.methods, wrap)
        if not self.debug:
            return call
        from ..debug.slips import with_slip_warnings

        return with_slip_warnings(route.endpoint, call)

    def _resolving(
        self, route: Route, signature: Signature, pattern: Pattern, finish: Finish
    ) -> MakeHandler:
        """Return the maker of the handler for an endpoint with dependencies."""

        def plan(replacements: Replacements) -> Plan:
            graph = Graph(replacements)
            bound = Binding(signature, pattern.parameters, REQUEST, route.methods, graph)
            return Plan(bound, graph, is_async=signature.is_async)

        planned = PlannedRoute(plan, self._overrides)
        check = None
        if self.debug:
            from ..debug.slips import slip_check

            check = slip_check(route.endpoint)
        if signature.is_async:
            return partial(resolving, planned, finish, check, None)
        call_in_thread = calling_in_thread(str(route), finish, check)
        return partial(resolving, planned, finish, None, call_in_thread)

    def preflight_of(self, route: Route) -> Handler | None:
        """Return the handler of a CORS preflight inside the route's own middleware, if any."""
        own = route.use[len(self.level.middleware) :]  # `use` begins with the app's middleware
        if not own:
            return None
        return _chain(
            [(self, each) for each in placed_at(own, self.prefix)], answer_options, hands_on=True
        )

    def _wrap(
        self,
        make: MakeHandler,
        use: tuple[Middleware, ...],
        label: Callable[[], str],
    ) -> Handler:
        """Return the handler of an endpoint inside all its middleware."""
        around = self._around(use)
        _check_sole((middleware for _, middleware in around), label)
        handler = make(self.errors.answer, hands_on=bool(around))
        return _chain(around, handler, hands_on=False)

    def _around(self, middleware: tuple[Middleware, ...]) -> list[tuple[Place, Middleware]]:
        """Return the middleware of the outer apps, then `middleware`: the outermost first."""
        own = [(self, each) for each in placed_at(middleware, self.prefix)]
        if self._outer is None:
            return own
        return self._outer._around((*self._outer.level.middleware, *self._use)) + own


def _chain(
    around: Sequence[tuple[Place, Middleware]], handler: Handler, *, hands_on: bool
) -> Handler:
    """Return `handler` inside the middleware of `around`, which lists the outermost first.

    `hands_on`: True if other middleware is around all of it, as for `_link`.
    """
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
    signature: Signature,
    pattern: Pattern,
    origins: frozenset[str],
    overrides: Sequence[Overrides] = (),
) -> Callable[[Request], object]:
    """Return the function that answers a request with a WebSocket endpoint.

    Raises: ConfigurationError, which names the remedy; MissingExtra.
    """
    from ..websocket.endpoint import answering, bind_socket

    return answering(bind_socket(signature, pattern.parameters, overrides), origins)


def placed_at(middleware: Iterable[Middleware], prefix: str) -> list[Middleware]:
    """Return the middleware for an app at `prefix`, in the same order."""
    return [
        each.mounted_at(prefix) if isinstance(each, PlacedMiddleware) else each
        for each in middleware
    ]


def routes_in(level: Level) -> list[tuple[str, Route]]:
    """Return (prefix, route) for each route of an app and of the apps mounted in it."""
    found = [("", route) for route in level.routes]
    for prefix, _, inner in level.mounted:
        found += [(prefix + below, route) for below, route in routes_in(inner)]
    return found


def middleware_in(level: Level, prefix: str = "") -> list[Middleware]:
    """Return all middleware of an app and of mounted apps, each once, the outer ones first.

    `prefix` is the prefix of the app.
    """
    found = [*level.middleware, *(each for route in level.routes for each in route.use)]
    found = placed_at({id(each): each for each in found}.values(), prefix)
    for mounted_at, use, inner in level.mounted:
        below = prefix + parse_pattern(mounted_at).format({})
        found += [*placed_at(use, below), *middleware_in(inner, below)]
    return list({id(each): each for each in found}.values())


def _check_sole(middleware: Iterable[Middleware], where: Callable[[], str]) -> None:
    """Raise ConfigurationError if two of `middleware` provide the same thing."""
    seen: dict[str, str] = {}
    for each in middleware:
        if isinstance(each, SoleMiddleware):
            given, name = each.sole_source_of, type(each).__name__
            if given in seen:
                raise ConfigurationError(
                    f"{where()}: expected one source of {given}, got {name} inside {seen[given]}: "
                    "keep one of the two; middleware of an app also serves the apps mounted in it"
                )
            seen[given] = name


def _is_ours(middleware: Middleware) -> bool:
    """Return whether microweb defines it: such middleware keeps no Response for other requests."""
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
    """Return the handler that calls `middleware`, which calls `call_next`.

    `hands_on`: True if other middleware is around it. That gets a copy of the Response that
    `middleware` returns, because `middleware` may keep its own to answer other requests.

    `closes`: True for the outermost. Its Response is sent; other streams of the request are closed.
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
    """Close the streams that were created for a request but are not its answer."""
    sent: object = response.source if isinstance(response, Response) else None
    for held in tuple(request.exchange.held):
        if held is not sent:
            try:
                await held.discard()
            except Exception:  # the response is decided, and the other streams must be closed too
                fields = log_fields(request)
                _log.exception("%s: closing %r failed", name_in_log(request), held, extra=fields)


async def answer_options(request: Request) -> Response:
    """Answer OPTIONS on a path whose routes do not have that method. RFC 9110 section 9.3.7"""
    allowed = request.match.allowed if request.match is not None else ()
    return Response(b"", 204, {"Allow": ", ".join(allowed)})
