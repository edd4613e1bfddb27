"""In debug mode, warn once in the log if an endpoint returns a value that is probably a slip."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import NoneType
from typing import get_args

from ..concurrency.callables import describe
from ..endpoints.signature import hints_of
from ..logs import Log
from ..request import Request

_log = Log("microweb.app")


def with_slip_warnings(
    endpoint: Callable[..., object], call: Callable[[Request], object]
) -> Callable[[Request], Awaitable[object]]:
    """Return `call`, which calls `endpoint`, with a check of the returned value."""
    check = slip_check(endpoint)

    async def call_and_check(request: Request) -> object:
        value = call(request)
        if isinstance(value, Awaitable):
            value = await value
        check(request, value)
        return value

    return call_and_check


def slip_check(endpoint: Callable[..., object]) -> Callable[[Request, object], None]:
    """Return the function that checks a value of `endpoint`."""
    left = {"markup"} if _may_be_none(endpoint) else {"markup", "none"}

    def warn(slip: str, text: str) -> None:
        if slip in left:
            left.discard(slip)
            _log.warning(text, describe(endpoint))

    def check(request: Request, value: object) -> None:
        if value is None and request.method == "GET":
            warn("none", "%s returned None: did you forget return? (or annotate -> None)")
        elif type(value) is str and value.lstrip().startswith("<"):
            warn("markup", "%s returned markup as plain text: return html(...)")

    return check


def _may_be_none(endpoint: Callable[..., object]) -> bool:
    """Return whether the endpoint's annotation says that it may return None."""
    hint = hints_of(endpoint).get("return", object)
    return hint is NoneType or NoneType in get_args(hint) or "None" in str(hint)
