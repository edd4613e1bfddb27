"""before_request and after_request: middleware that acts only before or only after the endpoint."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from ..request import Handler, Request
from ..router import Answer, Middleware
from .handler import as_async


def before(function: Callable[..., object]) -> Middleware:
    """Return middleware that answers with the value of `function(request)`, if it is not None."""
    call = as_async(function)

    @wraps(function)
    async def middleware(request: Request, call_next: Handler) -> Answer:
        answer: Any = await call(request)
        return await call_next(request) if answer is None else answer

    return middleware


def after(function: Callable[..., object]) -> Middleware:
    """Return middleware that calls `function(request, response)`; its value, if any, is the answer.

    If the function returns None, the answer is `response`.
    """
    call = as_async(function)

    @wraps(function)
    async def middleware(request: Request, call_next: Handler) -> Answer:
        response = await call_next(request)
        answer: Any = await call(request, response)
        return response if answer is None else answer

    return middleware
