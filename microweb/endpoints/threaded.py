"""Dependencies that are plain functions: entered and left in threads.

A thread can't be cancelled. If its request ends first, because `Timeout` gave up or the client has
left, the thread leaves its dependencies when the function returns. A leave in a thread is awaited
to its end, also by a cancelled request, so that the outer dependencies are left after it.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

from ..bodies.body import WrittenBody
from ..concurrency.threads import from_thread, run_in_thread
from ..http.request_log import log_fields, name_in_log
from ..logs import Log
from ..request import Request
from ..response import Response
from .dependencies import Kind
from .handler import Finish
from .leaving import leave_here, no_yield
from .plans import Arguments, Plan, Step

Generators = list[Generator[Any, Any, Any]]
Work = Callable[[Generators], Any]

_log = Log("microweb.error")


class Threaded:
    """Work of a request in a thread, with the generators that it enters there.

    Its owner calls it in a thread, and leaves it later like every dependency. `is_kept(result)`
    says whether the generators are left only then. Otherwise the thread leaves them itself.
    """

    def __init__(
        self,
        label: str,
        work: Work,
        request: Request,
        is_kept: Callable[[Any], bool] = lambda result: True,
    ) -> None:
        self._label = label
        self._work = work
        self._request = request
        self._is_kept = is_kept
        self._lock = threading.Lock()
        self._given_up: BaseException | None = None
        self._kept: Generators | None = None  # None until the work is done

    def __call__(self) -> Any:
        """Do the work, and return its result. Raises: as the work, or as its dependencies."""
        generators: Generators = []
        result, error = None, None
        try:
            result = self._work(generators)
        except BaseException as failure:
            error = failure
        with self._lock:
            error = self._given_up if error is None else error
            is_kept = error is None and self._is_kept(result)
            self._kept = generators if is_kept else []
        if not is_kept:
            error = leave_here(generators, error)
        if error is not None:
            self._log_unseen(error)
            raise error
        return result

    def _log_unseen(self, error: BaseException) -> None:
        """Log an error that its request can't see, because it has ended."""
        if self._given_up is not None and error is not self._given_up:
            fields = log_fields(self._request)
            name = name_in_log(self._request)
            _log.error("%s failed after its end", name, exc_info=error, extra=fields)

    async def leave(self, error: BaseException | None) -> None:
        """Leave the generators, or let the thread do it if it still works."""
        with self._lock:
            if self._kept is None:
                self._given_up = error
                return
        if self._kept:
            leaving = run_in_thread(self._label, partial(leave_here, self._kept, error))
            failure = await _to_its_end(asyncio.ensure_future(leaving))
            if failure is not None and failure is not error:
                raise failure


async def _to_its_end(
    running: asyncio.Future[BaseException | None],
) -> BaseException | None:
    """Wait for `running`, also if this task is cancelled meanwhile."""
    cancelled: BaseException | None = None
    while not running.done():
        try:
            await asyncio.wait((running,))
        except asyncio.CancelledError as error:
            cancelled = error
    return running.result() or cancelled


def entering(generator: Generator[Any, Any, Any], label: str) -> Work:
    """Return the work that enters one generator, and returns its value."""

    def work(generators: Generators) -> object:
        return _enter_generator(generator, label, generators)

    return work


def calling(
    plan: Plan,
    given: Sequence[Arguments],
    values: list[object],
    finish: Finish,
) -> Work:
    """Return the work of a plain `def` endpoint: its dependencies, its call, its response."""
    steps = tuple(zip(plan.in_thread, given[len(plan.on_loop) :], strict=False))
    named = given[-1]

    def work(generators: Generators) -> Response:
        for step, arguments in steps:
            values.append(_enter(step, arguments, values, generators))
        return finish(plan.endpoint.call_with(named, values))

    return work


def is_written_later(response: Response) -> bool:
    """Return whether the body of a response writes itself, so that more of it is to be made."""
    return isinstance(response.source, WrittenBody)


def _enter(step: Step, named: Arguments, values: list[object], generators: Generators) -> object:
    value = step.call_with(named, values)
    if step.kind is Kind.GENERATOR:
        return _enter_generator(value, step.label, generators)
    if step.kind is Kind.DEF and inspect.isawaitable(value):
        return from_thread(value)
    return value


def _enter_generator(
    generator: Generator[Any, Any, Any], label: str, generators: Generators
) -> object:
    try:
        value: object = next(generator)
    except StopIteration:
        raise no_yield(label) from None
    generators.append(generator)
    return value
