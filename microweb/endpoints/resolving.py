"""Answer a request whose endpoint has dependencies: enter them, call the endpoint, leave them.

They are left after the answer is made, and before middleware gets it. So an error that leaving
raises, such as a failed commit, is the answer. The answer of a stream is made when its last piece
is: its body leaves the dependencies then, before it marks its end.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from types import AsyncGeneratorType, CoroutineType, GeneratorType, TracebackType
from typing import Any

from ..bodies.body import Body, RenderedBody, WrittenBody
from ..bodies.file import FileBody
from ..concurrency.threads import run_in_thread
from ..request import Handler, Request
from ..response import Response
from .dependencies import Kind
from .handler import UNANSWERED, Finish, OnError, in_thread
from .leaving import Resources, leave, no_yield
from .overrides import PlannedRoute
from .plans import Arguments, Plan, Step
from .threaded import Threaded, calling, entering, is_written_later

Check = Callable[[Request, object], None]  # of the value that an endpoint returned
InThread = Callable[
    [Plan, Sequence[Arguments], list[object], Request, Resources], Awaitable[Response]
]


def resolving(
    route: PlannedRoute,
    finish: Finish,
    check: Check | None,
    in_thread: InThread | None,
    on_error: OnError,
    *,
    hands_on: bool,
) -> Handler:
    """Return the handler that answers by an endpoint with dependencies: see `make_handler`.

    `check` warns of slips in debug mode. `in_thread` calls a plain `def` endpoint.
    """

    async def handle(request: Request) -> Response:
        resources: Resources = []
        try:
            try:
                value = await value_of(route.plan, request, request, resources, in_thread)
                if check is not None:
                    check(request, value)
                response = finish(value)
                if response.source is not None:
                    response = await response.prepare(request)
            except BaseException as error:
                # Python closes the coroutine by GeneratorExit, and then it can't await any more.
                if resources and not isinstance(error, GeneratorExit):
                    await leave(request, resources, error)
                raise
            if response.source is not None:
                await _leave_after(response.source, request, resources)
            elif resources:
                await leave(request, resources, None)
            return response.hand_on() if hands_on and response is value else response
        except UNANSWERED:
            raise
        except BaseException as error:
            return await on_error(request, error)

    return handle


async def call_within(plan: Plan, request: Request, subject: object) -> object:
    """Enter the dependencies of a WebSocket endpoint, call it, leave them; return its value.

    Raises: MissingValue or InvalidValue with the faults of all parameters.
    """
    resources: Resources = []
    try:
        value = await value_of(plan, request, subject, resources, None)
    except BaseException as error:
        if resources and not isinstance(error, GeneratorExit):
            await leave(request, resources, error)
        raise
    await leave(request, resources, None)
    return value


async def _leave_after(source: Body, request: Request, resources: Resources) -> None:
    """Leave the dependencies of a stream or an upgrade at its end, and those of others now."""
    if not resources:
        return
    if isinstance(source, WrittenBody) and source.keep_until_end(_leaving(request, resources)):
        return
    try:
        await leave(request, resources, None)
    except BaseException:
        if isinstance(source, FileBody):  # its file is open
            await source.discard()
        raise


def _leaving(request: Request, resources: Resources) -> Callable[..., Awaitable[None]]:
    async def leave_at_end(
        kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await leave(request, resources, error)

    return leave_at_end


# --- the calls ------------------------------------------------------------------------


async def value_of(
    plan: Plan,
    request: Request,
    subject: object,
    resources: Resources,
    in_thread: InThread | None,
) -> object:
    """Call the dependencies, which go to `resources`, and the endpoint; return its value."""
    given = plan.arguments(request)
    values = [subject]
    for index, step in enumerate(plan.on_loop):
        result = step.call_with(given[index], values)
        if type(result) is CoroutineType:
            value = await result
        elif type(result) is AsyncGeneratorType:
            try:
                value = await result.asend(None)
            except StopAsyncIteration:
                raise no_yield(step.label) from None
            resources.append(result)
        else:
            value = await _value_of_other(step, result, request, resources)
        values.append(value)
    if in_thread is not None:
        return await in_thread(plan, given, values, request, resources)
    value = plan.endpoint.call_with(given[-1], values)
    if type(value) is CoroutineType or hasattr(value, "__await__"):
        value = await value
    return value


async def _value_of_other(
    step: Step, result: Any, request: Request, resources: Resources
) -> object:
    """Return the value of a class, a plain generator, or a decorator's awaitable."""
    if step.kind is Kind.CLASS:
        return result
    if isinstance(result, GeneratorType):
        threaded = Threaded(step.label, entering(result, step.label), request)
        resources.append(threaded)
        return await run_in_thread(step.label, threaded)
    return await result if inspect.isawaitable(result) else result


def calling_in_thread(label: str, finish: Finish, check: Check | None) -> InThread:
    """Return the function that calls a plain `def` endpoint and makes its response in a thread."""
    run: Any = in_thread(label, _call)

    async def call(
        plan: Plan,
        given: Sequence[Arguments],
        values: list[object],
        request: Request,
        resources: Resources,
    ) -> Response:
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

    return call


def _call(request: Request, threaded: Threaded) -> object:
    return threaded()
