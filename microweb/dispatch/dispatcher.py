"""A frozen application: find the `Match` of a request line, with the whole chain of its route.

`Dispatcher` builds one route tree from an app and the apps mounted in it. The tree holds each route
with the chain that its `Place` built.
"""

from __future__ import annotations

from typing import NamedTuple

from ..bodies.redirect import local_url
from ..endpoints.handler import OnError
from ..errors import BadRequest, HTTPError, MethodNotAllowed, RouteConflict
from ..http.interfaces import BodyLimits
from ..http.request_head import RequestLine
from ..request import Handler, Request
from ..response import Response
from ..router import Route
from ..routing.patterns import parse_pattern
from ..routing.tree import Missed, RouteTree, Scopes
from .boundary import bare_not_found
from .chain import Level, Place, answer_options
from .registration import check_app, read_route

_MAX_MATCHES = 1024  # as the parser's memo of request lines
_MAX_MATCHED_CHARS = 256  # of a key

# RFC 9110 section 9.3, RFC 5789, and QUERY. A path without a route for one of these is 404 or 405,
# not 501.
_METHODS_OF_HTTP = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "QUERY")
)


class Match:
    """The result of matching a request line: the handler, the route, its parameters and limits."""

    __slots__ = (
        "allowed",
        "app",
        "dispatcher",
        "fault",
        "handler",
        "limits",
        "on_disconnect",
        "params",
        "place",
        "prefix",
        "root",
        "route",
        "uses_json",
    )

    def __init__(
        self, dispatcher: Dispatcher, place: Place, target: Target | None, params: dict[str, object]
    ) -> None:
        self.dispatcher = dispatcher
        self.root = dispatcher.root.level.app  # the outermost one
        self.place = place
        self.app = place.level.app
        self.prefix = place.prefix
        self.params = params
        self.handler = place.missed
        self.route: Route | None = None
        self.limits = place.limits
        self.on_disconnect: str | None = None
        self.uses_json = False
        if target is not None:
            self.handler = target.handler
            self.route = target.route
            self.on_disconnect = target.route.on_disconnect
            self.limits = target.limits
            self.uses_json = target.uses_json
        self.allowed: tuple[str, ...] = ()  # the path's methods, if no route has this one
        self.fault: BadRequest | None = None

    def allowed_beside(self, method: str, raw_path: str) -> tuple[str, ...]:
        """Return the methods that the path answers, without `method`; GET and HEAD count as one."""
        same = ("GET", "HEAD") if method in ("GET", "HEAD") else (method,)
        allowed = () if self.fault is not None else self.dispatcher.allowed(raw_path)
        return tuple(each for each in allowed if each not in same)

    @property
    def debug(self) -> bool:
        """True if this app, or an app around it, is in debug mode."""
        return self.place.debug


