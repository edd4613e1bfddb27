"""The plan of a route with dependencies: its calls in their order, made before the first request.

A step calls one function. Its arguments are values of the request, which are read and checked for
all steps before the first call, and the values of earlier steps.

If the endpoint is a plain `def`, its dependencies that are plain too come last, because they are
called in its thread. An `async def` dependency may need one of them: that one is called before it,
in another thread.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from ..request import Request
from .arguments import Slot, subject_itself
from .content import body_reader
from .dependencies import Kind
from .graph import BODY, Bound, Graph, Needed
from .handler import in_thread
from .parameters import REFUSED, Getter, refusal_of

Arguments = tuple[list[object], dict[str, object]]

_PLAIN = (Kind.DEF, Kind.GENERATOR, Kind.CLASS)  # these may be called in a thread
_SUBJECT = 0  # the index of the request or the WebSocket among the values of the steps


@dataclass(frozen=True, slots=True)
class Step:
    """One call. `links` are the arguments that are values of other steps, by their index.

    `label` names the function. `positional` has a placeholder for each link.
    """

    kind: Kind
    call: Callable[..., Any]
    label: str
    positional: tuple[Getter, ...] = ()
    named: tuple[tuple[str, Getter], ...] = ()
    links: tuple[tuple[Slot, int], ...] = ()

    def arguments(self, request: Request) -> Arguments:
        """Return the arguments that the request gives."""
        named = {}
        for name, getter in self.named:
            named[name] = getter(request)
        return ([getter(request) for getter in self.positional] if self.positional else []), named

    def fill(self, arguments: Arguments, values: list[object]) -> None:
        """Add the arguments that are values of other steps."""
        positional, named = arguments
        for slot, index in self.links:
            if isinstance(slot, int):
                positional[slot] = values[index]
            else:
                named[slot] = values[index]


class Plan:
    """The steps of a route: those `on_loop`, then those `in_thread`, then the `endpoint`.

    Their values are one list, which begins with the subject: the request or the WebSocket.
    """

    def __init__(self, endpoint: Bound, graph: Graph, *, is_async: bool) -> None:
        self.keys = frozenset(graph.found)
        on_loop, in_own_thread = _divided(graph, is_async=is_async)
        indexes = {key: index for index, key in enumerate((*on_loop, *in_own_thread), 1)}
        self.on_loop = tuple(_step_on_loop(graph, key, indexes) for key in on_loop)
        self.in_thread = tuple(_step_in_thread(graph, key, indexes) for key in in_own_thread)
        self.endpoint = _step_of(Kind.ASYNC, endpoint.function, "", endpoint, indexes)
        self._all = (*self.on_loop, *self.in_thread, self.endpoint)
        self._getters = [getter for step in self._all for getter in _getters_of(step)]

    def arguments(self, request: Request) -> list[Arguments]:
        """Return the arguments that the request gives, for all steps and last for the endpoint.

        Raises: MissingValue or InvalidValue with the faults of all parameters.
        """
        try:
            return [step.arguments(request) for step in self._all]
        except REFUSED as error:
            raise refusal_of(request, self._getters, error) from error


def _divided(graph: Graph, *, is_async: bool) -> tuple[list[Hashable], list[Hashable]]:
    """Return the keys of the steps on the event loop, and of those in the endpoint's thread."""
    if is_async:
        return graph.order, []
    first: set[Hashable] = {BODY.key}
    for key in reversed(graph.order):
        if key in graph.found:
            dependency, bound = graph.found[key]
            if key in first or dependency.kind not in _PLAIN:
                first |= {key, *_needs_of(bound)}
    return (
        [key for key in graph.order if key in first],
        [key for key in graph.order if key not in first],
    )


def _needs_of(bound: Bound) -> list[Hashable]:
    getters = (*bound.positional, *bound.named.values())
    return [getter.key for getter in getters if isinstance(getter, Needed)]


def _step_on_loop(graph: Graph, key: Hashable, indexes: Mapping[Hashable, int]) -> Step:
    if graph.body is not None and key == BODY.key:
        return Step(Kind.BODY, body_reader(graph.body), "the body")
    dependency, bound = graph.found[key]
    call, label = dependency.call, str(dependency)
    if dependency.kind is Kind.DEF:
        call = in_thread(label, call)
    return _step_of(dependency.kind, call, label, bound, indexes)


def _step_in_thread(graph: Graph, key: Hashable, indexes: Mapping[Hashable, int]) -> Step:
    dependency, bound = graph.found[key]
    return _step_of(dependency.kind, dependency.call, str(dependency), bound, indexes)


def _step_of(
    kind: Kind,
    call: Callable[..., object],
    label: str,
    bound: Bound,
    indexes: Mapping[Hashable, int],
) -> Step:
    slots: list[tuple[Slot, Getter]] = [*enumerate(bound.positional), *bound.named.items()]
    links: dict[Slot, int] = {}
    for slot, getter in slots:
        if isinstance(getter, Needed):
            links[slot] = indexes[getter.key]
        elif getter is subject_itself:
            links[slot] = _SUBJECT
    named = [(name, getter) for name, getter in bound.named.items() if name not in links]
    return Step(kind, call, label, tuple(bound.positional), tuple(named), tuple(links.items()))


def _getters_of(step: Step) -> list[Getter]:
    return [*step.positional, *(getter for _, getter in step.named)]
