"""Turn an endpoint into a Handler: call it, convert its value, answer its errors.

`arguments` makes the call and `results` converts the value. The call runs on the event loop or, for
a plain `def`, in a thread.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from types import CoroutineType
from typing import Any, Protocol

from ..concurrency.callables import describe, is_async
from ..concurrency.threads import run_in_thread
from ..http.charsets import encode_utf8
from ..http.mediatypes import TEXT
from ..request import Handler, Request
from ..response import Response, plain_response
from .waiting import run_with_wait

# Exceptions that get no answer: the handler's task is cancelled, or Python closes its coroutine.
UNANSWERED = (asyncio.CancelledError, GeneratorExit)

OnError = Callable[[Request, BaseException], Awaitable[Response]]
Finish = Callable[[object], Response]


class MakeHandler(Protocol):
    """A function that makes the handler of an endpoint, as `make_handler`."""

    def __call__(self, on_error: OnError, *, hands_on: bool) -> Handler: ...


def make_handler(
    call: Callable[[Request], Any],
    finish: Finish,
    on_error: OnError,
    *,
    hands_on: bool,
    sure: object = str,
) -> Handler:
    """Return the handler that answers a request with the value or the error of `call`.

    `hands_on`: True if middleware is around it. That gets a copy of a Response that `call` returns.
    A text is an answer without `finish`, unless `sure` is None.
    """

    async def handle(request: Request) -> Response:
        try:
            value = call(request)
            if type(value) is CoroutineType or hasattr(value, "__await__"):
                value = await value
            if type(value) is sure:
                try:
                    return plain_response(value.encode(), TEXT)
                except UnicodeEncodeError:
                    encode_utf8(value)  # its error names the position in the text
                    raise
            response = finish(value)
            if response.source is not None:
                response = await response.prepare(request)
            return response.hand_on() if hands_on and response is value else response
        except UNANSWERED:
            raise
        except BaseException as error:  # SystemExit too: sys.exit() must not end the server
            return await on_error(request, error)

    return handle


def in_thread(
    label: str, call: Callable[..., object], *, may_read: bool = True
) -> Callable[..., Awaitable[object]]:
    """Return a function that runs `call` in the thread pool.

    `may_read`: True if `call` may read the body of a request among its arguments, and so may wait
    for the client.
    """
    if not may_read:
        return lambda *args, **kwargs: run_in_thread(label, partial(call, *args, **kwargs))

    def run(*args: object, **kwargs: object) -> Awaitable[object]:
        work = partial(call, *args, **kwargs)
        for each in args:
            if isinstance(each, Request) and each.waits_for_body:
                return run_with_wait(label, work, each)
        return run_in_thread(label, work)

    return run


def as_async(function: Callable[..., Any]) -> Callable[..., Awaitable[object]]:
    """Return a user's function as one to await: an `async def` itself, a `def` in a thread.

    If the `def` returns an awaitable, as a lambda around an `async def` does, that is awaited too.
    Otherwise the awaitable would count as true, and authentication would let every client in.
    """
    if is_async(function):
        return function
    call = in_thread(describe(function), function)

    async def call_and_await(*args: object, **kwargs: object) -> object:
        value = await call(*args, **kwargs)
        return await value if inspect.isawaitable(value) else value

    return call_and_await
