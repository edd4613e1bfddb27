"""The lifespan of an app: async generators, async context managers and hooks."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import NoReturn, Protocol, TypeVar

from ..concurrency.annotated import signature_of
from ..concurrency.callables import check_parameters, describe
from ..errors import ConfigurationError


class State(SimpleNamespace):
    """`app.state`. Reading a name that is not set raises an AttributeError with the remedy."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"app.state has no {name!r}: set it, or yield a dict with it from a lifespan. The "
            "state of a mounted app is its own, and a server that runs no lifespans sets nothing",
            name=name,
            obj=self,
        )


class HasState(Protocol):
    """An app, as its lifespans fill its state."""

    state: SimpleNamespace


A = TypeVar("A")
S = TypeVar("S", bound=HasState)

Lifespan = Callable[
    [A],
    AsyncGenerator[Mapping[str, object] | None, None]
    | AbstractAsyncContextManager[Mapping[str, object] | None],
]


@asynccontextmanager
async def entered(lifespans: Iterable[tuple[S, Lifespan[S]]]) -> AsyncIterator[None]:
    """Enter the lifespans of apps in order; always exit them in reverse order.

    The values that one yields are merged into the state of its app. Raises: ConfigurationError.
    """
    async with AsyncExitStack() as stack:
        for app, lifespan in lifespans:
            values = await stack.enter_async_context(manager_of(lifespan, app))
            vars(app.state).update(state_from(values, lifespan))
        yield


def manager_of(
    lifespan: Lifespan[A], app: A
) -> AbstractAsyncContextManager[Mapping[str, object] | None]:
    """Return the context manager of one lifespan. Raises: ConfigurationError."""
    manager = lifespan(app)
    if isinstance(manager, AsyncGenerator):
        return asynccontextmanager(lambda generator: generator)(manager)
    if inspect.iscoroutine(manager):
        manager.close()
    if not hasattr(manager, "__aenter__"):
        raise ConfigurationError(
            f"{describe(lifespan)}: write a lifespan as an async generator that yields once, or "
            "use @app.on_startup"
        )
    return manager


def state_from(values: object, lifespan: Callable[..., object]) -> Mapping[str, object]:
    """Return the values that a lifespan yielded for `app.state`. Raises: ConfigurationError."""
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise ConfigurationError(
            f"{describe(lifespan)}: yield a dict for app.state or nothing, got {values!r:.80}"
        )
    return values


def at_startup(function: Callable[..., object]) -> Lifespan[A]:
    """Return the lifespan that calls `function()` or `function(app)` when the app starts.

    Raises: ConfigurationError if `function` takes anything else.
    """
    _check_hook(function, "on_startup")

    async def life(app: A) -> AsyncGenerator[None, None]:
        await _call(function, app)
        yield

    return life


def at_shutdown(function: Callable[..., object]) -> Lifespan[A]:
    """Return the lifespan that calls `function()` or `function(app)` when the app stops.

    Raises: ConfigurationError if `function` takes anything else.
    """
    _check_hook(function, "on_shutdown")

    async def life(app: A) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await _call(function, app)

    return life


def _check_hook(function: Callable[..., object], role: str) -> None:
    check_parameters(
        function, role, *(["app"] if callable(function) and _takes_app(function) else [])
    )


async def _call(function: Callable[..., object], app: object) -> None:
    """Call `function()`, or `function(app)` if it takes a parameter."""
    result = function(app) if _takes_app(function) else function()
    if inspect.isawaitable(result):
        await result


def _takes_app(function: Callable[..., object]) -> bool:
    """Return whether a hook has a parameter that can be given by position."""
    try:
        parameters = signature_of(function).parameters.values()
    except ValueError:  # a built-in function
        return False
    by_name = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
    return any(each.kind not in by_name for each in parameters)
