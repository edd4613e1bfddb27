"""The route tree: method and path -> the value that is registered for them.

The tree has a node per segment of the registered patterns. Routes that differ in a literal are
keys of one dict, so a lookup costs the same among ten routes and ten thousand. The search is depth
first: at each node it tries literal, uuid, int, float, the application's converters, str, path, in
this order. It backtracks, but visits each node at most once, because a node's depth determines its
segment. So no path, however hostile, costs more than the number of routes plus its own length. A
pattern without parameters is found by its path in one dict, without a search.

Below a reserved prefix the search ends: a parameter in front of it does not match its paths.

Segments are split before they are percent-decoded. "." and ".." are kept, because the client
resolves them (RFC 3986 sections 2.2 and 6.2.2.3).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

from ..errors import BadRequest, ConfigurationError, RouteConflict
from ..http.urlencoded import percent_decode
from .patterns import BUILT_IN, PATH, Converter, Parameter, Pattern

T = TypeVar("T")


class Found(NamedTuple, Generic[T]):
    """The value registered for a request, and its path parameters in order."""

    value: T
    params: dict[str, object]
    is_repeatable: bool = True  # no converter of the application took part


class Missed(NamedTuple):
    """No route. `allowed` has the methods of other routes for the path, sorted; empty is a 404."""

    allowed: tuple[str, ...]
    is_repeatable: bool = True  # no converter of the application took part


class _Entry(NamedTuple, Generic[T]):
    names: tuple[str, ...]  # of parameters: two routes may name them differently
    value: T


class _Node(Generic[T]):
    __slots__ = ("edges", "entries", "is_reserved", "literals")

    def __init__(self) -> None:
        self.entries: dict[str, _Entry[T]] = {}  # by method
        self.literals: dict[str, _Node[T]] = {}
        self.edges: list[_Edge[T]] = []  # the most specific first
        self.is_reserved = False

    def child(self, segment: str | Parameter) -> _Node[T]:
        """Return the child node for `segment`, which the first call creates."""
        if isinstance(segment, str):
            return self.literals.setdefault(segment, _Node())
        for edge in self.edges:
            if edge.converter.key == segment.converter.key:
                return edge.node
        edge = _Edge(segment.rank, segment.converter, _Node())
        self.edges.append(edge)
        self.edges.sort(key=_Edge.sort_key)
        return edge.node


class _Edge(NamedTuple, Generic[T]):
    rank: int
    converter: Converter
    node: _Node[T]

    def sort_key(self) -> tuple[int, str, str]:
        # Each application has its own ranks: name and regex decide a tie with a mounted one.
        return self.rank, self.converter.name, self.converter.pattern


class RouteTree(Generic[T]):
    """Values by method and pattern. The order in which they were added never matters."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._static: dict[str, _Node[T]] = {}

    def add(self, pattern: Pattern, methods: Iterable[str], value: T) -> None:
        """Register `value`, whose `str()` is shown if there is a conflict.

        Raises: RouteConflict if a pattern of the same shape has one of the methods already; then
        nothing is added. The shape is the literals and converters, not the names of parameters.
        """
        node = self._root
        for segment in pattern.segments:
            node = node.child(segment)
        methods = tuple(methods)
        for method in methods:
            if method in node.entries:
                raise RouteConflict(
                    f"{node.entries[method].value} and {value} both answer {method} at the same "
                    "shape of path: change the path or the methods of one"
                )
        entry = _Entry(tuple(pattern.parameters), value)
        node.entries.update(dict.fromkeys(methods, entry))
        if not entry.names:
            # As written and as usually sent; a path in another spelling is searched for.
            self._static[pattern.path] = self._static[pattern.format({})] = node

    def reserve(self, prefix: Pattern) -> None:
        """Keep `prefix`, and all paths below it, for patterns that begin with it as literals."""
        node = self._root
        for segment in prefix.segments:
            node = node.child(segment)
        node.is_reserved = True

    def find(self, method: str, raw_path: str) -> Found[T] | Missed:
        """Return the value of the most specific pattern that matches and has `method`.

        `raw_path` is the path as it was sent. A pattern with GET and without HEAD answers HEAD too.
        If only other methods match, `Missed.allowed` has the methods of all patterns that match,
        with OPTIONS, and with HEAD if GET is one of them.

        Raises: BadRequest for an escape that is broken or not UTF-8.
        """
        node = self._static.get(raw_path)
        if node is not None:
            entry = node.entries.get(method)
            if entry is not None:
                return Found(entry.value, {})
        search: _Search[T] = _Search(method, _split(raw_path))
        return search.visit(self._root, 1, ()) or search.missed()


