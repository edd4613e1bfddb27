"""Answer a request whose endpoint has dependencies: enter them, call the endpoint, leave them.

They are left after the answer is made, and before middleware gets it. So an error that leaving
raises, such as a failed commit, is the answer. The answer of a stream is made when its last piece
is: its body leaves the dependencies then, before it marks its end.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from types import AsyncGeneratorType, CoroutineType, GeneratorType, TracebackType
from typing import Any

from ..bodies.body import RenderedBody
from ..bodies.file import FileBody
from ..bodies.stream import StreamBody
from ..concurrency.threads import run_in_thread
from ..request import Request
from ..response import Response
from .dependencies import Kind
from .handler import Finish, in_thread
from .leaving import Resources, leave_all, no_yield, to_its_end
from .overrides import PlannedRoute
from .plans import Arguments, Plan, Step
from .threaded import Threaded, calling, entering, is_written_later

Check = Callable[[Request, object], None]  # of the value that an endpoint returned
Answer = Callable[[Plan, Request, Resources], Awaitable[Response]]

_ASYNC, _ASYNC_GENERATOR = Kind.ASYNC, Kind.ASYNC_GENERATOR  # an Enum's attribute costs 0.1 us


def resolving(route: PlannedRoute, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    """Return the function that answers a request by `answer`, and leaves what that has entered."""

    async def call(request: Request) -> Response:
        resources: Resources = []
        try:
            response = await answer(route.plan, request, resources)
            if response.source is not None:
                response = await response.prepare(request)
        except GeneratorExit:  # Python closes the coroutine, so it can't await any more
            raise
        except BaseException as error:
            if resources:
                await _leave(request, resources, error)
            raise
        if resources:
            await _leave_after(response, request, resources)
        return response

    return call


async def _leave(request: Request, resources: Resources, error: BaseException | None) -> None:
    """Leave all dependencies. Raises: another error than `error`, if one of them raises it."""
    failure = await to_its_end(request, leave_all(resources, error))
    if failure is not None and failure is not error:
        raise failure


async def _leave_after(response: Response, request: Request, resources: Resources) -> None:
    """Leave the dependencies of a whole answer now, those of a stream when it has ended."""
    source = response.source
    if isinstance(source, StreamBody) and not isinstance(source, FileBody):
        source.keep_until_end(_leaving(resources))
        return
    try:
        await _leave(request, resources, None)
    except BaseException:
        if isinstance(source, FileBody):  # its file is open
            await source.discard()
        raise


def _leaving(resources: Resources) -> Callable[..., Awaitable[None]]:
    async def leave(
        kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        failure = await leave_all(resources, error)
        if failure is not None and failure is not error:
            raise failure

    return leave


# --- the calls ------------------------------------------------------------------------


def answer_on_loop(finish: Finish, check: Check | None) -> Answer:
    """Return the function that answers a request by an endpoint on the event loop."""

    async def answer(plan: Plan, request: Request, resources: Resources) -> Response:
        positional, named = await arguments_of(plan, request, request, resources)
        value = plan.endpoint.call(*positional, **named)
        if type(value) is CoroutineType or hasattr(value, "__await__"):
            value = await value
        if check is not None:
            check(request, value)
        return finish(value)

    return answer


def answer_in_thread(label: str, finish: Finish, check: Check | None) -> Answer:
    """Return the function that answers a request by a plain `def` endpoint in a thread."""
    run: Any = in_thread(label, _call)

    async def answer(plan: Plan, request: Request, resources: Resources) -> Response:
        given = plan.arguments(request)
        values: list[object] = [request]
        await _enter_all(plan.on_loop, given, values, request, resources)

        def finish_here(value: object) -> Response:
            if check is not None:
                check(request, value)
            response = finish(value)
            is_rendered = isinstance(response.source, RenderedBody)
            return response.rendered(request) if is_rendered else response

        work = calling(plan, given, values, finish_here)
        threaded = Threaded(label, work, request, is_written_later)
        resources.append(threaded)
        response: Response = await run(request, threaded)
        return response

    return answer


def _call(request: Request, threaded: Threaded) -> object:
    return threaded()


async def call_within(plan: Plan, request: Request, subject: object) -> object:
    """Enter the dependencies of a WebSocket endpoint, call it, leave them; return its value."""
    resources: Resources = []
    try:
        positional, named = await arguments_of(plan, request, subject, resources)
        value = plan.endpoint.call(*positional, **named)
        value = await value if inspect.isawaitable(value) else value
    except GeneratorExit:
        raise
    except BaseException as error:
        if resources:
            await _leave(request, resources, error)
        raise
    await _leave(request, resources, None)
    return value


async def arguments_of(
    plan: Plan, request: Request, subject: object, resources: Resources
) -> Arguments:
    """Call all dependencies; return the arguments of the endpoint.

    Raises: MissingValue or InvalidValue with the faults of all parameters.
    """
    given = plan.arguments(request)
    values = [subject]
    await _enter_all(plan.on_loop, given, values, request, resources)
    plan.endpoint.fill(given[-1], values)
    return given[-1]


async def _enter_all(
    steps: Sequence[Step],
    given: Sequence[Arguments],
    values: list[object],
    request: Request,
    resources: Resources,
) -> None:
    """Call the dependencies of `steps` from the event loop, and add their values."""
    for step, arguments in zip(steps, given, strict=False):
        if step.links:
            step.fill(arguments, values)
        positional, named = arguments
        kind = step.kind
        if kind is _ASYNC:
            value = await step.call(*positional, **named)
        elif kind is _ASYNC_GENERATOR:
            value = await _enter(step, step.call(*positional, **named), resources)
        elif kind is Kind.BODY:
            value = await step.call(request)
        else:
            value = await _enter_other(step, arguments, request, resources)
        values.append(value)


async def _enter(step: Step, generator: AsyncGenerator[Any, Any], resources: Resources) -> object:
    try:
        value: object = await generator.asend(None)
    except StopAsyncIteration:
        raise no_yield(step.label) from None
    resources.append(generator)
    return value


async def _enter_other(
    step: Step, arguments: Arguments, request: Request, resources: Resources
) -> object:
    """Call a class, a plain function, or a function that is async inside its decorators."""
    positional, named = arguments
    value = step.call(*positional, **named)
    if step.kind is Kind.CLASS:
        return value
    if isinstance(value, AsyncGeneratorType):
        return await _enter(step, value, resources)
    if isinstance(value, GeneratorType):
        threaded = Threaded(step.label, entering(value, step.label), request)
        resources.append(threaded)
        return await run_in_thread(step.label, threaded)
    if inspect.isawaitable(value):
        value = await value
    if step.kind is Kind.DEF and inspect.isawaitable(value):
        value = await value
    return value