class Dispatcher:
    """Matches request lines for a frozen app. Raises: ConfigurationError, RouteConflict."""

    def __init__(self, level: Level) -> None:
        self._tree: RouteTree[Target] = RouteTree()
        self._places: Scopes[Place] = Scopes()
        self._methods = {"OPTIONS"}  # the methods of all routes
        self._conflicts: list[RouteConflict] = []
        self.root = Place(level, _missed)
        self._plant(self.root)
        if self._conflicts:  # one error names all of them
            raise RouteConflict("\n".join(map(str, self._conflicts)))
        self._all_methods = tuple(sorted(self._methods))
        self.matches: dict[str, Match] = {}  # a memo by `RequestLine.match_key`

    def match(self, line: RequestLine) -> Match:
        """Return the match of `line`; keep it in `matches` if other requests can share it."""
        match, is_repeatable = self._match(line)
        key = line.match_key
        if is_repeatable and key and len(key) <= _MAX_MATCHED_CHARS:
            if len(self.matches) >= _MAX_MATCHES:
                self.matches.clear()
            self.matches[key] = match
        if line.authority is not None and line.target[:6].lower() == "https:":
            match.handler = _over_https(match.handler, match.place.errors.answer)
        return match

    def _match(self, line: RequestLine) -> tuple[Match, bool]:
        """Return the match, and whether other requests may share it: a fault is of one request."""
        fault = None
        try:
            found = self._tree.find(line.method, line.raw_path)
        except BadRequest as error:
            found, fault = Missed((), is_repeatable=False), error
        if not isinstance(found, Missed):
            match = Match(self, found.value.place, found.value, found.params)
            return match, found.is_repeatable
        place = self._places.find(line.raw_path)
        assert place is not None  # the outermost app is at every path
        match = Match(self, place, None, {})
        match.fault = fault
        match.allowed = found.allowed
        if line.raw_path == "*":
            match.allowed = self._all_methods
        return match, found.is_repeatable

    def allowed(self, raw_path: str) -> tuple[str, ...]:
        """Return the methods that the path answers."""
        found = self._tree.find("", raw_path)  # no route has that method
        return found.allowed if isinstance(found, Missed) else ()

    def knows(self, method: str) -> bool:
        """Return whether `method` is one of HTTP's own, or a route has it."""
        return method in _METHODS_OF_HTTP or method in self._methods

    def other_slash(self, line: RequestLine) -> str | None:
        """Return the path with its last slash added or removed, if a route answers that path."""
        path = line.raw_path
        other = path[:-1] if path.endswith("/") else path + "/"
        return None if isinstance(self._tree.find(line.method, other), Missed) else other

    def options_handler(self, request: Request) -> Handler:
        """Return the handler of an OPTIONS request that no route answers.

        A CORS preflight names the method of another request. It runs inside the own middleware of
        that request's route, because that middleware must answer it. The route becomes the match.
        """
        line, missed = request.line, request.match
        method = request.headers.get("access-control-request-method")
        if method is None:
            return answer_options
        found = self._tree.find(method, line.raw_path)
        if isinstance(found, Missed) or found.value.preflight is None:
            return answer_options
        match = Match(self, found.value.place, found.value, found.params)
        match.allowed = missed.allowed if missed is not None else ()
        request.match = match
        return found.value.preflight

    def _plant(self, place: Place) -> None:
        check_app(place.level)
        self._places.add(parse_pattern(place.prefix or "/"), place)
        if place.prefix:
            self._tree.reserve(parse_pattern(place.prefix))
        for route in place.level.routes:
            signature, pattern, is_json = read_route(route, place.level.converters, place.prefix)
            target = Target(
                place,
                route,
                place.handler_of(route, signature, pattern),
                place.preflight_of(route),
                route.limits.inside(place.limits),
                is_json,
            )
            try:
                self._tree.add(pattern, route.methods, target)
            except RouteConflict as conflict:
                self._conflicts.append(conflict)
            self._methods.update(route.methods, ("HEAD",) if "GET" in route.methods else ())
        for prefix, use, level in place.level.mounted:
            self._plant(Place(level, level.missed or _missed, prefix, place, use))


class Target(NamedTuple):
    """A route in the tree, with its chain and its limits."""

    place: Place
    route: Route
    handler: Handler
    preflight: Handler | None
    limits: BodyLimits  # the route's, inside the app's
    uses_json: bool  # so its errors are problem details by default

    def __str__(self) -> str:
        return str(self.route._replace(path=self.place.prefix + self.route.path))


async def _missed(request: Request) -> Response:
    """Answer a request without a route: 404, 405, 501, OPTIONS, or a redirect for a last slash."""
    match, line = request.match, request.line
    assert isinstance(match, Match)
    if match.fault is not None:
        raise match.fault
    if not match.dispatcher.knows(line.method):
        raise HTTPError(501, "no route has this method")
    if match.allowed:
        if line.method == "OPTIONS":
            return await match.dispatcher.options_handler(request)(request)
        return match.place.errors.answer_bare(request, MethodNotAllowed(match.allowed))
    other = None
    if match.prefix and not request.path:
        other = f"{line.raw_path}/"  # from a mount's prefix to its path "/"
    elif match.place.level.redirect_slashes:
        other = match.dispatcher.other_slash(line)
    if other is None and match.place.nothing is not None:
        if line.match_key:  # the next requests with this line come there in one step
            match.handler = match.place.nothing
        return await match.place.nothing(request)
    if other is None:
        return match.place.errors.answer_bare(request, bare_not_found())
    return Response.redirect(local_url(request.root_path + other, request.query_string), 308)


def _over_https(handler: Handler, on_error: OnError) -> Handler:
    """Return `handler` for a target that names https: 421 if the request did not come by https.

    RFC 9110 section 7.4
    """

    async def handle(request: Request) -> Response:
        if request.scheme != "https":  # a trusted proxy's word counts
            error = HTTPError(421, "the target names https, but the connection is not secure")
            return await on_error(request, error)
        return await handler(request)

    return handle
