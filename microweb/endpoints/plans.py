"""The plan of a route with dependencies: its calls in their order, made before the first request.

A step calls one function. Its arguments are values of the request, which are read and checked for
all steps before the first call, and the values of earlier steps.

If the endpoint is a plain `def`, its dependencies that are plain too come last, because they are
called in its thread. An `async def` dependency may need one of them: that one is called before it,
in another thread.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from ..request import Request
from .arguments import subject_itself
from .content import body_reader
from .dependencies import Kind
from .graph import BODY, Bound, Graph, Needed
from .handler import as_async
from .parameters import REFUSED, Getter, refusal_of

Arguments = dict[str, object]

_PLAIN = (Kind.DEF, Kind.GENERATOR, Kind.CLASS)  # these may be called in a thread
_SUBJECT = 0  # the index of the request or the WebSocket among the values of the steps


class Step:
    """One call. `call` takes all arguments by name.

    `getters` read arguments from the request. `links` are arguments that are values of other steps,
    by their index. `label` names the function.
    """

    __slots__ = ("call", "getters", "kind", "label", "links")

    def __init__(self, kind: Kind, call: Callable[..., Any], label: str) -> None:
        self.kind = kind
        self.call = call
        self.label = label
        self.getters: tuple[tuple[str, Getter], ...] = ()
        self.links: tuple[tuple[str, int], ...] = ()

    def call_with(self, named: Arguments, values: list[object]) -> Any:
        """Call the function with the arguments of the request, and those from `values`."""
        for name, index in self.links:
            named[name] = values[index]
        return self.call(**named)


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
        steps = (*self.on_loop, *self.in_thread, self.endpoint)
        self._getters = [step.getters for step in steps]

    def arguments(self, request: Request) -> list[Arguments]:
        """Return the arguments that the request gives, for all steps and last for the endpoint.

        Raises: MissingValue or InvalidValue with the faults of all parameters.
        """
        given: list[Arguments] = []
        try:
            for getters in self._getters:
                named: Arguments = {}
                for name, getter in getters:
                    named[name] = getter(request)
                given.append(named)
        except REFUSED as error:
            all_getters = [getter for getters in self._getters for _, getter in getters]
            raise refusal_of(request, all_getters, error) from error
        return given


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
        step = Step(Kind.BODY, _by_name(body_reader(graph.body), 1), "the body")
        step.links = (("0", _SUBJECT),)
        return step
    dependency, bound = graph.found[key]
    call = as_async(dependency.call) if dependency.kind is Kind.DEF else dependency.call
    return _step_of(dependency.kind, call, str(dependency), bound, indexes)


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
    step = Step(kind, _by_name(call, len(bound.positional)), label)
    positional = {f"{index}": getter for index, getter in enumerate(bound.positional)}
    for name, getter in {**positional, **bound.named}.items():
        if isinstance(getter, Needed):
            step.links += ((name, indexes[getter.key]),)
        elif getter is subject_itself:
            step.links += ((name, _SUBJECT),)
        else:
            step.getters += ((name, getter),)
    return step


def _by_name(call: Callable[..., object], count: int) -> Callable[..., object]:
    """Return `call` with its first `count` arguments under the names "0", "1" and so on."""
    if count == 0:
        return call
    names = [f"{index}" for index in range(count)]
    return lambda **named: call(*[named.pop(name) for name in names], **named)
