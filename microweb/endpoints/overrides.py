"""Functions that take the place of dependencies for a time: `app.override`, for tests.

Each route with dependencies keeps its present plan. A change of the overrides makes new plans, and
a request takes the plan once. So a request under way keeps its functions, and a route without
dependencies knows nothing of this.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from weakref import WeakSet

from ..concurrency.callables import describe
from ..errors import ConfigurationError
from .dependencies import key_of
from .graph import Replacements
from .plans import Plan

Functions = Mapping[Callable[..., object], Callable[..., object]]

_changing = Lock()  # a test may run its server in another thread


class Overrides:
    """The overrides of one app, and the routes that they apply to: its own and mounted ones."""

    def __init__(self) -> None:
        self.layers: dict[object, Replacements] = {}  # by an object for each `applied`
        self._routes: WeakSet[PlannedRoute] = WeakSet()

    def add_route(self, route: PlannedRoute) -> None:
        """Apply the overrides to a route."""
        self._routes.add(route)

    @contextmanager
    def applied(self, functions: Functions) -> Iterator[None]:
        """Let other functions give the values inside the `with`. Raises: ConfigurationError."""
        self._check(functions)
        mark = object()
        layer = {key_of(function): other for function, other in functions.items()}
        try:
            with _changing:
                self.layers[mark] = layer
                self._plan_again()
            yield
        finally:
            with _changing:
                del self.layers[mark]
                self._plan_again()

    def _check(self, functions: Functions) -> None:
        known = {key for route in self._routes for key in route.keys}
        for function, other in functions.items():
            if key_of(function) not in known:
                raise ConfigurationError(
                    f"override: no route depends on {describe(function)}: name the function that "
                    "an `Annotated[T, Depends(function)]` names"
                )
            if not callable(other):
                raise ConfigurationError(
                    f"override: expected a function for {describe(function)}, got {other!r:.80}: "
                    "write `lambda: value`"
                )

    def _plan_again(self) -> None:
        plans = [(route, route.make_plan()) for route in self._routes]
        for route, plan in plans:
            route.plan = plan


class PlannedRoute:
    """A route with dependencies, and its present `plan`.

    `bind` makes the plan with given overrides. `overrides` are those of the app and of the apps
    around it; the inner ones take precedence.
    """

    def __init__(
        self, bind: Callable[[Replacements], Plan], overrides: Sequence[Overrides]
    ) -> None:
        self._bind = bind
        self._overrides = overrides
        self._own_keys = bind({}).keys
        self.plan = self.make_plan()
        for each in overrides:
            each.add_route(self)

    @property
    def keys(self) -> frozenset[Hashable]:
        """The keys of all functions that the route depends on, with and without overrides."""
        return self._own_keys | self.plan.keys

    def make_plan(self) -> Plan:
        """Return the plan with the present overrides. Raises: ConfigurationError."""
        replacements: dict[Hashable, Callable[..., object]] = {}
        for each in self._overrides:
            for layer in each.layers.values():
                replacements |= layer
        return self._bind(replacements)
