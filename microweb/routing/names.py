"""The names of routes: a name and parameters -> the path and query that `url_for` returns."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from ..http.urlencoded import encode_urlencoded
from ..remedies import nearest
from .patterns import Pattern


class RouteNames:
    """The patterns of an application's routes, by the names of the routes."""

    def __init__(self) -> None:
        self._patterns: dict[str, list[Pattern]] = {}

    def add(self, name: str, pattern: Pattern) -> None:
        """Add the pattern of a route. Routes with the same name and path count as one."""
        patterns = self._patterns.setdefault(name, [])
        if all(pattern.path != other.path for other in patterns):
            patterns.append(pattern)

    def url_for(self, name: str, params: Mapping[str, object]) -> str:
        """Return the path of the route `name`; parameters that are not in it go to the query.

        Raises: LookupError if no route, or more than one, has the name; ValueError or TypeError for
        a parameter that is missing or does not fit.
        """
        pattern = self._pattern_of(name)
        for key in params.keys() & _FOREIGN_OPTIONS.keys() - set(pattern.parameters):
            raise TypeError(f"url_for: leave {key} out: {_FOREIGN_OPTIONS[key]}")
        own = {key: value for key, value in params.items() if key in pattern.parameters}
        query = [
            pair for key, value in params.items() if key not in own for pair in _fields(key, value)
        ]
        return pattern.format(own) + (f"?{encode_urlencoded(query)}" if query else "")

    def _pattern_of(self, name: str) -> Pattern:
        patterns = self._patterns.get(name, [])
        if len(patterns) > 1:
            raise LookupError(
                f"url_for: {len(patterns)} routes have the name {name!r}: give each its own name="
            )
        if not patterns:
            raise LookupError(
                f"url_for: expected the name of a route, got {name!r}: {self._remedy_for(name)}"
            )
        return patterns[0]

    def _remedy_for(self, name: str) -> str:
        if not self._patterns:
            return "the application has no routes"
        close = nearest(name, self._patterns)
        if close is not None:
            return f"did you mean {close!r}?"
        return f"use one of {sorted(self._patterns)}, or give the route a name="


def _fields(name: str, value: object) -> list[tuple[str, str]]:
    """Return the query fields that an endpoint reads as `value`."""
    if value is None:
        return []
    if isinstance(value, (list, tuple)):
        return [pair for each in value for pair in _fields(name, each)]
    if isinstance(value, bool):
        return [(name, "true" if value else "false")]
    return [(name, str(value.value if isinstance(value, Enum) else value))]


# Options of `url_for` in other frameworks -> the remedy.
_FOREIGN_OPTIONS = {
    "_external": "call request.url_for(name, ..., absolute=True) for an absolute URL",
    "_scheme": "call request.url_for(name, ..., absolute=True) for an absolute URL",
    "_anchor": "write url_for(name, ...) + '#anchor'",
    "_method": "a name belongs to one path, whatever the method is",
}
