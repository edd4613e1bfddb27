"""An endpoint -> Handler: call it, convert what it returns, answer what it raises.

`binding` says what it is called with and `returns` what becomes of its value; this puts the two
around the call, on the loop or, for a plain `def`, in a thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from types import CoroutineType
from typing import Any

from .functions import describe, is_async
from .request import Request
from .response import TEXT, Response, plain_response
from .threads import run_in_thread

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
OnError = Callable[[Request, Exception], Awaitable[Response]]
Finish = Callable[[object], Response]


def make_handler(
    call: Callable[[Request], object], finish: Finish, on_error: OnError, *, hands_on: bool
) -> Handler:
    """Return the handler that answers with what `call` returns, or raises.

    `hands_on`: middleware stands around it, which gets a copy of a Response that `call` returns.
    """

    async def handle(request: Request) -> Response:
        try:
            value = call(request)
            if type(value) is CoroutineType or hasattr(value, "__await__"):
                value = await value
            if type(value) is str:
                return plain_response(value.encode(), TEXT)
            response = finish(value)
            if response.needs_prepare:
                response = await response.prepare(request)
            return response.hand_on() if hands_on and response is value else response
        except Exception as error:
            return await on_error(request, error)

    return handle


def in_thread(label: str, call: Callable[..., object]) -> Callable[..., Awaitable[object]]:
    """Return `call` as a function that runs it in the pool of threads."""
    return lambda *args, **kwargs: run_in_thread(label, partial(call, *args, **kwargs))


def as_async(function: Callable[..., Any]) -> Callable[..., Awaitable[object]]:
    """Return a user's function as one to await: an `async def` as it is, a `def` in a thread."""
    return function if is_async(function) else in_thread(describe(function), function)
