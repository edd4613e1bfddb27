"""The dependencies of one endpoint: each function once, in the order in which they are entered.

The order is from left to right, and the dependencies of a function come before it. The body of the
request has its place in this order too.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Protocol

from ..concurrency.callables import describe
from ..errors import ConfigurationError
from ..typed import Depends
from .dependencies import Dependency, check_type, inspect_dependency, key_of
from .inputs import MISSING, Input
from .parameters import Getter

Replacements = Mapping[Hashable, Callable[..., object]]  # by the key of the function


class Bound(Protocol):
    """The bound arguments of a function: see `arguments.Binding`."""

    @property
    def function(self) -> Callable[..., object]: ...
    @property
    def inputs(self) -> list[Input]: ...
    @property
    def positional(self) -> list[Getter]: ...
    @property
    def named(self) -> dict[str, Getter]: ...


class Needed:
    """The place, among the arguments of a function, of a value that comes later."""

    __slots__ = ("key",)

    def __init__(self, key: Hashable) -> None:
        self.key = key

    def __call__(self, request: object) -> None:
        """Keep the place."""


BODY = Needed("the body")


class Graph:
    """The dependencies of an endpoint, with their bound arguments.

    `overrides` replace functions, `inspected` need not be inspected again. `order` has the key of
    each dependency, and that of `BODY`.
    """

    def __init__(
        self, overrides: Replacements | None = None, inspected: Iterable[Dependency] = ()
    ) -> None:
        self.order: list[Hashable] = []
        self.found: dict[Hashable, tuple[Dependency, Bound]] = {}
        self.body: Input | None = None
        self.path_names: set[str] = set()  # of the path parameters that dependencies take
        self._overrides = overrides or {}
        self._inspected = {key_of(each.function): each for each in inspected}
        self._under_way: dict[Hashable, Dependency] = {}

    def add(self, marker: Depends, hint: object, bind: Callable[[Dependency], Bound]) -> Needed:
        """Add a function and all that it depends on. Raises: ConfigurationError."""
        key = key_of(marker.function)
        if key in self._under_way:
            raise ConfigurationError(f"the dependencies form a circle: {self._circle_at(key)}")
        known = self.found.get(key)
        if known is None:
            dependency = self._inspect(key, marker.function)
            self._under_way[key] = dependency
            self.found[key] = dependency, bind(dependency)
            del self._under_way[key]
            self.order.append(key)
        else:
            dependency = known[0]
        if key not in self._overrides:
            check_type(dependency, hint)
        return Needed(key)

    def _inspect(self, key: Hashable, function: Callable[..., object]) -> Dependency:
        if key in self._overrides:
            return inspect_dependency(self._overrides[key])
        return self._inspected.get(key) or inspect_dependency(function)

    def _circle_at(self, key: Hashable) -> str:
        keys = list(self._under_way)
        names = [str(self._under_way[each]) for each in keys[keys.index(key) :]]
        return " -> ".join([*names, names[0]])

    def add_body(self, described: Input) -> None:
        """Add the body. Two functions may take it as the same type, else ConfigurationError."""
        if self.body is None:
            self.body = described
            self.order.append(BODY.key)
        elif (self.body.source, self.body.kind) != (described.source, described.kind):
            raise ConfigurationError(
                "a request has one body, and another parameter has it: put both into one class"
            )

    def merged(self, own: Bound) -> list[Input]:
        """Return the inputs of the endpoint and of its dependencies, each once.

        Raises: ConfigurationError if two functions read the same value as two types.
        """
        seen: dict[tuple[str, str], tuple[Input, Bound]] = {}
        merged: list[Input] = []
        for bound in (own, *(bound for _, bound in self.found.values())):
            for each in bound.inputs:
                new = [leaf for leaf in each.leaves if self._is_new(leaf, bound, seen)]
                if new:
                    merged.append(each._replace(fields=tuple(new)) if each.fields else each)
        return merged

    def _is_new(
        self, leaf: Input, bound: Bound, seen: dict[tuple[str, str], tuple[Input, Bound]]
    ) -> bool:
        place = (leaf.source, "" if leaf.source == "json" else leaf.name)
        known, other = seen.setdefault(place, (leaf, bound))
        if known is leaf:
            return True
        if known.kind != leaf.kind and MISSING not in (known.kind, leaf.kind):
            raise ConfigurationError(
                f"{describe(other.function)} and {describe(bound.function)} read {leaf.name!r} "
                f"from the {leaf.source} as two types, {_shown(known)} and {_shown(leaf)}: "
                "annotate both with the same type"
            )
        return False


def _shown(described: Input) -> str:
    kind = described.kind
    return kind.__name__ if isinstance(kind, type) else str(kind)[:80]
