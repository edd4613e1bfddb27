"""In debug: what an endpoint returns that is probably a slip is told in the log, once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import NoneType
from typing import get_args

from ..concurrency.callables import describe
from ..endpoints.signature import hints_of
from ..logs import Log
from ..request import Request

_log = Log("microweb.app")


def with_hints(
    endpoint: Callable[..., object], call: Callable[[Request], object]
) -> Callable[[Request], Awaitable[object]]:
    """Return `call`, which calls `endpoint`, with an eye on what it returns."""
    left = {"markup"} if _may_be_none(endpoint) else {"markup", "none"}

    def tell(hint: str, text: str) -> None:
        if hint in left:
            left.discard(hint)
            _log.warning(text, describe(endpoint))

    async def call_and_look(request: Request) -> object:
        value = call(request)
        if isinstance(value, Awaitable):
            value = await value
        if value is None and request.method == "GET":
            tell("none", "%s returned None: did you forget return? (or annotate -> None)")
        elif type(value) is str and value.lstrip().startswith("<"):
            tell("markup", "%s returned markup as plain text: return html(...)")
        return value

    return call_and_look


def _may_be_none(endpoint: Callable[..., object]) -> bool:
    """Whether its annotation says that it returns None, at least at times."""
    hint = hints_of(endpoint).get("return", object)
    return hint is NoneType or NoneType in get_args(hint) or "None" in str(hint)
