"""Find out whether only the caller refers to a response, which then may be changed without a copy.

Strategy: Python counts the references to an object. The expected counts are measured once at
import, because versions of Python differ in the references that a call adds.
"""

from __future__ import annotations

from sys import getrefcount

from ..response import PlainResponse, Response

# For `isinstance`, which is fast for an exact class and takes 0.1 us more for a subclass. Most
# responses that middleware sees are plain. See `Suggesting`.
RESPONSE_CLASSES: tuple[type[Response], ...] = (PlainResponse, Response)


def is_held_once(response: Response) -> bool:
    """Return whether only two variables of the caller refer to a plain response, and it is unused.

    No other code can reach it then, because it has no weak references: it needs no copy (0.8 us).
    """
    return (
        type(response) is PlainResponse
        and getrefcount(response) <= _HELD_BY_CALL
        and not response._is_used
        and ((headers := response._headers) is None or getrefcount(headers) <= _HELD_BY_RESPONSE)
    )


def _references_of_call() -> int:
    """Return how many references `is_held_once` counts if only its caller refers to a response."""

    def count(response: object) -> int:
        return getrefcount(response)

    response = value = object()
    counted = count(response)
    del value
    return counted


def _references_of_response() -> int:
    """Return how many references `is_held_once` counts if only a response refers to its fields."""
    response = Response(headers={"a": "b"})
    headers = response._headers
    return getrefcount(headers)


_HELD_BY_CALL = _references_of_call()
_HELD_BY_RESPONSE = _references_of_response()