class _Search(Generic[T]):
    """The depth-first search for one request."""

    __slots__ = ("_allowed", "_depth", "_is_closed", "_is_repeatable", "_method", "_segments")

    def __init__(self, method: str, segments: list[str]) -> None:
        self._method = method
        self._segments = segments
        self._depth = len(segments)
        self._allowed: set[str] = set()
        self._is_closed = False  # a reserved prefix was left without a match
        self._is_repeatable = True

    def visit(self, node: _Node[T], depth: int, values: tuple[object, ...]) -> Found[T] | None:
        """Return the most specific match below `node` for the segments from `depth` on."""
        if depth == self._depth:
            return self._arrive(node, values)
        segment = self._segments[depth]
        literal = node.literals.get(segment)
        if literal is not None:
            found = self.visit(literal, depth + 1, values)
            # Only literals lead to a reserved node, so the edges below need no such check.
            self._is_closed |= literal.is_reserved
            if found is not None or self._is_closed:
                return found
        for edge in node.edges:
            converter = edge.converter
            text, below = segment, depth + 1
            if converter is PATH:
                text, below = "/".join(self._segments[depth:]), self._depth
            if converter.matches(text) is None:
                continue
            # One of the application may answer otherwise tomorrow, or return a mutable value.
            self._is_repeatable &= converter.name in BUILT_IN
            try:
                value = converter.parse(text)
            except ValueError:
                continue
            found = self.visit(edge.node, below, (*values, value))
            if found is not None:
                return found
        return None

    def _arrive(self, node: _Node[T], values: tuple[object, ...]) -> Found[T] | None:
        entry = node.entries.get(self._method)
        if entry is None and self._method == "HEAD":
            entry = node.entries.get("GET")
        if entry is not None:
            params = dict(zip(entry.names, values, strict=True))
            return Found(entry.value, params, self._is_repeatable)
        self._allowed.update(node.entries)
        return None

    def missed(self) -> Missed:
        """Return the methods of the patterns that `visit` matched without `method`."""
        allowed = self._allowed
        if allowed:
            allowed.update(("HEAD", "OPTIONS") if "GET" in allowed else ("OPTIONS",))
        return Missed(tuple(sorted(allowed)), self._is_repeatable)


def _split(raw_path: str) -> list[str]:
    """Return the decoded segments; the first, before the leading "/", is empty."""
    if not raw_path.startswith("/"):
        return [""]  # `OPTIONS *` has no segment that a pattern could match
    segments = raw_path.split("/")
    if "%" not in raw_path:
        return segments
    try:
        return [percent_decode(segment) for segment in segments]
    except ValueError as error:
        raise BadRequest("the path has a broken escape, or one that is not UTF-8") from error


class Scopes(Generic[T]):
    """Values by literal prefix, to find the mounted application of a path."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, ...], T] = {}
        self._deepest = 0

    def add(self, prefix: Pattern, value: T) -> None:
        """Register `value` for all paths below `prefix`, and for `prefix` itself.

        Raises: RouteConflict if the prefix is taken; ConfigurationError if it has parameters.
        """
        literals = [segment for segment in prefix.segments if isinstance(segment, str)]
        if len(literals) != len(prefix.segments):
            raise ConfigurationError(f"prefix {prefix.path!r}: leave the parameters out")
        key = tuple(literals[:-1] if literals[-1] == "" else literals)
        if key in self._values:
            raise RouteConflict(
                f"{self._values[key]} and {value} both have the prefix {prefix.path!r}: change one"
            )
        self._values[key] = value
        self._deepest = max(self._deepest, len(key))

    def find(self, raw_path: str) -> T | None:
        """Return the value of the longest prefix of `raw_path`, up to its first broken escape."""
        segments: list[str] = []
        for raw in raw_path.split("/", self._deepest + 1)[1 : self._deepest + 1]:
            try:
                segments.append(percent_decode(raw))
            except ValueError:
                break
        for end in range(len(segments), -1, -1):
            value = self._values.get(tuple(segments[:end]))
            if value is not None:
                return value
        return None
