"""Checks of a route when it is registered, and facts about it that its parameters decide."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Protocol

from ..endpoints.arguments import Binding
from ..endpoints.dependencies import Dependency, converters_of, dependencies_in
from ..endpoints.graph import Graph
from ..endpoints.outcomes import outcomes_in, takes_json, uses_json
from ..endpoints.signature import REQUEST, Signature, inspect_endpoint
from ..errors import ConfigurationError
from ..http.interfaces import BodyLimits
from ..router import Route, Router
from ..routing.names import RouteNames
from ..routing.patterns import Converter, Pattern, names_in, parse_pattern
from .chain import Level, over_socket


def read_route(
    route: Route, converters: Mapping[str, Converter], prefix: str
) -> tuple[Signature, Pattern, bool]:
    """Return a route's signature, its pattern below `prefix`, and whether its errors are JSON."""
    signature = inspect_endpoint(route.endpoint)
    inside = tuple(dependencies_in(signature))
    pattern = _pattern_of(prefix + route.path, converters, signature, inside)
    return signature, pattern, _errors_are_json(signature, inside)


def pattern_of(route: Route, converters: Mapping[str, Converter], prefix: str = "") -> Pattern:
    """Return a route's pattern; if the path names no converter, the annotation decides."""
    signature = inspect_endpoint(route.endpoint)
    inside = tuple(dependencies_in(signature))
    return _pattern_of(prefix + route.path, converters, signature, inside)


def _pattern_of(
    path: str,
    converters: Mapping[str, Converter],
    signature: Signature,
    inside: Sequence[Dependency],
) -> Pattern:
    names = names_in(path)
    named = converters_of(signature, inside, names) if names else {}
    return parse_pattern(path, converters, named)


def names_of(routes: Iterable[Route], converters: Mapping[str, Converter]) -> RouteNames:
    """Return the names of routes, for `url_for`."""
    names = RouteNames()
    for route in routes:
        names.add(route.name, pattern_of(route, converters))
    return names


def check_app(level: Level) -> None:
    """Raise ConfigurationError for an option of an app that has a wrong type."""
    for name, value in (("debug", level.debug), ("redirect_slashes", level.redirect_slashes)):
        if not isinstance(value, bool):
            raise ConfigurationError(f"App: {name}: expected True or False, got {value!r:.80}")
    _check_limits("App", level.limits)
    default = level.app.json_default
    if default is not None and not (callable(default) and isinstance(default, Hashable)):
        kind = type(default).__name__
        raise ConfigurationError(
            f"App: json_default: expected a function, or a callable object with a hash, got {kind}"
        )


def _check_limits(owner: str, limits: BodyLimits) -> None:
    for name, value in zip(limits._fields, limits, strict=True):
        if value is not None and (type(value) is not int or value < 0):
            expected = "an int of 0 or more, or None for the outer limit"
            raise ConfigurationError(f"{owner}: {name}: expected {expected}, got {value!r:.80}")


def check_endpoint(route: Route, converters: Mapping[str, Converter]) -> None:
    """Raise ConfigurationError if a parameter of a route's endpoint has no source.

    If a converter or an annotation is still unknown at registration, only `freeze` checks it. A
    limit of the route that is no number of bytes or values is an error too.
    """
    _check_limits(f"route path {route.path!r}", route.limits)
    signature = inspect_endpoint(route.endpoint)
    inside = tuple(dependencies_in(signature))
    try:
        pattern = _pattern_of(route.path, converters, signature, inside)
    except ConfigurationError:
        return  # the converter may be registered later: `freeze` checks
    if not (signature.is_resolved and all(each.signature.is_resolved for each in inside)):
        return
    if route.is_websocket:
        over_socket(signature, pattern, route.origins)
    else:
        graph = Graph(inspected=inside)
        Binding(signature, pattern.parameters, REQUEST, route.methods, graph)
        outcomes_in(signature)


def errors_are_json(route: Route) -> bool:
    """Return whether errors of a route are problem details, also for clients that name no type."""
    signature = inspect_endpoint(route.endpoint)
    return _errors_are_json(signature, dependencies_in(signature))


def _errors_are_json(signature: Signature, inside: Iterable[Dependency]) -> bool:
    return uses_json(signature) or any(takes_json(each.signature) for each in inside)


class Mountable(Protocol):
    """An App, with the apps that are mounted in it."""

    def all_apps(self) -> Sequence[object]: ...


def check_mount(prefix: str, outer: Mountable, app: Mountable | Router) -> None:
    """Raise ConfigurationError if `outer` can't mount `app`, an App or a Router, at `prefix`."""
    if not prefix:
        raise ConfigurationError("mount: expected a prefix such as '/admin', got ''")
    apps = getattr(app, "all_apps", None)
    if apps is not None and "{" in prefix:
        raise ConfigurationError(f"mount: prefix {prefix!r}: leave the parameters out")
    if apps is not None and outer in apps():
        raise ConfigurationError(f"mount {prefix!r}: don't mount an app in itself")
