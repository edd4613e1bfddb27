"""The part of a middleware in a document: the answers and the security that it adds to routes.

A middleware may have a method `described() -> Described`. Nothing else is needed of its class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Described:
    """The part of a middleware in a document of OpenAPI.

    `security` maps names to security schemes, all of which a request needs. `responses` maps the
    statuses that the middleware answers with to their descriptions.
    """

    security: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    responses: Mapping[int, str] = field(default_factory=dict)


def description_of(middleware: object) -> Described:
    """Return the description that a middleware gives of itself; an empty one if it gives none."""
    describe = getattr(middleware, "described", None)
    found = describe() if callable(describe) else None
    return found if isinstance(found, Described) else Described()
